//! A secret as the check of a configuration sees it, and the message if it is not there.

use std::env::VarError;

use secrecy::SecretString;

use crate::config::mistake::ConfigReading;
use crate::config::secret_file::{Secret, SecretError};
use crate::config::tls::file_error;

/// The secret as it is now. An environment variable is looked for where the rest of the
/// configuration comes from.
pub(super) fn read(secret: &Secret, reading: &ConfigReading) -> Result<SecretString, String> {
    let variable = |name: &str| {
        reading
            .environment
            .get(name)
            .cloned()
            .ok_or(VarError::NotPresent)
    };
    secret
        .read_in(variable)
        .map_err(|error| match (secret, error) {
            (Secret::File(path), SecretError::Unreadable(_, error)) => file_error(path, &error),
            (Secret::File(_), SecretError::NotText(_)) => "the file is not UTF-8 text".to_owned(),
            (Secret::File(_), _) => "the file is empty: put the secret into it".to_owned(),
            // A lower-case value may be the secret itself, put here by mistake: not quoted.
            (Secret::Env(name), _) if name.chars().any(char::is_lowercase) => {
                "there is no environment variable of this name, or it is empty".to_owned()
            }
            (Secret::Env(name), _) => format!(
                "the environment variable {} is not set or empty",
                name.escape_debug()
            ),
        })
}
