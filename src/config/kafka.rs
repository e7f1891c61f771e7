//! `[kafka]`: the brokers, who we are to them, the topics, and librdkafka's own properties.

use std::time::Duration;

use super::duration::written;
use super::mistake::{Origin, Reading};
use super::properties::{Properties, Settings};
use super::section::{Section, is_plain_name, quoted};

/// Everything about Kafka.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// The first part of every target's group id.
    pub group_id: String,
    /// The name of this instance; no two share one.
    pub instance_id: String,
    /// The topics.
    pub topics: Topics,
    /// After how long without a heartbeat an instance loses its partitions.
    pub session_timeout: Duration,
    /// librdkafka properties for every client.
    pub common: Properties,
    /// Those for consumers: the common ones, and over them the consumers' own.
    pub consumer: Properties,
    /// Those for producers: the common ones, and over them the producers' own.
    pub producer: Properties,
}

/// The names of the topics; no two are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Where updates come from.
    pub updates: String,
    /// Where outcomes go.
    pub outcomes: String,
    /// Where undeliverable records go.
    pub dead_letters: String,
}

impl Default for Topics {
    fn default() -> Self {
        Topics {
            updates: "user-updates".to_owned(),
            outcomes: "user-update-outcomes".to_owned(),
            dead_letters: "user-update-dead-letters".to_owned(),
        }
    }
}

/// The group's timers, which other sections must fit, and where they were set if they were.
pub(super) struct Timing {
    pub(super) session_timeout: Duration,
    pub(super) session_origin: Option<Origin>,
    pub(super) max_poll_interval: Duration,
    pub(super) max_poll_origin: Option<Origin>,
}

impl Kafka {
    pub(super) fn read(mut section: Section<'_>, reading: &mut Reading) -> (Self, Timing) {
        let bootstrap_servers = read_bootstrap_servers(&mut section, reading);
        let group_id = read_name(&mut section, "group_id", reading).unwrap_or_else(|| "user-courier".to_owned());
        let instance_id = read_name(&mut section, "instance_id", reading).or_else(|| host_name(&section, reading));
        let topics = Topics::read(section.section("topics", reading), reading);

        let [common, consumer, producer] = super::tree::PROPERTY_TABLES.map(|key| {
            let table = section.section(key, reading);
            Settings::read(&table, reading)
        });
        for name in [SESSION_TIMEOUT, HEARTBEAT_INTERVAL, MAX_POLL_INTERVAL] {
            if let Some((origin, _)) = producer.get(name) {
                let key = format!("kafka.producer_properties.{name}");
                reading.mistake(origin, key, "is for consumers: move it to [kafka.consumer_properties]");
            }
        }
        let consumer = common.clone().with(consumer);
        let timing = Timing::read(&consumer, reading);
        section.finish(reading);
        let kafka = Kafka {
            bootstrap_servers: bootstrap_servers.unwrap_or_default(),
            group_id,
            instance_id: instance_id.unwrap_or_default(),
            topics,
            session_timeout: timing.session_timeout,
            consumer: consumer.into_properties(),
            producer: common.clone().with(producer).into_properties(),
            common: common.into_properties(),
        };
        (kafka, timing)
    }
}

