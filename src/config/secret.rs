//! A secret: where it comes from, read afresh each time, never kept.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;

use secrecy::SecretString;

use super::mistake::Reading;
use super::tls::file_error;

/// Longer than any password, token or private key, and a bound for a file named by mistake.
const LIMIT: u64 = 64 * 1024;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A file, whose content may change while the service runs.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// Why a secret cannot be had. Names the place, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is missing, unreadable, no text, or too long.
    #[error("the secret file {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// There is a file, but nothing in it.
    #[error("the secret file {} is empty", .0.display())]
    EmptyFile(PathBuf),
    /// The variable is not set, empty, or no text.
    #[error("the environment variable {0} is not set, is empty, or is no text")]
    NoVariable(String),
}

/// Tells one state of a secret's file from another. Equal stamps: nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Option<(Option<SystemTime>, u64, u64)>);

impl Secret {
    /// The secret as it is now, without the newline at its end.
    ///
    /// # Errors
    /// [`SecretError`], where it is missing or empty.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Secret::File(path) => {
                let text = read_text(path).map_err(|reason| SecretError::Unreadable { path: path.clone(), reason })?;
                let text = text.trim_end_matches(['\r', '\n']);
                if text.trim().is_empty() {
                    return Err(SecretError::EmptyFile(path.clone()));
                }
                Ok(text.into())
            }
            Secret::Env(name) => match std::env::var(name) {
                Ok(text) if !text.trim().is_empty() => Ok(text.into()),
                _ => Err(SecretError::NoVariable(name.clone())),
            },
        }
    }

    /// The secret as it is now, for checking a configuration: an environment variable is looked for where the rest of the
    /// configuration comes from.
    pub(super) fn read_within(&self, reading: &Reading) -> Result<SecretString, String> {
        match self {
            Secret::File(path) => self.read().map_err(|error| match error {
                SecretError::Unreadable { reason, .. } => file_error(path, &reason),
                _ => "the file is empty: put the secret into it".to_owned(),
            }),
            Secret::Env(name) => match reading.environment.get(name) {
                Some(text) if !text.trim().is_empty() => Ok(text.as_str().into()),
                // A lower-case value may be the secret itself, put here by mistake: not quoted.
                _ if name.chars().any(char::is_lowercase) => {
                    Err("there is no environment variable of this name, or it is empty".to_owned())
                }
                _ => Err(format!("the environment variable {} is not set or empty", name.escape_debug())),
            },
        }
    }

    /// A cheap sign of whether the file has changed. An environment variable never does.
    pub fn stamp(&self) -> Stamp {
        let Secret::File(path) = self else {
            return Stamp(None);
        };
        // The inode too: secrets are often replaced by renaming, within one tick of the clock.
        Stamp(fs::metadata(path).ok().map(|file| (file.modified().ok(), file.len(), file.ino())))
    }
}

fn read_text(path: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(LIMIT + 1).read_to_string(&mut text)? as u64;
    if length > LIMIT {
        return Err(io::Error::other("it is longer than 64 KiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_is_the_file_without_the_newline_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::File(path.clone());
        for (content, expected) in [("s3cret", "s3cret"), ("s3cret\r\n", "s3cret"), (" s3 cret \n\n", " s3 cret ")] {
            fs::write(&path, content).unwrap();
            assert_eq!(secret.read().unwrap().expose_secret(), expected);
        }
    }

    #[test]
    fn what_is_no_secret_is_an_error_that_names_the_file_and_not_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::File(path.clone());
        let error = || secret.read().map(|_| ()).unwrap_err().to_string();
        let at = path.display();
        assert_eq!(error(), format!("the secret file {at} cannot be read: No such file or directory (os error 2)"));
        fs::write(&path, " \n").unwrap();
        assert_eq!(error(), format!("the secret file {at} is empty"));
        fs::write(&path, "x".repeat(65_537)).unwrap();
        assert_eq!(error(), format!("the secret file {at} cannot be read: it is longer than 64 KiB"));
        fs::write(&path, b"hunter2\xff").unwrap();
        assert_eq!(error(), format!("the secret file {at} cannot be read: stream did not contain valid UTF-8"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(error().starts_with(&format!("the secret file {at} cannot be read: ")));
    }

    #[test]
    fn the_stamp_changes_when_the_file_is_replaced_by_one_of_equal_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::File(path.clone());
        let missing = secret.stamp();
        fs::write(&path, "one").unwrap();
        let one = secret.stamp();
        assert_ne!(missing, one);
        assert_eq!(one, secret.stamp());
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_ne!(one, secret.stamp());
    }

    #[test]
    fn a_variable_is_read_or_missed_by_name() {
        let secret = Secret::Env("CARGO_PKG_NAME".into());
        assert_eq!(secret.read().unwrap().expose_secret(), "user-courier");
        let missing = Secret::Env("USER_COURIER_NO_SUCH_VARIABLE".into());
        assert_eq!(
            missing.read().map(|_| ()).unwrap_err().to_string(),
            "the environment variable USER_COURIER_NO_SUCH_VARIABLE is not set, is empty, or is no text"
        );
        assert_eq!(secret.stamp(), secret.stamp());
    }
}
