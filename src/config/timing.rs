//! The consumer group's timers: librdkafka properties that other settings must fit.

use std::time::Duration;

use super::duration::written;
use super::mistake::{Origin, Reading};
use super::properties::{PropertyValue, Settings};
use super::section::Section;

const SESSION_TIMEOUT: &str = "session.timeout.ms";
const HEARTBEAT_INTERVAL: &str = "heartbeat.interval.ms";
const MAX_POLL_INTERVAL: &str = "max.poll.interval.ms";

/// The timers, which mean nothing to a producer.
pub(super) const CONSUMER_TIMERS: [&str; 3] = [SESSION_TIMEOUT, HEARTBEAT_INTERVAL, MAX_POLL_INTERVAL];

/// The timers that other sections must fit.
pub(super) struct Timing {
    pub(super) session_timeout: Timer,
    pub(super) max_poll_interval: Timer,
}

/// A timer, and where it was set if it was.
pub(super) struct Timer {
    name: &'static str,
    pub(super) value: Duration,
    place: Option<(Origin, String)>,
}

impl Timing {
    pub(super) fn read(consumer: &Settings, reading: &Reading) -> Self {
        let session_timeout = Timer::read(SESSION_TIMEOUT, 15_000, consumer, reading);
        let heartbeat = Timer::read(HEARTBEAT_INTERVAL, 3_000, consumer, reading);
        let max_poll_interval = Timer::read(MAX_POLL_INTERVAL, 300_000, consumer, reading);
        // If it was not set, the client's is made to fit.
        if let (Some((origin, key)), true) = (&heartbeat.place, heartbeat.value >= session_timeout.value) {
            reading.mistake(origin, key, compared(heartbeat.named(), "must be below", session_timeout.named()));
        }
        let place = max_poll_interval.place.as_ref().or(session_timeout.place.as_ref());
        if let (Some((origin, key)), true) = (place, max_poll_interval.value < session_timeout.value) {
            reading.mistake(origin, key, compared(max_poll_interval.named(), "must not be below", session_timeout.named()));
        }
        Timing { session_timeout, max_poll_interval }
    }
}

impl Timer {
    fn read(name: &'static str, default: u64, settings: &Settings, reading: &Reading) -> Self {
        let setting = settings.get(name);
        let milliseconds = setting.and_then(|setting| {
            let milliseconds = match &setting.value {
                PropertyValue::Plain(text) => text.trim().parse().ok(),
                PropertyValue::Secret(_) => None,
            };
            if milliseconds.is_none() {
                reading.mistake(&setting.origin, &setting.key, "should be a whole number of milliseconds");
            }
            milliseconds
        });
        let place = setting.map(|setting| (setting.origin.clone(), setting.key.clone()));
        Timer { name, value: Duration::from_millis(milliseconds.unwrap_or(default)), place }
    }

    fn named(&self) -> (&'static str, Duration) {
        (self.name, self.value)
    }

    /// Reports a duration of a section that is not below this one, at whichever of the two was set.
    pub(super) fn must_be_above(&self, section: &Section<'_>, name: &str, value: Duration, reason: &str) {
        if value >= self.value {
            let message = format!("{}, {reason}", compared((name, value), "must be below", self.named()));
            let origin = match &self.place {
                Some((origin, _)) if !section.is_set(name) => origin,
                _ => section.origin_of(name),
            };
            section.reading.mistake(origin, section.key(name), message);
        }
    }
}

/// That two durations, each with its name, do not fit.
pub(super) fn compared(one: (&str, Duration), must: &str, other: (&str, Duration)) -> String {
    format!("{} ({}) {must} {} ({})", one.0, written(one.1), other.0, written(other.1))
}
