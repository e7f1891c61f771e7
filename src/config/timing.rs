//! The consumer group's timers: librdkafka properties that other settings must fit.

use std::time::Duration;

use super::duration::written;
use super::mistake::{Origin, Reading};
use super::properties::{PropertyValue, Setting, Settings};

const SESSION_TIMEOUT: &str = "session.timeout.ms";
const HEARTBEAT_INTERVAL: &str = "heartbeat.interval.ms";
const MAX_POLL_INTERVAL: &str = "max.poll.interval.ms";

/// The timers, which mean nothing to a producer.
pub(super) const CONSUMER_TIMERS: [&str; 3] = [SESSION_TIMEOUT, HEARTBEAT_INTERVAL, MAX_POLL_INTERVAL];

/// The timers that other sections must fit, and where they were set if they were.
pub(super) struct Timing {
    pub(super) session_timeout: Duration,
    pub(super) session_origin: Option<Origin>,
    pub(super) max_poll_interval: Duration,
    pub(super) max_poll_origin: Option<Origin>,
}

impl Timing {
    pub(super) fn read(consumer: &Settings, reading: &mut Reading) -> Self {
        let mut timer = |name: &str, default: u64| {
            let setting = consumer.get(name);
            (setting, setting.and_then(|setting| milliseconds(setting, reading)).unwrap_or(Duration::from_millis(default)))
        };
        let (session_setting, session_timeout) = timer(SESSION_TIMEOUT, 15_000);
        let (heartbeat_setting, heartbeat) = timer(HEARTBEAT_INTERVAL, 3_000);
        let (max_poll_setting, max_poll_interval) = timer(MAX_POLL_INTERVAL, 300_000);
        // Where it was not set, the client's is made to fit.
        if let (Some(at), true) = (heartbeat_setting, heartbeat >= session_timeout) {
            let (heartbeat, session) = (written(heartbeat), written(session_timeout));
            let message = format!("{HEARTBEAT_INTERVAL} ({heartbeat}) must be below {SESSION_TIMEOUT} ({session})");
            reading.mistake(&at.origin, &at.key, message);
        }
        if let (Some(at), true) = (max_poll_setting.or(session_setting), max_poll_interval < session_timeout) {
            let (max_poll, session) = (written(max_poll_interval), written(session_timeout));
            let message = format!("{MAX_POLL_INTERVAL} ({max_poll}) must not be below {SESSION_TIMEOUT} ({session})");
            reading.mistake(&at.origin, &at.key, message);
        }
        Timing {
            session_timeout,
            session_origin: session_setting.map(|setting| setting.origin.clone()),
            max_poll_interval,
            max_poll_origin: max_poll_setting.map(|setting| setting.origin.clone()),
        }
    }
}

/// The value of a property that counts milliseconds.
fn milliseconds(setting: &Setting, reading: &mut Reading) -> Option<Duration> {
    let number = match &setting.value {
        PropertyValue::Plain(text) => text.trim().parse().ok(),
        PropertyValue::Secret(_) => None,
    };
    if number.is_none() {
        reading.mistake(&setting.origin, &setting.key, "should be a whole number of milliseconds");
    }
    number.map(Duration::from_millis)
}
