//! Every key of the configuration. Sections are read by this table, `docs/configuration.md` is
//! printed from it, and it says which changes a running service takes up. A further key is a row
//! here, and its use.

use self::Fallback::{Is, Required, Unset};
use crate::api;
use crate::config::kind::ValueKind::{
    self, Boolean, Duration, File, List, Number, Ratio, Secret, Text, Time, Word,
};

/// One key.
pub(super) struct Key {
    /// With the tables that it stands in.
    pub(super) path: &'static str,
    pub(super) kind: ValueKind,
    pub(super) default: Fallback,
    /// Its first clause, up to a semicolon, also says what is missing if the key is required.
    pub(super) help: &'static str,
    /// Whether a running service takes a change up.
    pub(super) live: bool,
}

/// The value of a key that is not set.
#[derive(Clone, Copy)]
pub(super) enum Fallback {
    /// This, as it would stand in a variable or a flag.
    Is(&'static str),
    /// None, or one that its help tells.
    Unset,
    Required,
}

/// Stands in a path for any name.
const ANY: &str = "NAME";

/// The keys, table by table.
#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key("kafka.bootstrap_servers", Text, Required, "one or more brokers, such as \"localhost:9092\"; several are separated by commas"),
    key("kafka.group_id", Text, Is("user-courier"), "the first part of each target's consumer group, `<group_id>.<target>`"),
    key("kafka.instance_id", Text, Unset, "the name of this instance, which no other one has; the host's name unless set"),
    key("kafka.topics.updates", Text, Is("user-updates"), "updates are read from it"),
    key("kafka.topics.outcomes", Text, Is("user-update-outcomes"), "takes one outcome for each update"),
    key("kafka.topics.dead_letters", Text, Is("user-update-dead-letters"), "takes the records that cannot be delivered"),
    key("kafka.properties.NAME", Text, Unset, "a property of librdkafka for all clients"),
    key("kafka.consumer_properties.NAME", Text, Unset, "one for consumers, over those for all"),
    key("kafka.producer_properties.NAME", Text, Unset, "one for producers, over those for all"),
    key("targets.NAME.api", Word(|| api::ALL.iter().map(|api| api.name).collect()), Required, "the API that answers there"),
    key("targets.NAME.base_url", Text, Required, "where the API answers, such as \"https://vms.example.com\"; its own paths are added"),
    live("targets.NAME.paused", Boolean, Is("false"), "no calls are made while it is true; updates wait"),
    live("targets.NAME.protected_users", List, Unset, "users for whom no call is made: ids, and ranges such as \"1-99\" where ids are numbers; their updates become dead letters"),
    key("targets.NAME.token", Secret, Unset, "aipix, SCIM: a token made beforehand"),
    key("targets.NAME.login", Text, Unset, "aipix: the account to log in with, beside its password"),
    key("targets.NAME.access_token", Secret, Unset, "VALT: a token made beforehand"),
    key("targets.NAME.username", Text, Unset, "VALT: the account to log in with, beside its password"),
    key("targets.NAME.password", Secret, Unset, "the account's password"),
    key("targets.NAME.token_url", Text, Unset, "SCIM: where an authorization server gives out tokens, for OAuth 2.0 client credentials"),
    key("targets.NAME.client_id", Text, Unset, "SCIM: the client's name there, beside its secret"),
    key("targets.NAME.client_secret", Secret, Unset, "the client's secret"),
    key("targets.NAME.scope", Text, Unset, "SCIM: what the token is asked for, if that must be said"),
    key("targets.NAME.proxy", Text, Unset, "an HTTP proxy that calls go through, such as \"http://proxy:3128\"; none unless set, whatever the environment says"),
    key("targets.NAME.proxy_user", Text, Unset, "the account at the proxy, beside its password"),
    key("targets.NAME.proxy_password", Secret, Unset, "the password of `proxy_user`"),
    key("targets.NAME.delivery.request_timeout", Duration("1ms to 1h"), Is("10s"), "the longest that one call may take, connecting included"),
    live("targets.NAME.delivery.max_concurrency", Number("1 to 100000"), Is("256"), "calls in flight at most; the limit adapts below it"),
    live("targets.NAME.delivery.rate_limit", Number("0 to 1000000"), Is("0"), "calls per second of the whole group, evenly spaced, each instance by its share of the partitions; 0 is no limit"),
    live("targets.NAME.delivery.max_waiting", Number("1 to 10000000"), Is("10000"), "records held in memory; past it consumption pauses"),
    live("targets.NAME.delivery.merge", Boolean, Is("true"), "updates of one user that wait in line are sent in one call"),
    live("targets.NAME.guard.max_users", Number("0 to 1000000"), Unset, "so many users of the whole group may lose something within the window, and one more holds the target; required in a guard, and there is none unless set"),
    live("targets.NAME.guard.window", Duration("1m to 168h"), Is("1h"), "the time within which those users are counted"),
    live("targets.NAME.guard.also", List, Unset, "fields of which any value counts, beside what the API's table marks"),
    live("targets.NAME.guard.allow_until", Time, Unset, "until then updates that take something away flow, and are not counted"),
    live("targets.NAME.guard.refuse_until", Time, Unset, "until then they become dead letters, without a call"),
    live("targets.NAME.retry.initial_backoff", Duration("1ms to 1h"), Is("200ms"), "the longest wait before the second attempt; it doubles"),
    live("targets.NAME.retry.max_backoff", Duration("1ms to 1h"), Is("30s"), "the longest wait before any attempt"),
    live("targets.NAME.retry.max_attempts", Number("1 to 1000000"), Is("8"), "failures after which an update is given up"),
    key("targets.NAME.tls.ca_file", File, Unset, "authorities to trust in place of the platform's"),
    key("targets.NAME.tls.client_cert_file", File, Unset, "our own certificate, if the API asks for one, beside its key"),
    key("targets.NAME.tls.client_key_file", File, Unset, "the certificate's private key"),
    key("routes.source", Text, Unset, "a glob that must fit the event's `source`"),
    key("routes.type", Text, Unset, "a glob that must fit the event's `type`"),
    key("routes.target", Text, Required, "the name of a target"),
    key("admin.listen", Text, Is("127.0.0.1:9464"), "an IP address and a port for metrics, health and status; port 0 takes a free one"),
    key("console.instances", List, Unset, "the admin endpoints of the group's instances, 1 to 64; `admin.listen` unless set"),
    key("console.hosts", List, Unset, "names by which browsers ask for the page, besides addresses and `localhost`"),
    key("console.token", Secret, Unset, "the token for replaying, and for reading if `--listen` is not loopback"),
    live("log.level", Text, Is("info"), "the least severe level that is logged, or a list of them; the variable `RUST_LOG` wins"),
    key("log.format", Word(|| vec!["auto", "text", "json"]), Is("auto"), "`auto` is text on a terminal, JSON elsewhere"),
    key("traces.endpoint", Text, Unset, "where a collector takes OTLP over HTTP; `/v1/traces` is added"),
    key("traces.sample_ratio", Ratio, Is("1.0"), "the share of records without a trace of their own that begin one"),
    key("traces.headers", Secret, Unset, "headers for the collector: `name=value`, separated by commas"),
    key("shutdown.drain_timeout", Duration("0s to 1h"), Is("20s"), "how long calls in flight may take to finish; 0s gives them up at once"),
];

