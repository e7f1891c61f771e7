//! The consumer group's timers: librdkafka properties that other settings must fit.

use std::time::Duration;

use crate::config::duration::written;
use crate::config::mistake::Origin;
use crate::config::properties::{Properties, PropertyValue, place_of};
use crate::config::section::Section;

/// The timers, which mean nothing to a producer, and what they are unless set.
pub(super) const CONSUMER_TIMERS: [(&str, u64); 3] = [
    ("session.timeout.ms", 15_000),
    ("heartbeat.interval.ms", 3_000),
    ("max.poll.interval.ms", 300_000),
];

/// How often the client tells of its heartbeats. The lease rests on what it tells.
pub(crate) fn statistics_interval(session: Duration) -> Duration {
    (session / 15).clamp(Duration::from_millis(10), Duration::from_secs(1))
}

/// How often the client sends a heartbeat, unless it is set.
pub(crate) fn heartbeat_interval(session: Duration) -> Duration {
    (session / 10).clamp(Duration::from_millis(10), Duration::from_secs(1))
}

/// Heartbeats further apart than this would not tell in time that Kafka is gone.
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(15);

/// What is left of the lease right before a heartbeat renews it: the one before it was sent an
/// interval earlier, may have been sent right after a look at the statistics, and was proven to be
/// accepted two looks later. The client's own timers are late by a look at most.
fn shortest_lease(session: Duration, heartbeat: Duration) -> Duration {
    session.saturating_sub(heartbeat + 4 * statistics_interval(session))
}

/// The timers that other sections must fit.
pub(super) struct Timing {
    pub(super) session_timeout: Timer,
    heartbeat: Timer,
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
        let [session_timeout, heartbeat, max_poll_interval] =
            CONSUMER_TIMERS.map(|timer| Timer::read(timer, consumer, sections));
        let limit = session_timeout.value.min(LONGEST_HEARTBEAT);
        // If it was not set, the client's is made to fit.
        if let Some((origin, key)) = heartbeat
            .place
            .as_ref()
            .filter(|_| heartbeat.value >= limit)
        {
            let what = if limit == session_timeout.value {
                session_timeout.name
            } else {
                "what tells in time that Kafka is gone"
            };
            sections[0].reading.mistake(
                origin,
                key,
                compared(
                    heartbeat.name,
                    heartbeat.value,
                    "must be below",
                    what,
                    limit,
                ),
            );
        }
        if max_poll_interval.value < session_timeout.value
            && let Some((origin, key)) = max_poll_interval
                .place
                .as_ref()
                .or(session_timeout.place.as_ref())
        {
            let Timer { name, value, .. } = session_timeout;
            let message = compared(
                max_poll_interval.name,
                max_poll_interval.value,
                "must not be below",
                name,
                value,
            );
            sections[0].reading.mistake(origin, key, message);
        }
        Timing {
            session_timeout,
            heartbeat,
            max_poll_interval,
        }
    }

    /// Checks whether a call of `target` can always begin: the heartbeats must leave half of its
    /// `request_timeout` of the lease.
    pub(super) fn must_leave_a_lease(
        &self,
        section: &Section<'_>,
        request_timeout: Duration,
        target: &str,
    ) {
        let (session, heartbeat) = (self.session_timeout.value, &self.heartbeat);
        let lease = shortest_lease(session, heartbeat.value);
        let is_allowed =
            heartbeat.value < session.min(LONGEST_HEARTBEAT) && request_timeout < session;
        if let Some((origin, key)) = heartbeat
            .place
            .as_ref()
            .filter(|_| is_allowed && lease < request_timeout / 2)
        {
            let [interval, lease, needed] =
                [heartbeat.value, lease, request_timeout / 2].map(written);
            let message = format!(
                "{} ({interval}) leaves too little of the lease on the partitions: {lease} before each heartbeat, and calls of {target} need \
                 {needed}, half of request_timeout. Set it lower, or leave it out",
                heartbeat.name
            );
            section.reading.mistake(origin, key, message);
        }
    }
}

impl Timer {
    fn read(
        (name, default): (&'static str, u64),
        properties: &Properties,
        sections: [&Section<'_>; 2],
    ) -> Self {
        let value = properties.0.get(name);
        let place = value.and_then(|_| {
            sections
                .into_iter()
                .find_map(|section| place_of(name, section))
        });
        let place = place.map(|(origin, key)| (origin.clone(), key));
        let milliseconds = match value {
            Some(PropertyValue::Plain(text)) => text.trim().parse().ok(),
            Some(PropertyValue::Secret(_)) => None,
            None => Some(default),
        };
        if let (None, Some((origin, key))) = (milliseconds, &place) {
            sections[0]
                .reading
                .mistake(origin, key, "should be a whole number of milliseconds");
        }
        Timer {
            name,
            value: Duration::from_millis(milliseconds.unwrap_or(default)),
            place,
        }
    }

    /// Reports a duration of a section that is not below this one, at the one of the two that was
    /// set.
    pub(super) fn must_be_above(
        &self,
        section: &Section<'_>,
        name: &str,
        value: Duration,
        reason: &str,
    ) {
        if value >= self.value {
            let set = self.place.as_ref().filter(|_| !section.is_set(name));
            let origin = set.map_or(section.origin_of(name), |(origin, _)| origin);
            let rule = compared(name, value, "must be below", self.name, self.value);
            section
                .reading
                .mistake(origin, section.key(name), format!("{rule}, {reason}"));
        }
    }
}

/// That two durations do not fit.
pub(super) fn compared(
    name: &str,
    value: Duration,
    rule: &str,
    other: &str,
    its: Duration,
) -> String {
    format!(
        "{name} ({}) {rule} {other} ({})",
        written(value),
        written(its)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unless_it_is_set_the_heartbeat_leaves_a_lease_for_any_call_that_is_allowed() {
        for milliseconds in [200, 1000, 2500, 6000, 15_000, 45_000, 300_000] {
            let session = Duration::from_millis(milliseconds);
            assert!(
                shortest_lease(session, heartbeat_interval(session)) >= session / 2,
                "{session:?}"
            );
        }
    }
}
