//! `[console]`: whom the operator's page asks, and who may replay with it.

use secrecy::ExposeSecret;
use url::Url;

use crate::config::admin::Admin;
use crate::config::secret_file::Secret;
use crate::config::section::{Section, quoted};

/// A token that is shorter could be guessed.
const LEAST_TOKEN: usize = 16;
/// More instances than a group ever has.
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
    pub(super) fn read(section: &Section<'_>, admin: &Admin) -> Self {
        let instances = section.texts("instances").map(|texts| {
            let instances: Vec<Url> = texts.iter().filter_map(|text| instance(text)).collect();
            let advice =
                "should be the addresses of admin endpoints, such as \"http://courier-1:9464\": http://, a host and a port, nothing else";
            if !(1..=MOST_INSTANCES).contains(&texts.len()) {
                section.wrong("instances", format!("should name 1 to {MOST_INSTANCES} instances"));
            } else if instances.len() < texts.len() {
                section.wrong("instances", advice);
            }
            instances
        });
        let hosts = section.texts("hosts").unwrap_or_default();
        if let Some(wrong) = hosts.iter().find(|host| !is_host(host)) {
            let advice = "is no host's name: write it in lower case and without a port, such as \"courier.example.com\"";
            section.wrong("hosts", format!("{} {advice}", quoted(wrong)));
        }
        let token = section.secret("token");
        if let (Some(secret), Some(key)) = (&token, section.source("token"))
            && crate::config::secret::read(secret, section.reading)
                .is_ok_and(|text| text.expose_secret().trim().len() < LEAST_TOKEN)
        {
            let message = format!(
                "the token is too short: {LEAST_TOKEN} characters at least, such as those of `openssl rand -hex 32`"
            );
            section.wrong(&key, message);
        }
        Console {
            instances: instances.unwrap_or_else(|| own(admin)),
            hosts,
            token,
        }
    }
}

/// The admin endpoint of this very configuration.
fn own(admin: &Admin) -> Vec<Url> {
    let url = |address| Url::parse(&format!("http://{address}")).ok();
    admin.local().and_then(url).into_iter().collect()
}

fn instance(text: &str) -> Option<Url> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| url.scheme() == "http" && url.has_host())?;
    // With no path, query, fragment or user the URL is its origin and a slash.
    (url.as_str() == format!("{}/", url.origin().ascii_serialization())).then_some(url)
}

fn is_host(text: &str) -> bool {
    Url::parse(&format!("http://{text}"))
        .is_ok_and(|url| url.host_str() == Some(text) && url.port().is_none())
}
