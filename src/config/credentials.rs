//! How the service proves to an API who it is: a fixed token, or a login.

use super::mistake::Reading;
use super::secret;
use super::section::Section;
use crate::api::{self, Api};
use crate::secret::Secret;

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
            Credentials::Token(secret) | Credentials::Login { password: secret, .. } => secret,
        }
    }

    /// Reads the keys that the API calls them by.
    pub(super) fn read(section: &mut Section<'_>, api: &dyn Api, reading: &mut Reading) -> Option<Self> {
        let (token_key, username_key) = (api.token_key(), api.username_key());
        let token = read_secret(section, token_key, reading);
        let username = section.text(username_key, reading);
        let password = read_secret(section, "password", reading);

        // No spelling is near enough to tell that `username` is `login` elsewhere.
        let foreign = |theirs: &&str| *theirs != username_key && section.is_set(theirs);
        let foreign = api::ALL.into_iter().map(Api::username_key).find(foreign);
        if let Some(theirs) = foreign {
            section.node(theirs);
            section.wrong(theirs, format!("unknown key; the nearest known one is `{username_key}`, as this API calls it"), reading);
        }

        let first_set = |keys: &[String]| keys.iter().find(|key| section.is_set(key)).cloned();
        let token_set = first_set(&sources(token_key));
        let password_set = first_set(&sources("password"));
        let username_set = section.is_set(username_key);
        let refused = section.is_set(token_key) || section.is_set("password");
        match (token_set, username_set, password_set) {
            (Some(key), true, _) | (Some(key), _, Some(_)) => {
                let message = format!("`{key}` and `{username_key}` with a password are two ways in: keep one of them");
                section.wrong(&key, message, reading);
            }
            (None, true, None) if !refused => {
                let message = format!("is required beside `{username_key}` (or `password_env`)");
                section.missing("password_file", message, reading);
            }
            (None, false, Some(key)) => {
                section.missing(username_key, format!("is required beside `{key}`"), reading);
            }
            (None, false, None) if !refused => {
                let [file, env] = sources(token_key);
                let message =
                    format!("credentials are required: `{file}` or `{env}`, or `{username_key}` with `password_file` or `password_env`");
                section.missing(&file, message, reading);
            }
            _ => {}
        }
        match (token, username, password) {
            (Some(token), ..) => Some(Credentials::Token(token)),
            (None, Some(username), Some(password)) => Some(Credentials::Login { username, password }),
            _ => None,
        }
    }
}

/// Where an api is not known, neither are its keys: takes those of all APIs, so that none counts as unknown.
pub(super) fn skip(section: &mut Section<'_>) {
    for api in api::ALL {
        section.node(api.username_key());
        for key in [api.token_key(), "password"].into_iter().flat_map(sources) {
            section.node(&key);
        }
    }
}

fn sources(key: &str) -> [String; 2] {
    [format!("{key}_file"), format!("{key}_env")]
}

/// The secret whose place stands under the key with `_file` or `_env` behind it.
pub(super) fn read_secret(section: &mut Section<'_>, key: &str, reading: &mut Reading) -> Option<Secret> {
    let [file_key, env_key] = sources(key);
    if let Some(node) = section.plain_secret(key) {
        let message = format!(
            "a secret is never written in the configuration: name a file in `{file_key}` or an environment variable in `{env_key}`"
        );
        reading.mistake(&node.origin, section.key(key), message);
    }
    let file = section.path(&file_key, reading).map(Secret::File);
    let env = section.text(&env_key, reading).map(Secret::Env);
    let (file_origin, env_origin) = (section.origin_of(&file_key), section.origin_of(&env_key));
    let (key, secret) = match (file, env) {
        (Some(file), Some(_)) if file_origin.overrides(&env_origin) => (file_key, file),
        (Some(_), Some(env)) if env_origin.overrides(&file_origin) => (env_key, env),
        (Some(_), Some(env)) => {
            section.wrong(&env_key, format!("`{file_key}` was set too, at {file_origin}: keep one of the two"), reading);
            (env_key, env)
        }
        (Some(file), None) => (file_key, file),
        (None, env) => (env_key, env?),
    };
    if let Err(message) = secret::read(&secret, reading) {
        section.wrong(&key, message, reading);
    }
    Some(secret)
}
