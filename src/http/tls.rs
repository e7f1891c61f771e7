//! TLS towards a target: its certificates, read once when its clients are made.

use std::path::Path;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::config::{ClientCertificate, Tls};

/// The TLS settings shared by all of a target's clients: sessions are resumed from one to the next,
/// and no file is read again.
pub(super) fn config(tls: &Tls, secure: bool) -> anyhow::Result<ClientConfig> {
    // Fails only if one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = match &tls.ca_file {
        Some(path) => ClientConfig::builder().with_root_certificates(authorities(path)?),
        None if secure => ClientConfig::builder()
            .with_platform_verifier()
            .context("cannot set up TLS: install the platform's certificates (ca-certificates), or set the target's tls.ca_file")?,
        // The platform's certificates are not wanted, and may be missing.
        None => ClientConfig::builder().with_root_certificates(RootCertStore::empty()),
    };
    let Some(ClientCertificate {
        cert_file,
        key_file,
    }) = &tls.client_certificate
    else {
        return Ok(builder.with_no_client_auth());
    };
    let certificates = std::fs::read(cert_file)
        .with_context(|| format!("cannot read client_cert_file {}", cert_file.display()))?;
    let key = std::fs::read(key_file)
        .with_context(|| format!("cannot read client_key_file {}", key_file.display()))?;
    let certificates: Option<Vec<_>> = CertificateDer::pem_slice_iter(&certificates)
        .collect::<Result<_, _>>()
        .ok();
    let pair = certificates
        .filter(|certificates| !certificates.is_empty())
        .zip(PrivateKeyDer::from_pem_slice(&key).ok());
    // The errors' own texts are left out, as they speak of the key.
    let config =
        pair.and_then(|(certificates, key)| builder.with_client_auth_cert(certificates, key).ok());
    config.with_context(|| {
        format!(
            "{} and {} are not a certificate and its key in PEM form",
            cert_file.display(),
            key_file.display()
        )
    })
}

fn authorities(path: &Path) -> anyhow::Result<RootCertStore> {
    let pem =
        std::fs::read(path).with_context(|| format!("cannot read ca_file {}", path.display()))?;
    let mut authorities = RootCertStore::empty();
    let (added, _) =
        authorities.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    anyhow::ensure!(
        added > 0,
        "ca_file {} holds no certificate in PEM form",
        path.display()
    );
    Ok(authorities)
}
