//! `[targets.NAME.delivery]`: how calls are made and how many at once.

use std::num::NonZeroU32;
use std::time::Duration;

use super::duration::written;
use super::mistake::Reading;
use super::section::Section;
use super::timing::Timing;

/// The limits of delivery to one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The longest that one call may take, connecting included. Below the group's session timeout.
    pub request_timeout: Duration,
    /// How many calls are in flight at most; the limit adapts below it.
    pub max_concurrency: usize,
    /// Calls per second; `None` is no limit.
    pub rate_limit: Option<NonZeroU32>,
    /// How many records are held in memory; past it the partitions are paused.
    pub max_waiting: usize,
    /// Whether updates of one user that wait in line are sent as one.
    pub merge: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        Delivery { request_timeout: Duration::from_secs(10), max_concurrency: 256, rate_limit: None, max_waiting: 10_000, merge: true }
    }
}

impl Delivery {
    pub(super) fn read(mut section: Section<'_>, timing: &Timing, reading: &mut Reading) -> Self {
        let default = Delivery::default();
        let range = Duration::from_millis(1)..=Duration::from_secs(3600);
        let delivery = Delivery {
            request_timeout: section.duration("request_timeout", default.request_timeout, range, reading),
            max_concurrency: section.number("max_concurrency", default.max_concurrency, 1..=100_000, reading),
            rate_limit: NonZeroU32::new(section.number("rate_limit", 0, 0..=1_000_000, reading)),
            max_waiting: section.number("max_waiting", default.max_waiting, 1..=10_000_000, reading),
            merge: section.boolean("merge", default.merge, reading),
        };
        if delivery.request_timeout >= timing.session_timeout {
            let message = format!(
                "request_timeout ({}) must be below session.timeout.ms ({}), or a call of a lost instance could land after its successor's",
                written(delivery.request_timeout),
                written(timing.session_timeout),
            );
            // Whichever of the two was set is the one to look at.
            match &timing.session_origin {
                Some(origin) if !section.is_set("request_timeout") => {
                    reading.mistake(origin, section.key("request_timeout"), message);
                }
                _ => section.wrong("request_timeout", message, reading),
            }
        } else if let Some(heartbeat) = &timing.heartbeat {
            heartbeat.check(delivery.request_timeout, section.path.trim_end_matches(".delivery"), reading);
        }
        section.finish(reading);
        delivery
    }
}
