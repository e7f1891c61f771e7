//! A secret's source: where a token or a password is read from, again and again.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use secrecy::SecretString;

/// Where a secret comes from. Its `Debug` and errors name the source, never the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A file, read again when it changes.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// A secret that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} {reason}")]
pub struct NoSecret {
    place: String,
    reason: String,
}

/// Something cheap that changes when the source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(Option<(Option<SystemTime>, u64, u64)>);

impl Secret {
    /// Reads the secret afresh, without the line end that editors leave behind it.
    ///
    /// # Errors
    /// Where it cannot be read, is not text, or is empty.
    pub fn read(&self) -> Result<SecretString, NoSecret> {
        let read = match self {
            Secret::File(path) => std::fs::read_to_string(path).map_err(|error| match error.kind() {
                std::io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
                _ => format!("cannot be read: {error}"),
            }),
            Secret::Env(name) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => "is not set".to_owned(),
                // The error itself would show the content.
                std::env::VarError::NotUnicode(_) => "is not UTF-8 text".to_owned(),
            }),
        };
        let text = read.map_err(|reason| self.fault(reason))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(self.fault("is empty".to_owned())),
            content => Ok(SecretString::from(content)),
        }
    }

    /// The source's stamp. A file that is not there has one too.
    pub fn stamp(&self) -> Stamp {
        let Secret::File(path) = self else {
            return Stamp(None);
        };
        // Through links, as a mounted secret is replaced by turning a link.
        Stamp(std::fs::metadata(path).ok().map(|file| (file.modified().ok(), file.len(), inode(&file))))
    }

    fn fault(&self, reason: String) -> NoSecret {
        NoSecret { place: self.to_string(), reason }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::File(path) => write!(f, "the secret file {}", path.display()),
            Secret::Env(name) => write!(f, "the environment variable {name}"),
        }
    }
}

#[cfg(unix)]
fn inode(file: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(file)
}

#[cfg(not(unix))]
fn inode(_file: &std::fs::Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_file_is_read_without_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (content, secret) in [("abc\n", "abc"), ("abc\r\n", "abc"), (" a c ", " a c "), ("a\nb\n\n", "a\nb")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(Secret::File(path.clone()).read().unwrap().expose_secret(), secret);
        }
    }

    #[test]
    fn an_error_names_the_source_and_the_reason_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let secret = Secret::File(path.clone());
        let place = format!("the secret file {}", path.display());
        assert!(secret.read().unwrap_err().to_string().starts_with(&format!("{place} cannot be read: ")));
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(secret.read().unwrap_err().to_string(), format!("{place} is empty"));
        std::fs::write(&path, b"canary\xff").unwrap();
        assert_eq!(secret.read().unwrap_err().to_string(), format!("{place} is not UTF-8 text"));
        let unset = Secret::Env("USER_COURIER_NO_SUCH_VARIABLE".into());
        let message = unset.read().unwrap_err().to_string();
        assert_eq!(message, "the environment variable USER_COURIER_NO_SUCH_VARIABLE is not set");
    }

    #[test]
    fn the_stamp_changes_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let secret = Secret::File(path.clone());
        let missing = secret.stamp();
        std::fs::write(&path, "old").unwrap();
        let old = secret.stamp();
        assert_ne!(missing, old);
        assert_eq!(old, secret.stamp());
        // Of the same length and perhaps within one tick of the file system's clock, but another file.
        std::fs::write(folder.path().join("new"), "new").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert_ne!(old, secret.stamp());
    }
}
