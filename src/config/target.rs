//! `[targets.NAME]`: one API that updates are delivered to.

use url::Url;

use super::address;
use super::credentials::Credentials;
use super::delivery::{Delivery, Retry};
use super::keys::sources;
use super::section::{Section, is_plain_name};
use super::timing::Timing;
use super::tls::Tls;
use super::tree::Node;
use crate::api::{self, Api};

/// The name of the subscriber for what no target claims.
pub const UNCLAIMED: &str = "unclaimed";

/// One target.
#[derive(Clone, Debug)]
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

impl Target {
    /// Reads all targets, in their order.
    pub(super) fn read_all(section: &Section<'_>, timing: &Timing) -> Vec<Target> {
        if section.entries.is_empty() {
            section.missing("", "at least one target is required: [targets.NAME] with `api`, `base_url` and credentials");
        }
        let read = |(name, node): &(String, Node)| {
            if name == UNCLAIMED {
                section.wrong(name, "is reserved for what no target claims: choose another name");
            } else if !is_plain_name(name, 100) {
                let message = "a target's name has 1 to 100 letters, digits, `.`, `_` or `-`: it becomes part of a Kafka group id and a metric's label";
                section.wrong(name, message);
            }
            let section = Section::open("targets.NAME", section.key(name), node, section.reading);
            Target::read(name, &section, timing)
        };
        section.entries.iter().filter_map(read).collect()
    }

    fn read(name: &str, section: &Section<'_>, timing: &Timing) -> Option<Target> {
        let api = section.text("api").and_then(|name| api::by_name(&name));
        section.check_names(|key| own_name(key, api?));
        let base_url = section.parsed("base_url", |text| address::parse(text, "https://vms.example.com"));
        if base_url.as_ref().is_some_and(address::is_open) {
            section.warn("base_url", "is http:// and not loopback: credentials and updates can be read on their way; use https://");
        }
        let credentials = api.and_then(|api| Credentials::read(section, api));
        let delivery_section = section.section("delivery");
        let delivery = Delivery::read(&delivery_section);
        delivery.check(&delivery_section, timing);
        let retry = Retry::read(&section.section("retry"));
        let tls = Tls::read(&section.section("tls"));
        if tls != Tls::default() && base_url.as_ref().is_some_and(|url| url.scheme() == "http") {
            section.wrong("tls", "contradicts an http:// base_url: use https:// or remove this section");
        }
        Some(Target { name: name.to_owned(), api: api?, base_url: base_url?, credentials: credentials?, delivery, retry, tls })
    }
}

/// What the API calls a key that only other APIs have. No spelling is near enough to tell that `username` is `login` elsewhere.
fn own_name(key: &str, api: &dyn Api) -> Option<String> {
    let is_other = |name: fn(&dyn Api) -> &'static str| name(api) != key && api::ALL.into_iter().any(|other| name(other) == key);
    if is_other(|api| api.username_key()) {
        return Some(api.username_key().to_owned());
    }
    let [file, _] = sources(api.token_key());
    is_other(|api| api.token_key()).then_some(file)
}
