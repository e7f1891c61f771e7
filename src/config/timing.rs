//! The consumer group's timers: librdkafka properties that other settings must fit.

use std::time::Duration;

use super::duration::written;
use super::mistake::Origin;
use super::properties::{Properties, PropertyValue, place_of};
use super::section::Section;

/// The timers, which mean nothing to a producer, and what they are unless set.
pub(super) const CONSUMER_TIMERS: [(&str, u64); 3] =
    [("session.timeout.ms", 15_000), ("heartbeat.interval.ms", 3_000), ("max.poll.interval.ms", 300_000)];

/// The timers that other sections must fit.
pub(super) struct Timing {
    pub(super) session_timeout: Timer,
    pub(super) max_poll_interval: Timer,
}

/// A timer, and the place and the key at which it was set if it was.
pub(super) struct Timer {
    name: &'static str,
    pub(super) value: Duration,
    place: Option<(Origin, String)>,
}

impl Timing {
    /// Reads the consumers' timers, which were set in either of these sections, the former first.
    pub(super) fn read(consumer: &Properties, sections: [&Section<'_>; 2]) -> Self {
        let [session_timeout, heartbeat, max_poll_interval] = CONSUMER_TIMERS.map(|timer| Timer::read(timer, consumer, sections));
        // If it was not set, the client's is made to fit.
        let heartbeat_fits = heartbeat.place.is_none() || heartbeat.value < session_timeout.value;
        let max_poll_fits = max_poll_interval.value >= session_timeout.value;
        for (timer, fits, rule) in [(&heartbeat, heartbeat_fits, "must be below"), (&max_poll_interval, max_poll_fits, "must not be below")]
        {
            if let (false, Some((origin, key))) = (fits, timer.place.as_ref().or(session_timeout.place.as_ref())) {
                let message = compared(timer.name, timer.value, rule, session_timeout.name, session_timeout.value);
                sections[0].reading.mistake(origin, key, message);
            }
        }
        Timing { session_timeout, max_poll_interval }
    }
}

impl Timer {
    fn read((name, default): (&'static str, u64), properties: &Properties, sections: [&Section<'_>; 2]) -> Self {
        let value = properties.0.get(name);
        let place = value.and_then(|_| sections.into_iter().find_map(|section| place_of(name, section)));
        let place = place.map(|(origin, key)| (origin.clone(), key));
        let milliseconds = match value {
            Some(PropertyValue::Plain(text)) => text.trim().parse().ok(),
            Some(PropertyValue::Secret(_)) => None,
            None => Some(default),
        };
        if let (None, Some((origin, key))) = (milliseconds, &place) {
            sections[0].reading.mistake(origin, key, "should be a whole number of milliseconds");
        }
        Timer { name, value: Duration::from_millis(milliseconds.unwrap_or(default)), place }
    }

    /// Reports a duration of a section that is not below this one, at the one of the two that was
    /// set.
    pub(super) fn must_be_above(&self, section: &Section<'_>, name: &str, value: Duration, reason: &str) {
        if value >= self.value {
            let set = self.place.as_ref().filter(|_| !section.is_set(name));
            let origin = set.map_or(section.origin_of(name), |(origin, _)| origin);
            let rule = compared(name, value, "must be below", self.name, self.value);
            section.reading.mistake(origin, section.key(name), format!("{rule}, {reason}"));
        }
    }
}

/// That two durations do not fit.
pub(super) fn compared(name: &str, value: Duration, rule: &str, other: &str, its: Duration) -> String {
    format!("{name} ({}) {rule} {other} ({})", written(value), written(its))
}
