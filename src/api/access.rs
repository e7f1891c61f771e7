//! Access: how the service proves to an API who it is.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use crate::api::{Answer, Judgement, Request};

/// The ways in that an API has. A token that was made beforehand is always one.
#[derive(Debug)]
pub struct Access {
    /// The configuration's name for such a token; its key there is this plus `_file` or `_env`.
    pub token_key: &'static str,
    /// The other way in.
    pub other: Other,
}

/// A way in besides a token.
#[derive(Debug)]
pub enum Other {
    /// None.
    None,
    /// A login of the API's own.
    Login(&'static Account),
    /// OAuth 2.0 client credentials (RFC 6749, 4.4).
    Client,
}

/// How the answer to a login is judged.
pub type JudgeLogin = fn(&Answer) -> Login;

/// A login with a name and a password.
pub struct Account {
    /// The configuration key of the name.
    pub username_key: &'static str,
    /// The request that logs in.
    pub request: fn(username: &str, password: &SecretString) -> Request,
    /// Judges the answer to it.
    pub judge: JudgeLogin,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.username_key)
    }
}

impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        self.username_key == other.username_key
    }
}

impl Eq for Account {}

/// How a login ended.
#[derive(Debug)]
pub enum Login {
    /// With a token.
    Token {
        /// The token, without any `Bearer ` before it.
        token: SecretString,
        /// After how long it should be renewed, if the API says or is known for it.
        renew_after: Option<Duration>,
    },
    /// The credentials were refused (400, 401, 403, 422).
    Refused,
    /// Something else: judged as a call would be.
    Failed(Judgement),
}

/// The token without spaces around it and without the scheme that precedes it in a header: vendors
/// include it, as the sample of aipix shows, and so do people.
pub(crate) fn without_scheme(token: &str) -> &str {
    match token.trim().split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer ") => rest.trim_start(),
        _ => token.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_before_a_token_is_taken_off() {
        for (token, bare) in [
            ("Bearer abc", "abc"),
            ("bearer  abc", "abc"),
            ("abc", "abc"),
            ("Bearerabc", "Bearerabc"),
            ("ééééé", "ééééé"),
        ] {
            assert_eq!(without_scheme(token), bare);
        }
    }
}
