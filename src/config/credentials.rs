//! How the service proves to an API who it is: a fixed token, a login, or a client's credentials.

use url::Url;

use crate::api::{Account, Api, Other};
use crate::config::address;
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
        /// How the API is asked.
        account: &'static Account,
        /// The account's name.
        username: String,
        /// The account's password.
        password: Secret,
    },
    /// OAuth 2.0 client credentials.
    Client(Client),
}

/// OAuth 2.0 client credentials, for which an authorization server gives a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where it is asked.
    pub token_url: Url,
    /// The client's name there.
    pub client_id: String,
    /// The client's secret.
    pub secret: Secret,
    /// What the token is to be good for, if that is to be said.
    pub scope: Option<String>,
}

impl Credentials {
    /// A login at that API, if it has one.
    pub fn login(api: &Api, username: &str, password: Secret) -> Option<Self> {
        match api.access.other {
            Other::Login(account) => Some(Credentials::Login {
                account,
                username: username.to_owned(),
                password,
            }),
            Other::None | Other::Client => None,
        }
    }

    /// The token, the password or the client's secret.
    pub fn secret(&self) -> &Secret {
        match self {
            Credentials::Token(secret)
            | Credentials::Login {
                password: secret, ..
            }
            | Credentials::Client(Client { secret, .. }) => secret,
        }
    }

    /// Reads the keys that the API calls them by.
    pub(super) fn read(section: &Section<'_>, api: &Api) -> Option<Self> {
        let token_key = api.access.token_key;
        let token = section.secret(token_key);
        let keys = match &api.access.other {
            Other::None => None,
            Other::Login(account) => Some((account.username_key, "password")),
            Other::Client => Some(("client_id", "client_secret")),
        };
        let Some((name_key, secret_key)) = keys else {
            if token.is_none() && !section.is_set(token_key) {
                let [file, env] = sources(token_key);
                section.missing(&file, format!("a token is required: `{file}` or `{env}`"));
            }
            return token.map(Credentials::Token);
        };
        let name = section.text(name_key);
        let secret = section.secret(secret_key);
        check(section, token_key, name_key, secret_key);
        let client = matches!(api.access.other, Other::Client).then(|| client_keys(section));
        match (token, name, secret, &api.access.other) {
            (Some(token), ..) => Some(Credentials::Token(token)),
            (None, Some(username), Some(password), Other::Login(account)) => {
                Some(Credentials::Login {
                    account,
                    username,
                    password,
                })
            }
            (None, Some(client_id), Some(secret), Other::Client) => {
                let (token_url, scope) = client?;
                Some(Credentials::Client(Client {
                    token_url: token_url?,
                    client_id,
                    secret,
                    scope,
                }))
            }
            _ => None,
        }
    }
}

/// Reports what is missing and what contradicts.
fn check(section: &Section<'_>, token_key: &str, name_key: &str, secret_key: &str) {
    let [file, env] = sources(secret_key);
    let what = secret_key.trim_start_matches("client_");
    // A secret in the wrong place is mistake enough.
    let refused = section.is_set(token_key) || section.is_set(secret_key);
    match (
        section.source(token_key),
        section.is_set(name_key),
        section.source(secret_key),
    ) {
        (Some(key), true, _) | (Some(key), _, Some(_)) => {
            let message =
                format!("`{key}` and `{name_key}` with a {what} are two ways in: keep one of them");
            section.wrong(&key, message);
        }
        (None, true, None) if !refused => {
            section.missing(
                &file,
                format!("is required beside `{name_key}` (or `{env}`)"),
            );
        }
        (None, false, Some(key)) => {
            section.missing(name_key, format!("is required beside `{key}`"));
        }
        (None, false, None) if !refused => {
            let [token_file, token_env] = sources(token_key);
            let other = format!("`{name_key}` with `{file}` or `{env}`");
            section.missing(
                &token_file,
                format!("credentials are required: `{token_file}` or `{token_env}`, or {other}"),
            );
        }
        _ => {}
    }
}

/// What else a client has: both only beside its name.
fn client_keys(section: &Section<'_>) -> (Option<Url>, Option<String>) {
    let scope = section.text("scope");
    let token_url = section.parsed("token_url", |text| {
        address::parse(text, "https://id.example.com/oauth/token")
    });
    if token_url.as_ref().is_some_and(address::is_open) {
        section.warn(
            "token_url",
            "is http:// and not loopback: the client's secret can be read on its way; use https://",
        );
    }
    match section.is_set("client_id") {
        true if !section.is_set("token_url") => {
            section.missing(
                "token_url",
                "is required beside `client_id`: where tokens are given out",
            );
        }
        false => {
            for key in ["token_url", "scope"] {
                if section.is_set(key) {
                    section.wrong(key, "is of no use without `client_id`");
                }
            }
        }
        _ => {}
    }
    (token_url, scope)
}
