//! How the service proves to an API who it is: a fixed token, or a login.

use crate::api::Api;
use crate::config::keys::sources;
use crate::config::secret_file::Secret;
use crate::config::section::Section;

/// The credentials for one target. Only where the secrets come from, never what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A token that was made beforehand.
    Token(Secret),
    /// A login that gives a token.
    Login {
        /// The account's name.
        username: String,
        /// The account's password.
        password: Secret,
    },
}

impl Credentials {
    /// The token or the password.
    pub fn secret(&self) -> &Secret {
        match self {
            Credentials::Token(secret)
            | Credentials::Login {
                password: secret, ..
            } => secret,
        }
    }

    /// Reads the keys that the API calls them by.
    pub(super) fn read(section: &Section<'_>, api: &dyn Api) -> Option<Self> {
        let (token_key, username_key) = (api.token_key(), api.username_key());
        let token = section.secret(token_key);
        let username = section.text(username_key);
        let password = section.secret("password");

        // A secret in the wrong place is mistake enough.
        let refused = section.is_set(token_key) || section.is_set("password");
        match (
            section.source(token_key),
            section.is_set(username_key),
            section.source("password"),
        ) {
            (Some(key), true, _) | (Some(key), _, Some(_)) => {
                section.wrong(&key, format!("`{key}` and `{username_key}` with a password are two ways in: keep one of them"));
            }
            (None, true, None) if !refused => {
                section.missing(
                    "password_file",
                    format!("is required beside `{username_key}` (or `password_env`)"),
                );
            }
            (None, false, Some(key)) => {
                section.missing(username_key, format!("is required beside `{key}`"))
            }
            (None, false, None) if !refused => {
                let [file, env] = sources(token_key);
                let login = format!("`{username_key}` with `password_file` or `password_env`");
                section.missing(
                    &file,
                    format!("credentials are required: `{file}` or `{env}`, or {login}"),
                );
            }
            _ => {}
        }
        match (token, username, password) {
            (Some(token), ..) => Some(Credentials::Token(token)),
            (None, Some(username), Some(password)) => {
                Some(Credentials::Login { username, password })
            }
            _ => None,
        }
    }
}
