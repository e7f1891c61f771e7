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

/// The timers that other sections must fit, and where they were set if they were.
pub(super) struct Timing {
    pub(super) session_timeout: Duration,
    pub(super) session_origin: Option<Origin>,
    /// How often heartbeats are sent, where that was set.
    pub(super) heartbeat: Option<Heartbeat>,
    pub(super) max_poll_interval: Duration,
    pub(super) max_poll_origin: Option<Origin>,
}

/// A heartbeat interval that was set.
pub(super) struct Heartbeat {
    interval: Duration,
    /// What it leaves of the lease at the worst moment.
    lease: Duration,
    setting: Setting,
}

impl Heartbeat {
    /// Looks whether a call of this length can always begin.
    pub(super) fn check(&self, request_timeout: Duration, target: &str, reading: &mut Reading) {
        if self.lease < request_timeout / 2 {
            let [interval, lease, needed] = [self.interval, self.lease, request_timeout / 2].map(written);
            let message = format!(
                "{HEARTBEAT_INTERVAL} ({interval}) leaves too little of the lease on the partitions: {lease} before each heartbeat, and calls of \
                 {target} need {needed}, half of request_timeout. Set it lower, or leave it out"
            );
            reading.mistake(&self.setting.origin, &self.setting.key, message);
        }
    }
}

impl Timing {
    pub(super) fn read(consumer: &Settings, reading: &mut Reading) -> Self {
        let mut timer = |name: &str, default: u64| {
            let setting = consumer.get(name);
            (setting, setting.and_then(|setting| milliseconds(setting, reading)).unwrap_or(Duration::from_millis(default)))
        };
        let (session_setting, session_timeout) = timer(SESSION_TIMEOUT, 15_000);
        let (heartbeat_setting, heartbeat) = timer(HEARTBEAT_INTERVAL, 0);
        let (max_poll_setting, max_poll_interval) = timer(MAX_POLL_INTERVAL, 300_000);
        let mut kept = None;
        if let Some(setting) = heartbeat_setting {
            let limit = session_timeout.min(LONGEST_HEARTBEAT);
            if heartbeat >= limit {
                let what = if limit == session_timeout { SESSION_TIMEOUT } else { "what tells in time that Kafka is gone" };
                let message = format!("{HEARTBEAT_INTERVAL} ({}) must be below {what} ({})", written(heartbeat), written(limit));
                reading.mistake(&setting.origin, &setting.key, message);
            } else {
                let lease = shortest_lease(session_timeout, heartbeat);
                kept = Some(Heartbeat { interval: heartbeat, lease, setting: setting.clone() });
            }
        }
        if let (Some(at), true) = (max_poll_setting.or(session_setting), max_poll_interval < session_timeout) {
            let (max_poll, session) = (written(max_poll_interval), written(session_timeout));
            let message = format!("{MAX_POLL_INTERVAL} ({max_poll}) must not be below {SESSION_TIMEOUT} ({session})");
            reading.mistake(&at.origin, &at.key, message);
        }
        Timing {
            session_timeout,
            session_origin: session_setting.map(|setting| setting.origin.clone()),
            heartbeat: kept,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unless_it_is_set_the_heartbeat_leaves_a_lease_for_any_call_that_is_allowed() {
        for milliseconds in [200, 1000, 2500, 6000, 15_000, 45_000, 300_000] {
            let session = Duration::from_millis(milliseconds);
            assert!(shortest_lease(session, heartbeat_interval(session)) >= session / 2, "{session:?}");
        }
    }
}
