//! `[kafka]`: the brokers, who we are to them, the topics, and librdkafka's own properties.

use std::process::Command;
use std::time::Duration;

use crate::config::librdkafka::{check_consumer, check_producer};
use crate::config::mistake::Needed;
use crate::config::properties::{Properties, place_of};
use crate::config::section::{Section, default_of, is_plain_name, quoted};
use crate::config::timing::{CONSUMER_TIMERS, Timing};
use crate::config::tree::PROPERTY_TABLES;

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
    /// Updates are read from it.
    pub updates: String,
    /// Takes an outcome for each update.
    pub outcomes: String,
    /// Takes the records that cannot be delivered.
    pub dead_letters: String,
}

impl Kafka {
    pub(super) fn read(section: &Section<'_>) -> (Self, Timing) {
        let bootstrap_servers = section
            .parsed("bootstrap_servers", servers)
            .unwrap_or_default();
        let group_id = section.parsed("group_id", name).unwrap_or_default();
        let instance_id = section
            .parsed("instance_id", name)
            .or_else(|| host_name(section))
            .unwrap_or_default();
        let topics = Topics::read(&section.section("topics"));

        let mistakes_before = section.reading.count();
        let sections = PROPERTY_TABLES.map(|name| section.section(name));
        let [of_all, of_consumers, of_producers] = &sections;
        let [common, consumer, producer] = sections.each_ref().map(Properties::read);
        for (name, _) in CONSUMER_TIMERS
            .iter()
            .filter(|(name, _)| producer.0.contains_key(*name))
        {
            if let Some((origin, key)) = place_of(name, of_producers) {
                section.reading.mistake(
                    origin,
                    key,
                    "is for consumers: move it to [kafka.consumer_properties]",
                );
            }
        }
        let (consumer, producer) = (common.with(consumer), common.with(producer));
        let timing = Timing::read(&consumer, [of_consumers, of_all]);
        let session_timeout = timing.session_timeout.value;
        let is_needed = section.reading.needed != Needed::Nothing;
        if is_needed && section.reading.count() == mistakes_before {
            check_together(section, &consumer, session_timeout, &producer);
        }
        (
            Kafka {
                bootstrap_servers,
                group_id,
                instance_id,
                topics,
                session_timeout,
                common,
                consumer,
                producer,
            },
            timing,
        )
    }
}

/// Each property for itself is in order: now all of them.
fn check_together(
    section: &Section<'_>,
    consumer: &Properties,
    session_timeout: Duration,
    producer: &Properties,
) {
    let resolve = |properties: &Properties| {
        properties
            .resolve_in(|secret| crate::config::secret::read(secret, section.reading))
            .ok()
    };
    let consumer = resolve(consumer).and_then(|pairs| check_consumer(pairs, session_timeout).err());
    let producer = resolve(producer).and_then(|pairs| check_producer(pairs).err());
    let said = if consumer == producer {
        [("properties", consumer), ("", None)]
    } else {
        [
            ("consumer_properties", consumer),
            ("producer_properties", producer),
        ]
    };
    for (name, said) in said
        .into_iter()
        .filter_map(|(name, said)| Some((name, said?)))
    {
        let at = if section.is_set(name) {
            name
        } else {
            "properties"
        };
        section.missing(
            at,
            format!("librdkafka refuses the properties together: {said}"),
        );
    }
}

fn servers(text: &str) -> Result<String, &'static str> {
    let is_server = |server: &str| {
        let (host, port) = server.rsplit_once(':').unwrap_or((server, "9092"));
        !host.is_empty()
            && !server.contains(char::is_whitespace)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let advice =
        "should be host:port, several separated by commas, such as \"kafka-1:9092,kafka-2:9092\"";
    text.split(',')
        .map(str::trim)
        .all(is_server)
        .then(|| text.to_owned())
        .ok_or(advice)
}

/// A name that stands in group ids, transactional ids and the outcomes' `source`.
fn name(text: &str) -> Result<String, &'static str> {
    is_plain_name(text, 200)
        .then(|| text.to_owned())
        .ok_or("should be 1 to 200 letters, digits, `.`, `_` or `-`")
}

/// The default of `instance_id`.
fn host_name(section: &Section<'_>) -> Option<String> {
    let from_system = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let from_command = || String::from_utf8(Command::new("hostname").output().ok()?.stdout).ok();
    let found = from_system()
        .or_else(from_command)
        .and_then(|found| name(found.trim()).ok());
    if found.is_none() && !section.is_set("instance_id") {
        section.missing("instance_id", "is required here, since the host's name cannot be used: set one that no other instance has");
    }
    found
}

impl Default for Topics {
    fn default() -> Self {
        default_of("kafka.topics", Topics::read)
    }
}

impl Topics {
    fn read(section: &Section<'_>) -> Self {
        let names = ["updates", "outcomes", "dead_letters"]
            .map(|key| (key, section.text(key).unwrap_or_default()));
        for (index, (key, name)) in names.iter().enumerate() {
            if !is_plain_name(name, 249) || name == "." || name == ".." {
                section.wrong(
                    key,
                    "is no topic's name: 1 to 249 letters, digits, `.`, `_` or `-`",
                );
            }
            if let Some((other, _)) = names
                .iter()
                .take(index)
                .find(|(_, earlier)| earlier == name)
            {
                // The one that was set is the one to look at.
                let (at, other) = if section.is_set(key) {
                    (key, other)
                } else {
                    (other, key)
                };
                section.wrong(
                    at,
                    format!(
                        "{} is the topic of `{other}` too: they must differ",
                        quoted(name)
                    ),
                );
            }
        }
        let [(_, updates), (_, outcomes), (_, dead_letters)] = names;
        Topics {
            updates,
            outcomes,
            dead_letters,
        }
    }
}