fn read_bootstrap_servers(section: &mut Section<'_>, reading: &mut Reading) -> Option<String> {
    let key = "bootstrap_servers";
    let Some(text) = section.text(key, reading) else {
        if !section.is_set(key) {
            section.missing(key, "is required: one or more brokers, such as \"localhost:9092\"", reading);
        }
        return None;
    };
    let is_server = |server: &str| {
        let (host, port) = server.rsplit_once(':').unwrap_or((server, "9092"));
        !host.is_empty() && !server.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if !text.split(',').map(str::trim).all(is_server) {
        section.wrong(key, "should be host:port, several separated by commas, such as \"kafka-1:9092,kafka-2:9092\"", reading);
    }
    Some(text)
}

/// A name that stands in group ids, transactional ids and the outcomes' `source`.
fn read_name(section: &mut Section<'_>, key: &str, reading: &mut Reading) -> Option<String> {
    let name = section.text(key, reading)?;
    if !is_plain_name(&name, 200) {
        section.wrong(key, "should be 1 to 200 letters, digits, `.`, `_` or `-`", reading);
    }
    Some(name)
}

/// The default of `instance_id`.
fn host_name(section: &Section<'_>, reading: &mut Reading) -> Option<String> {
    let key = "instance_id";
    if section.is_set(key) {
        return None;
    }
    let from_system = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let from_command = || {
        let output = std::process::Command::new("hostname").output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let name = from_system().or_else(from_command).map(|name| name.trim().to_owned());
    let name = name.filter(|name| is_plain_name(name, 200));
    if name.is_none() {
        section.missing(key, "is required here, since the host's name cannot be used: set one that no other instance has", reading);
    }
    name
}

impl Topics {
    fn read(mut section: Section<'_>, reading: &mut Reading) -> Self {
        let Topics { updates, outcomes, dead_letters } = Topics::default();
        let mut names = [("updates", updates), ("outcomes", outcomes), ("dead_letters", dead_letters)];
        for (key, name) in &mut names {
            if let Some(text) = section.text(key, reading) {
                if !is_plain_name(&text, 249) || text == "." || text == ".." {
                    section.wrong(key, "is no topic's name: 1 to 249 letters, digits, `.`, `_` or `-`", reading);
                }
                *name = text;
            }
        }
        for (index, (key, name)) in names.iter().enumerate() {
            if let Some((other, _)) = names.iter().take(index).find(|(_, earlier)| earlier == name) {
                // Whichever was set is the one to look at.
                let (at, other) = if section.is_set(key) { (key, other) } else { (other, key) };
                section.wrong(at, format!("{} is the topic of `{other}` too: they must differ", quoted(name)), reading);
            }
        }
        section.finish(reading);
        let [(_, updates), (_, outcomes), (_, dead_letters)] = names;
        Topics { updates, outcomes, dead_letters }
    }
}

const SESSION_TIMEOUT: &str = "session.timeout.ms";
const HEARTBEAT_INTERVAL: &str = "heartbeat.interval.ms";
const MAX_POLL_INTERVAL: &str = "max.poll.interval.ms";

impl Timing {
    fn read(consumer: &Settings, reading: &mut Reading) -> Self {
        let (session_timeout, session_origin) = milliseconds(consumer, SESSION_TIMEOUT, 15_000, reading);
        let (heartbeat, heartbeat_origin) = milliseconds(consumer, HEARTBEAT_INTERVAL, 3_000, reading);
        let (max_poll_interval, max_poll_origin) = milliseconds(consumer, MAX_POLL_INTERVAL, 300_000, reading);
        if let (Some(origin), true) = (heartbeat_origin.as_ref().or(session_origin.as_ref()), heartbeat >= session_timeout) {
            let message = format!(
                "{HEARTBEAT_INTERVAL} ({}) must be below {SESSION_TIMEOUT} ({}): a third of it is usual",
                written(heartbeat),
                written(session_timeout)
            );
            reading.mistake(origin, format!("kafka.consumer_properties.{HEARTBEAT_INTERVAL}"), message);
        }
        if let (Some(origin), true) = (max_poll_origin.as_ref().or(session_origin.as_ref()), max_poll_interval < session_timeout) {
            let message = format!(
                "{MAX_POLL_INTERVAL} ({}) must not be below {SESSION_TIMEOUT} ({})",
                written(max_poll_interval),
                written(session_timeout)
            );
            reading.mistake(origin, format!("kafka.consumer_properties.{MAX_POLL_INTERVAL}"), message);
        }
        Timing { session_timeout, session_origin, max_poll_interval, max_poll_origin }
    }
}

/// A property that counts milliseconds, and where it was set if it was.
fn milliseconds(consumer: &Settings, name: &str, default: u64, reading: &mut Reading) -> (Duration, Option<Origin>) {
    let Some((origin, text)) = consumer.get(name) else { return (Duration::from_millis(default), None) };
    // librdkafka would take "30s" and read 30 from it.
    let Some(number) = text.and_then(|text| text.trim().parse().ok()) else {
        let key = format!("kafka.consumer_properties.{name}");
        reading.mistake(origin, key, "should be a whole number of milliseconds");
        return (Duration::from_millis(default), None);
    };
    (Duration::from_millis(number), Some(origin.clone()))
}
