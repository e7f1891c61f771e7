//! `[targets.NAME]`: one API that updates are delivered to.

use std::fmt;

use url::Url;

use super::address;
use super::credentials::{self, Credentials};
use super::delivery::Delivery;
use super::mistake::Reading;
use super::retry::Retry;
use super::section::{Section, is_plain_name, quoted};
use super::timing::Timing;
use super::tls::Tls;
use super::tree::Node;
use crate::api::{self, Api};

/// The name of the subscriber for what no target claims.
pub const UNCLAIMED: &str = "unclaimed";

/// One target.
#[derive(Clone)]
pub struct Target {
    /// Its name, which fits a Kafka group id and a metric's label.
    pub name: String,
    /// The API that answers there.
    pub api: &'static dyn Api,
    /// `http` or `https`, a host, and perhaps a path to put before the API's own ones.
    pub base_url: Url,
    /// How to get in.
    pub credentials: Credentials,
    /// How calls are made.
    pub delivery: Delivery,
    /// How they are made again.
    pub retry: Retry,
    /// The certificates.
    pub tls: Tls,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("api", &self.api.name())
            .field("base_url", &self.base_url.as_str())
            .field("credentials", &self.credentials)
            .field("delivery", &self.delivery)
            .field("retry", &self.retry)
            .field("tls", &self.tls)
            .finish()
    }
}

impl Target {
    /// Reads all targets, in their order.
    pub(super) fn read_all(section: &Section<'_>, timing: &Timing, reading: &mut Reading) -> Vec<Target> {
        if section.entries().is_empty() {
            let message = "at least one target is required: [targets.NAME] with `api`, `base_url` and credentials";
            section.missing_here(message, reading);
        }
        let read = |(name, node): &(String, Node)| {
            let path = section.key(name);
            if name == UNCLAIMED {
                let message = "is reserved for what no target claims: choose another name";
                reading.mistake(&node.origin, &path, message);
            } else if !is_plain_name(name, 100) {
                let message = "a target's name has 1 to 100 letters, digits, `.`, `_` or `-`: it becomes part of a Kafka group id and a metric's label";
                reading.mistake(&node.origin, &path, message);
            }
            Target::read(name, Section::open(path, node, reading), timing, reading)
        };
        section.entries().iter().filter_map(read).collect()
    }

    fn read(name: &str, mut section: Section<'_>, timing: &Timing, reading: &mut Reading) -> Option<Target> {
        let api = read_api(&mut section, reading);
        let base_url = read_base_url(&mut section, reading);
        let credentials = match api {
            Some(api) => Credentials::read(&mut section, api, reading),
            None => {
                credentials::skip(&mut section);
                None
            }
        };
        let delivery = Delivery::read(section.section("delivery", reading), timing, reading);
        let retry = Retry::read(section.section("retry", reading), reading);
        let tls = Tls::read(section.section("tls", reading), reading);
        if tls != Tls::default() && base_url.as_ref().is_some_and(|url| url.scheme() == "http") {
            section.wrong("tls", "contradicts an http:// base_url: use https:// or remove this section", reading);
        }
        section.finish(reading);
        Some(Target { name: name.to_owned(), api: api?, base_url: base_url?, credentials: credentials?, delivery, retry, tls })
    }
}

fn read_api(section: &mut Section<'_>, reading: &mut Reading) -> Option<&'static dyn Api> {
    let names = || api::ALL.map(|api| api.name()).join(", ");
    let Some(name) = section.text("api", reading) else {
        if !section.is_set("api") {
            section.missing("api", format!("is required: one of {}", names()), reading);
        }
        return None;
    };
    let found = api::by_name(&name);
    if found.is_none() {
        section.wrong("api", format!("{} is not one of {}", quoted(&name), names()), reading);
    }
    found
}

fn read_base_url(section: &mut Section<'_>, reading: &mut Reading) -> Option<Url> {
    let Some(text) = section.text("base_url", reading) else {
        if !section.is_set("base_url") {
            let message = "is required: where the API answers, such as \"https://vms.example.com\"";
            section.missing("base_url", message, reading);
        }
        return None;
    };
    let url = match address::parse(&text, "https://vms.example.com") {
        Ok(url) => url,
        Err(message) => {
            section.wrong("base_url", message, reading);
            return None;
        }
    };
    if address::is_open(&url) {
        let message = "is http:// and not loopback: credentials and updates can be read on their way; use https://";
        reading.warn(&section.origin_of("base_url"), &section.key("base_url"), message);
    }
    Some(url)
}
