//! `[targets.NAME.tls]`: whom to trust, and who we are. Certificates are always checked.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::mistake::Reading;
use super::section::Section;

/// The certificates for one target. All files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust in place of the public authorities' ones.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, where the API asks for one.
    pub client_certificate: Option<ClientCertificate>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and those between it and the authority.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

impl Tls {
    pub(super) fn read(mut section: Section<'_>, reading: &mut Reading) -> Self {
        let ca_file = checked(&mut section, "ca_file", certificates, reading);
        let cert_file = checked(&mut section, "client_cert_file", certificates, reading);
        let key_file = checked(&mut section, "client_key_file", private_key, reading);
        for (one, other) in [("client_cert_file", "client_key_file"), ("client_key_file", "client_cert_file")] {
            if section.is_set(one) && !section.is_set(other) {
                section.wrong(one, format!("needs {other} beside it"), reading);
            }
        }
        section.finish(reading);
        let client_certificate = cert_file.zip(key_file).map(|(cert_file, key_file)| ClientCertificate { cert_file, key_file });
        Tls { ca_file, client_certificate }
    }

    /// All files, which are read where a caller is made.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let ours = self.client_certificate.iter().flat_map(|ours| [&ours.cert_file, &ours.key_file]);
        self.ca_file.iter().chain(ours).map(PathBuf::as_path)
    }
}

fn checked(section: &mut Section<'_>, key: &str, check: fn(&Path) -> Result<(), pem::Error>, reading: &mut Reading) -> Option<PathBuf> {
    let path = section.path(key, reading)?;
    if let Err(error) = check(&path) {
        let message = match error {
            pem::Error::Io(error) => file_error(&path, &error),
            pem::Error::NoItemsFound => "the file holds nothing of this kind in PEM form".to_owned(),
            _ => "the file is damaged PEM".to_owned(),
        };
        section.wrong(key, message, reading);
    }
    Some(path)
}

fn certificates(path: &Path) -> Result<(), pem::Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)?.collect();
    if found?.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(()) }
}

fn private_key(path: &Path) -> Result<(), pem::Error> {
    PrivateKeyDer::from_pem_file(path).map(|_| ())
}

/// Why a file named in the configuration cannot be read.
pub(super) fn file_error(path: &Path, error: &io::Error) -> String {
    // Only what looks like a path is quoted: somebody may have put the secret itself here.
    if path.is_absolute() {
        format!("the file {} cannot be read: {error}", path.display())
    } else {
        format!("the file cannot be read (its path is relative to the working directory): {error}")
    }
}
