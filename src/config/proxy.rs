//! `proxy` of `[targets.NAME]`: the HTTP proxy that calls go through.

use std::path::Path;

use url::Url;

use crate::config::address;
use crate::config::secret_file::Secret;
use crate::config::section::Section;

/// A proxy for one target. An `http://` target is asked of it, an `https://` one through a tunnel
/// (CONNECT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its address.
    pub url: Url,
    /// Its account for us, if it asks for one.
    pub account: Option<ProxyAccount>,
}

/// An account at a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyAccount {
    /// Its name.
    pub user: String,
    /// Its password, read when a target's clients are made.
    pub password: Secret,
}

impl Proxy {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let url = section.parsed("proxy", parse);
        let user = section.parsed("proxy_user", parse_user);
        let password = section.secret("proxy_password");
        let source = section.source("proxy_password");
        let named = source.as_deref().unwrap_or("proxy_user");
        if !section.is_set("proxy") && (section.is_set("proxy_user") || source.is_some()) {
            section.missing("proxy", format!("is required beside `{named}`"));
        }
        match (section.is_set("proxy_user"), &source) {
            (true, None) => section.missing(
                "proxy_password_file",
                "is required beside `proxy_user` (or `proxy_password_env`)",
            ),
            (false, Some(source)) => {
                section.missing("proxy_user", format!("is required beside `{source}`"));
            }
            _ => {}
        }
        let account = user.zip(password);
        let account = account.map(|(user, password)| ProxyAccount { user, password });
        Some(Proxy { url: url?, account })
    }

    /// The file that is read when a caller is made, if there is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.account.as_ref()?.password {
            Secret::File(path) => Some(path),
            Secret::Env(_) => None,
        }
    }
}

fn parse(text: &str) -> Result<Url, String> {
    let url = address::parse(text, "http://proxy:3128")?;
    if url.scheme() != "http" {
        Err("must begin with http://: the proxy itself is spoken to without TLS".to_owned())
    } else if url.path() != "/" {
        Err("must not have a path".to_owned())
    } else {
        Ok(url)
    }
}

fn parse_user(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.contains(':') {
        return Err("must not be empty or hold a colon, which stands before the password");
    }
    Ok(text.to_owned())
}
