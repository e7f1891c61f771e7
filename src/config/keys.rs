//! Every key of the configuration. Sections are read by these tables, `docs/configuration.md` is printed from
//! them, and they say which changes a running service takes up. A further key is a row here, and its use.

use std::time;

use self::Fallback::{Is, Required, Unset};
use self::Kind::{Boolean, Duration, File, List, Number, Ratio, Secret, Text, Word};
use super::duration::written;
use crate::api;

/// One key.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Fallback,
    /// Whether a running service takes a change up.
    pub(super) live: bool,
    /// Its first clause, up to a semicolon, also says what is missing if the key is required.
    pub(super) help: &'static str,
}

/// The values that a key takes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// One of several words.
    Word(fn() -> Vec<&'static str>),
    Boolean,
    /// A whole number: the least and the most.
    Number(i128, i128),
    /// A number from 0 to 1.
    Ratio,
    /// A duration: the least and the most, in milliseconds.
    Duration(u64, u64),
    /// A list of texts.
    List,
    /// The path of a file.
    File,
    /// A secret: the key is followed by `_file` or `_env`.
    Secret,
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

/// The name of a table whose name is free.
pub(super) const ANY: &str = "NAME";

const HOUR: u64 = 3_600_000;

/// The tables by their paths, with their keys, in the order of the documentation. One without keys takes any.
#[rustfmt::skip]
pub(super) static TABLES: [(&str, &[Key]); 15] = [
    ("kafka", &[
        key("bootstrap_servers", Text, Required,
            "one or more brokers, such as \"localhost:9092\"; several are separated by commas"),
        key("group_id", Text, Is("user-courier"),
            "each target has the consumer group `<group_id>.<target>`. 1 to 200 letters, digits, `.`, `_`, `-`. It is \
             part of the outcomes' ids: another one makes another service"),
        key("instance_id", Text, Unset,
            "the name of this instance, the host's name unless set; no two running instances may share one. Same characters"),
    ]),
    ("kafka.topics", &[
        key("updates", Text, Is("user-updates"), "updates are read from it"),
        key("outcomes", Text, Is("user-update-outcomes"), "takes one outcome for each update"),
        key("dead_letters", Text, Is("user-update-dead-letters"), "takes the records that cannot be delivered"),
    ]),
    ("kafka.properties", &[]),
    ("kafka.consumer_properties", &[]),
    ("kafka.producer_properties", &[]),
    ("targets.NAME", &[
        key("api", Word(|| api::ALL.iter().map(|api| api.name()).collect()), Required,
            "the API that answers there. Two targets may use the same one"),
        key("base_url", Text, Required,
            "where the API answers, such as \"https://vms.example.com\"; a path is put before the API's own paths. No user \
             name, query or fragment. `http://` to another host than loopback is a warning at each start"),
        key("token", Secret, Unset, "aipix: a token made beforehand"),
        key("login", Text, Unset, "aipix: the account to log in with, with `password_file` or `password_env`"),
        key("access_token", Secret, Unset, "VALT: a token made beforehand"),
        key("username", Text, Unset, "VALT: the account to log in with, with `password_file` or `password_env`"),
        key("password", Secret, Unset, "the account's password"),
    ]),
    ("targets.NAME.delivery", &[
        key("request_timeout", Duration(1, HOUR), Is("10s"),
            "the longest that one call may take, below `session.timeout.ms`. Four fifths of it, at most 5 s, for connecting"),
        live("max_concurrency", Number(1, 100_000), Is("256"),
            "calls in flight at most. The limit begins at 16 and adapts below this: it grows while calls succeed, and \
             shrinks when several users' calls fail or answers take more than twice as long as usual"),
        live("rate_limit", Number(0, 1_000_000), Is("0"),
            "calls per second, evenly spaced; 0 is no limit. Below it, the rate adapts to an API that answers 429"),
        live("max_waiting", Number(1, 10_000_000), Is("10000"),
            "records held in memory; past it consumption pauses. So it does past 64 MiB"),
        live("merge", Boolean, Is("true"),
            "updates of one user that wait in line are sent in one call, the later value of a field in place of the \
             earlier one; `false` sends each by itself"),
    ]),
    ("targets.NAME.retry", &[
        live("initial_backoff", Duration(1, HOUR), Is("200ms"),
            "the bound of the wait before the second attempt, not above `max_backoff`. It doubles with each further \
             attempt. The wait is anywhere between 0 and the bound"),
        live("max_backoff", Duration(1, HOUR), Is("30s"), "the longest bound"),
        live("max_attempts", Number(1, 1_000_000), Is("8"),
            "failures, while the target delivers others, after which an update is given up \
             ([ADR 8](adr/0008-when-an-update-is-given-up.md))"),
    ]),
    ("targets.NAME.tls", &[
        key("ca_file", File, Unset, "authorities to trust in place of the platform's"),
        key("client_cert_file", File, Unset, "our own certificate, if the API asks for one; with `client_key_file`"),
        key("client_key_file", File, Unset, "its private key"),
    ]),
    ("routes", &[
        key("source", Text, Unset, "a glob over the event's `source`"),
        key("type", Text, Unset, "a glob over the event's `type`"),
        key("target", Text, Required, "the name of a target"),
    ]),
    ("admin", &[
        key("listen", Text, Is("127.0.0.1:9464"),
            "an IP address and a port, for `/metrics`, `/livez`, `/readyz` and `/status`; port 0 takes a free one. There is \
             no authentication: an address that is not loopback is a warning at each start"),
    ]),
    ("console", &[
        key("instances", List, Unset,
            "the admin endpoints of the group's instances, 1 to 64, such as `[\"http://courier-1:9464\"]`: `http://`, a \
             host and a port; `admin.listen` unless set. In a variable or a flag with commas between them"),
        key("hosts", List, Unset,
            "names by which browsers may ask for the page, besides addresses and `localhost`: in lower case, without a port"),
        key("token", Secret, Unset,
            "the token for replaying, and for reading if `--listen` is not loopback. 16 characters at least"),
    ]),
    ("log", &[
        live("level", Text, Is("info"),
            "`error`, `warn`, `info`, `debug`, `trace`, `off`, or a list of one and of others for some lines: \
             `\"info,user_courier::ending=warn\"` ([logs](logs-and-traces.md#logs)). The environment variable `RUST_LOG` wins"),
        key("format", Word(|| vec!["auto", "text", "json"]), Is("auto"),
            "the form of a line, to standard error. `auto`: text on a terminal, JSON elsewhere"),
    ]),
    ("traces", &[
        key("endpoint", Text, Unset,
            "where a collector takes OTLP over HTTP, such as `\"http://127.0.0.1:4318\"`; `/v1/traces` is added"),
        key("sample_ratio", Ratio, Is("1.0"), "the share of records without a trace of their own that begin one"),
        key("headers", Secret, Unset,
            "headers for the collector: `name=value`, several separated by commas, taken as they are. With an `http://` \
             endpoint that is not loopback they are a warning at each start"),
    ]),
    ("shutdown", &[
        key("drain_timeout", Duration(0, HOUR), Is("20s"),
            "how long calls in flight may take to finish before a partition is handed over, and at the end; below \
             `max.poll.interval.ms`. 0s gives them up at once"),
    ]),
];

const fn key(name: &'static str, kind: Kind, default: Fallback, help: &'static str) -> Key {
    Key { name, kind, default, live: false, help }
}

const fn live(name: &'static str, kind: Kind, default: Fallback, help: &'static str) -> Key {
    Key { name, kind, default, live: true, help }
}

/// The keys of a table.
pub(super) fn of(table: &str) -> &'static [Key] {
    TABLES.iter().find(|(path, _)| *path == table).map(|(_, keys)| *keys).unwrap_or_default()
}

