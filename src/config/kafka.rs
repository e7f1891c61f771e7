//! `[kafka]`: the brokers, who we are to them, the topics, and librdkafka's own properties.

use std::time::Duration;

use super::librdkafka::{check_consumer, check_producer};
use super::mistake::Reading;
use super::properties::{Properties, Settings};
use super::section::{Section, is_plain_name};
use super::timing::{CONSUMER_TIMERS, Timing};
use super::topics::Topics;
use super::tree::PROPERTY_TABLES;

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

impl Kafka {
    pub(super) fn read(mut section: Section<'_>, reading: &mut Reading) -> (Self, Timing) {
        let bootstrap_servers = read_bootstrap_servers(&mut section, reading);
        let group_id = read_name(&mut section, "group_id", reading).unwrap_or_else(|| "user-courier".to_owned());
        let instance_id = read_name(&mut section, "instance_id", reading).or_else(|| host_name(&section, reading));
        let topics = Topics::read(section.section("topics", reading), reading);

        let mistakes_before = reading.count();
        let [common, consumer, producer] = PROPERTY_TABLES.map(|key| {
            let table = section.section(key, reading);
            Settings::read(&table, reading)
        });
        for name in CONSUMER_TIMERS {
            if let Some(setting) = producer.get(name) {
                let message = "is for consumers: move it to [kafka.consumer_properties]";
                reading.mistake(&setting.origin, &setting.key, message);
            }
        }
        let consumer = common.clone().with(consumer);
        let producer = common.clone().with(producer);
        let timing = Timing::read(&consumer, reading);
        if reading.count() == mistakes_before {
            check_together(&section, (&consumer, &timing), &producer, reading);
        }
        section.finish(reading);
        let kafka = Kafka {
            bootstrap_servers: bootstrap_servers.unwrap_or_default(),
            group_id,
            instance_id: instance_id.unwrap_or_default(),
            topics,
            session_timeout: timing.session_timeout,
            consumer: consumer.into_properties(),
            producer: producer.into_properties(),
            common: common.into_properties(),
        };
        (kafka, timing)
    }
}

/// Each property for itself is in order: now all of them.
fn check_together(section: &Section<'_>, (consumer, timing): (&Settings, &Timing), producer: &Settings, reading: &mut Reading) {
    let consumer = consumer.resolve_within(reading).and_then(|pairs| check_consumer(pairs, timing.session_timeout).err());
    let producer = producer.resolve_within(reading).and_then(|pairs| check_producer(pairs).err());
    let said = match (consumer, producer) {
        (Some(consumer), Some(producer)) if consumer == producer => vec![("properties", consumer)],
        (consumer, producer) => {
            let consumer = consumer.map(|said| ("consumer_properties", said));
            consumer.into_iter().chain(producer.map(|said| ("producer_properties", said))).collect()
        }
    };
    for (key, said) in said {
        let at = if section.is_set(key) { key } else { "properties" };
        let message = format!("librdkafka refuses the properties together: {said}");
        reading.missing(&section.origin_of(at), section.key(at), message);
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
