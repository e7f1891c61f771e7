//! `[console]`: whom the operator's page asks, and who may replay with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use secrecy::ExposeSecret;
use url::Url;

use super::Admin;
use super::credentials::read_secret;
use super::mistake::Reading;
use super::section::{Section, quoted};
use crate::secret::Secret;

/// A token that is shorter could be guessed.
pub const LEAST_TOKEN: usize = 16;
/// So many instances are more than a group ever has.
const MOST_INSTANCES: usize = 64;

/// The operator's page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    /// The admin endpoints of the group's instances.
    pub instances: Vec<Url>,
    /// The names by which browsers may ask for the page, besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The token that lets an operator replay.
    pub token: Option<Secret>,
}

impl Console {
    pub(super) fn read(mut section: Section<'_>, admin: &Admin, reading: &mut Reading) -> Self {
        let instances = section.texts("instances", reading).map(|texts| {
            if texts.is_empty() || texts.len() > MOST_INSTANCES {
                section.wrong("instances", format!("should name 1 to {MOST_INSTANCES} instances"), reading);
            }
            texts.iter().filter_map(|text| instance(text, &section, reading)).collect()
        });
        let hosts = section.texts("hosts", reading).unwrap_or_default();
        let plain =
            |host: &str| Url::parse(&format!("http://{host}")).is_ok_and(|url| url.host_str() == Some(host) && url.port().is_none());
        if let Some(wrong) = hosts.iter().find(|host| !plain(host)) {
            let message =
                format!("{} is no host's name: write it in lower case and without a port, such as \"courier.example.com\"", quoted(wrong));
            section.wrong("hosts", message, reading);
        }
        let token = read_secret(&mut section, "token", reading);
        if let Some(secret) = &token
            && let Ok(text) = super::secret::read(secret, reading)
            && text.expose_secret().trim().len() < LEAST_TOKEN
        {
            let key = if section.is_set("token_file") { "token_file" } else { "token_env" };
            let message = format!("the token is too short: {LEAST_TOKEN} characters at least, such as those of `openssl rand -hex 32`");
            section.wrong(key, message, reading);
        }
        section.finish(reading);
        Console { instances: instances.unwrap_or_else(|| own(admin.listen)), hosts, token }
    }
}

/// The admin endpoint of this very configuration, as it is reached from the same machine.
fn own(listen: SocketAddr) -> Vec<Url> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    // With port 0 nobody can know where it listens.
    let address = SocketAddr::new(ip, listen.port());
    (listen.port() > 0).then(|| Url::parse(&format!("http://{address}")).ok()).flatten().into_iter().collect()
}

fn instance(text: &str, section: &Section<'_>, reading: &mut Reading) -> Option<Url> {
    let found = Url::parse(text).ok().filter(|url| {
        let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        url.scheme() == "http" && url.has_host() && url.path() == "/" && bare
    });
    if found.is_none() {
        let message =
            "should be the addresses of admin endpoints, such as \"http://courier-1:9464\": http://, a host and a port, nothing else";
        section.wrong("instances", message, reading);
    }
    found
}
