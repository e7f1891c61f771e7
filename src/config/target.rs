//! `[targets.NAME]`: one API that updates are delivered to.

use std::path::Path;

use url::Url;

use crate::api::{self, Api, Other};
use crate::config::address;
use crate::config::credentials::Credentials;
use crate::config::delivery::{Delivery, Retry};
use crate::config::keys::sources;
use crate::config::proxy::Proxy;
use crate::config::section::{Section, is_plain_name};
use crate::config::timing::Timing;
use crate::config::tls::Tls;
use crate::config::tree::Node;

/// The name of the subscriber for what no target claims.
pub const UNCLAIMED: &str = "unclaimed";

/// One target.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name, which fits a Kafka group id and a metric's label.
    pub name: String,
    /// Whether no calls are made until it is false again.
    pub paused: bool,
    /// The API that answers there.
    pub api: &'static Api,
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
    /// The proxy that calls go through.
    pub proxy: Option<Proxy>,
}

impl Target {
    /// Reads all targets, in their order.
    pub(super) fn read_all(targets: &Section<'_>, timing: &Timing) -> Vec<Target> {
        if targets.entries.is_empty() && !targets.broken {
            let message = "at least one target is required: [targets.NAME] with `api`, `base_url` and credentials";
            targets
                .reading
                .missing(&targets.origin, &targets.path, message);
        }
        let read = |(name, node): &(String, Node)| {
            if name == UNCLAIMED {
                targets.wrong(
                    name,
                    "is reserved for what no target claims: choose another name",
                );
            } else if !is_plain_name(name, 100) {
                let message = "a target's name has 1 to 100 letters, digits, `.`, `_` or `-`: it becomes part of a Kafka group id and a metric's label";
                targets.wrong(name, message);
            }
            Target::read(
                name,
                &Section::open("targets.NAME", targets.key(name), node, targets.reading),
                timing,
            )
        };
        targets.entries.iter().filter_map(read).collect()
    }

    fn read(name: &str, section: &Section<'_>, timing: &Timing) -> Option<Target> {
        let api = section.text("api").and_then(|name| api::by_name(&name));
        section.check_names(|key| own_name(key, api?));
        let base_url = section.parsed("base_url", |text| {
            address::parse(text, "https://vms.example.com")
        });
        if base_url.as_ref().is_some_and(address::is_open) {
            section.warn("base_url", "is http:// and not loopback: credentials and updates can be read on their way; use https://");
        }
        let credentials = api.and_then(|api| Credentials::read(section, api));
        let (delivery_section, landing) = (
            section.section("delivery"),
            "or a call of a lost instance could land after its successor's",
        );
        let delivery = Delivery::read(&delivery_section);
        timing.session_timeout.must_be_above(
            &delivery_section,
            "request_timeout",
            delivery.request_timeout,
            landing,
        );
        timing.must_leave_a_lease(&delivery_section, delivery.request_timeout, &section.path);
        let retry = Retry::read(&section.section("retry"));
        let tls = Tls::read(&section.section("tls"));
        let proxy = Proxy::read(section);
        if tls != Tls::default() && base_url.as_ref().is_some_and(|url| url.scheme() == "http") {
            section.wrong(
                "tls",
                "contradicts an http:// base_url: use https:// or remove this section",
            );
        }
        Some(Target {
            name: name.to_owned(),
            paused: section.boolean("paused"),
            api: api?,
            base_url: base_url?,
            credentials: credentials?,
            delivery,
            retry,
            tls,
            proxy,
        })
    }

    /// All files that are read when a caller is made.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let proxys = self.proxy.as_ref().and_then(Proxy::file);
        self.tls.files().chain(proxys)
    }
}

/// The API's own name for a key that only others have. No spelling is near enough to tell that
/// `username` is `login` elsewhere.
fn own_name(key: &str, api: &Api) -> Option<String> {
    let own = names(api);
    if own.iter().any(|own| own == key) {
        return None;
    }
    let role = api::ALL
        .iter()
        .find_map(|other| names(other).iter().position(|their| their == key))?;
    // One that this API has nothing like is told by the way in that every API has.
    own.get(role).or(own.first()).cloned()
}

/// What the API calls the keys of its credentials, in one order for all.
fn names(api: &Api) -> Vec<String> {
    let mut names = sources(api.access.token_key).to_vec();
    match &api.access.other {
        Other::None => {}
        Other::Login(account) => {
            names.push(account.username_key.to_owned());
            names.extend(sources("password"));
        }
        Other::Client => {
            names.push("client_id".to_owned());
            names.extend(sources("client_secret"));
            names.extend(["token_url", "scope"].map(str::to_owned));
        }
    }
    names
}
