//! `[targets.NAME.tls]`: whom to trust, and who we are. Certificates are always checked.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::mistake::Needed;
use crate::config::section::Section;

/// The certificates for one target. All files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust in place of the public authorities' ones.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, if the API asks for one.
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
    pub(super) fn read(section: &Section<'_>) -> Self {
        let ca_file = checked(section, "ca_file", certificates);
        let cert_file = checked(section, "client_cert_file", certificates);
        let key_file = checked(section, "client_key_file", private_key);
        for (one, other) in [
            ("client_cert_file", "client_key_file"),
            ("client_key_file", "client_cert_file"),
        ] {
            if section.is_set(one) && !section.is_set(other) {
                section.wrong(one, format!("needs {other} beside it"));
            }
        }
        let client_certificate =
            cert_file
                .zip(key_file)
                .map(|(cert_file, key_file)| ClientCertificate {
                    cert_file,
                    key_file,
                });
        Tls {
            ca_file,
            client_certificate,
        }
    }

    /// All files, which are read when a caller is made.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let ours = self
            .client_certificate
            .iter()
            .flat_map(|ours| [&ours.cert_file, &ours.key_file]);
        self.ca_file.iter().chain(ours).map(PathBuf::as_path)
    }
}

fn checked(
    section: &Section<'_>,
    key: &str,
    check: fn(&Path) -> Result<(), pem::Error>,
) -> Option<PathBuf> {
    let path = PathBuf::from(section.text(key)?);
    if section.reading.needed == Needed::All
        && let Err(error) = check(&path)
    {
        let message = match error {
            pem::Error::Io(error) => file_error(&path, &error),
            pem::Error::NoItemsFound => {
                "the file holds nothing of this kind in PEM form".to_owned()
            }
            _ => "the file is damaged PEM".to_owned(),
        };
        section.wrong(key, message);
    }
    Some(path)
}

fn certificates(path: &Path) -> Result<(), pem::Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)?.collect();
    if found?.is_empty() {
        Err(pem::Error::NoItemsFound)
    } else {
        Ok(())
    }
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
