//! A secret: where it comes from, read afresh each time, never kept.

use std::env::{self, VarError};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use secrecy::SecretString;

/// Longer than any password, token or private key, and a bound for a file named by mistake, in
/// bytes.
const LIMIT: u64 = 64 * 1024;

/// Where a secret comes from. Its `Display` and `Debug` name that place, never the content.
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
    /// The file is missing, unreadable or too long.
    #[error("{0} cannot be read: {1}")]
    Unreadable(Secret, io::Error),
    /// There is no such environment variable.
    #[error("{0} is not set")]
    NotSet(Secret),
    /// It is not text in UTF-8.
    #[error("{0} is not UTF-8 text")]
    NotText(Secret),
    /// There is nothing in it but white space.
    #[error("{0} is empty")]
    Empty(Secret),
}

/// Tells one state of a secret's file from another. Equal stamps: nothing seems to have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(Option<(Option<SystemTime>, u64, u64)>);

impl Secret {
    /// The secret as it is now, without the line end that editors leave behind it.
    ///
    /// # Errors
    /// Where it cannot be read, is not text, is empty, or is longer than 64 KiB.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        self.read_in(|name| env::var(name))
    }

    /// The same, in an environment that may not be that of the process.
    pub(crate) fn read_in(
        &self,
        variable: impl Fn(&str) -> Result<String, VarError>,
    ) -> Result<SecretString, SecretError> {
        let text = match self {
            Secret::File(path) => read_text(path).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => SecretError::NotText(self.clone()),
                _ => SecretError::Unreadable(self.clone(), error),
            })?,
            Secret::Env(name) => variable(name).map_err(|error| match error {
                VarError::NotPresent => SecretError::NotSet(self.clone()),
                // The error itself would show the content.
                VarError::NotUnicode(_) => SecretError::NotText(self.clone()),
            })?,
        };
        let content = text.trim_end_matches(['\r', '\n']);
        if content.trim().is_empty() {
            Err(SecretError::Empty(self.clone()))
        } else {
            Ok(content.into())
        }
    }

    /// A cheap sign of whether the file has changed. One that is not there has a stamp too; an
    /// environment variable never changes.
    pub fn stamp(&self) -> Stamp {
        match self {
            Secret::File(path) => Stamp::of(path),
            Secret::Env(_) => Stamp(None),
        }
    }
}

impl Stamp {
    /// The stamp of a file as it is now.
    pub fn of(path: &Path) -> Self {
        // Through links, as a mounted secret is replaced by turning a link. The inode too: many are
        // replaced by renaming, within one tick of the clock.
        Stamp(
            fs::metadata(path)
                .ok()
                .map(|file| (file.modified().ok(), file.len(), file.ino())),
        )
    }

    /// Whether there is such a file.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
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

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?
        .take(LIMIT + 1)
        .read_to_string(&mut text)? as u64;
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
    fn a_secret_is_the_file_without_the_line_end_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::File(path.clone());
        for (content, expected) in [
            ("s3cret", "s3cret"),
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            (" s3 cret \n\n", " s3 cret "),
            ("a\nb\n", "a\nb"),
        ] {
            fs::write(&path, content).unwrap();
            assert_eq!(secret.read().unwrap().expose_secret(), expected);
        }
    }

    #[test]
    fn what_is_no_secret_is_an_error_that_names_the_file_and_not_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::File(path.clone());
        let error = || secret.read().unwrap_err().to_string();
        let at = path.display();
        assert_eq!(
            error(),
            format!("the secret file {at} cannot be read: No such file or directory (os error 2)")
        );
        for empty in ["", "\n", " \n"] {
            fs::write(&path, empty).unwrap();
            assert_eq!(error(), format!("the secret file {at} is empty"));
        }
        fs::write(&path, "x".repeat(65_537)).unwrap();
        assert_eq!(
            error(),
            format!("the secret file {at} cannot be read: it is longer than 64 KiB")
        );
        fs::write(&path, b"hunter2\xff").unwrap();
        assert_eq!(error(), format!("the secret file {at} is not UTF-8 text"));
        assert!(!format!("{:?}", secret.read()).contains("hunter2"));
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
        assert_eq!(secret.stamp(), secret.stamp());
        let read = |content: Result<&str, VarError>| {
            secret.read_in(|_| content.clone().map(str::to_owned))
        };
        assert_eq!(read(Ok("hunter2\n")).unwrap().expose_secret(), "hunter2");
        for (content, problem) in [
            (Err(VarError::NotPresent), "is not set"),
            (
                Err(VarError::NotUnicode("hunter2".into())),
                "is not UTF-8 text",
            ),
            (Ok(" \n"), "is empty"),
        ] {
            let error = read(content).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the environment variable CARGO_PKG_NAME {problem}")
            );
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