/// The tables that stand in a table, by name.
pub(super) fn tables_in(table: &str) -> Vec<&'static str> {
    let below = |path: &'static str| match table {
        "" => Some(path),
        _ => path.strip_prefix(table)?.strip_prefix('.'),
    };
    let mut names: Vec<_> = TABLES.iter().filter_map(|(path, _)| below(path)?.split('.').next()).collect();
    names.dedup();
    names
}

/// The key that a value at this path belongs to.
pub(super) fn at(path: &[String]) -> Option<&'static Key> {
    TABLES.iter().find_map(|(table, keys)| {
        let mut rest = path.iter();
        let fits = table.split('.').all(|part| rest.next().is_some_and(|segment| part == ANY || part == segment));
        keys.iter().find(|key| fits && rest.clone().next().is_some_and(|name| name == key.name))
    })
}

impl Key {
    /// The names by which it is set: a secret has two.
    pub(super) fn names(&self) -> Vec<String> {
        match self.kind {
            Secret => sources(self.name).to_vec(),
            _ => vec![self.name.to_owned()],
        }
    }

    /// The value that is missing if the key is, in words.
    pub(super) fn wanted(&self) -> String {
        match self.kind {
            Word(_) => format!("one of {}", self.kind.range()),
            _ => self.help.split(';').next().unwrap_or_default().to_owned(),
        }
    }
}

impl Kind {
    /// The values that it holds, in words; empty if any will do.
    pub(super) fn range(self) -> String {
        let time = |milliseconds| written(time::Duration::from_millis(milliseconds));
        match self {
            Word(words) => words().join(", "),
            Number(least, most) => format!("{least} to {most}"),
            Duration(least, most) => format!("{} to {}", time(least), time(most)),
            Ratio => "0 to 1".to_owned(),
            Text | Boolean | List | File | Secret => String::new(),
        }
    }

    /// The number, or the milliseconds, if it is in the range. The text is how it was written.
    pub(super) fn within(self, number: i128, text: &str) -> Result<i128, String> {
        let range = match self {
            Number(least, most) => least..=most,
            Duration(least, most) => least.into()..=most.into(),
            _ => number..=number,
        };
        if range.contains(&number) { Ok(number) } else { Err(format!("must be from {}, not {text}", self.range())) }
    }
}

/// The two keys that say where a secret comes from.
pub(super) fn sources(secret: &str) -> [String; 2] {
    [format!("{secret}_file"), format!("{secret}_env")]
}