const fn key(path: &'static str, kind: ValueKind, default: Fallback, help: &'static str) -> Key {
    Key {
        path,
        kind,
        default,
        help,
        live: false,
    }
}

const fn live(path: &'static str, kind: ValueKind, default: Fallback, help: &'static str) -> Key {
    Key {
        path,
        kind,
        default,
        help,
        live: true,
    }
}

/// The keys that begin with a table's path, each with the rest of its own.
fn below(table: &str) -> impl Iterator<Item = (&'static str, &'static Key)> {
    KEYS.iter().filter_map(move |key| match table {
        "" => Some((key.path, key)),
        _ => Some((key.path.strip_prefix(table)?.strip_prefix('.')?, key)),
    })
}

/// The key of that name in a table.
pub(super) fn find(table: &str, name: &str) -> Option<&'static Key> {
    below(table)
        .find(|(rest, _)| *rest == name)
        .map(|(_, key)| key)
}

/// The names that may stand in a table; `None` if any may.
pub(super) fn names_in(table: &str) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for (rest, key) in below(table) {
        match (rest.split('.').next(), key.kind) {
            (Some(ANY), _) => return None,
            (Some(name), Secret) if name == rest => names.extend(sources(name)),
            (name, _) => names.extend(name.map(str::to_owned)),
        }
    }
    names.dedup();
    Some(names)
}

/// The key that is set at this path, or by a part of a value there.
pub(super) fn at(path: &[String]) -> Option<&'static Key> {
    KEYS.iter().find(|key| {
        let (table, name) = key.path.rsplit_once('.').unwrap_or_default();
        let mut rest = path.iter();
        let is_in_table = table.split('.').all(|part| {
            rest.next()
                .is_some_and(|segment| part == ANY || part == segment)
        });
        let is_its = |set: &String| {
            name == ANY || name == set || (key.kind.is_secret() && sources(name).contains(set))
        };
        is_in_table && rest.next().is_some_and(is_its)
    })
}

/// The two keys that say where a secret comes from.
pub(super) fn sources(secret: &str) -> [String; 2] {
    [format!("{secret}_file"), format!("{secret}_env")]
}

impl Key {
    /// The value that is missing if the key is, in words.
    pub(super) fn wanted(&self) -> String {
        match self.kind {
            Word(_) => format!("one of {}", self.kind.range()),
            _ => self.help.split(';').next().unwrap_or_default().to_owned(),
        }
    }
}
