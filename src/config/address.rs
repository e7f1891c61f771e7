//! An address over HTTP, as targets and the collector of traces have one.

use url::{Host, Url};

/// Reads it. The text itself is never quoted: somebody may have put a password or a token into it.
///
/// # Errors
/// A message for whoever wrote it.
pub(super) fn parse(text: &str, example: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("is not a URL such as \"{example}\": {error}"))?;
    let mistake = if !matches!(url.scheme(), "http" | "https") {
        "must begin with https:// or http://"
    } else if !url.username().is_empty() || url.password().is_some() {
        "must not hold a user name or a password: they have keys of their own"
    } else if url.query().is_some() || url.fragment().is_some() {
        "must not have a query (?) or a fragment (#)"
    } else {
        return Ok(url);
    };
    Err(mistake.to_owned())
}

/// Whether what is sent there can be read on its way.
pub(super) fn is_open(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    };
    url.scheme() == "http" && !is_loopback
}
