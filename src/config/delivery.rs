//! `[targets.NAME.delivery]` and `[targets.NAME.retry]`: how calls are made, how many at once, and
//! how soon again.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::section::{Section, default_of};
use crate::config::timing::compared;

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

/// The pace of further attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The wait before the second attempt.
    pub initial_backoff: Duration,
    /// The longest wait between two attempts; never below `initial_backoff`.
    pub max_backoff: Duration,
    /// How many calls an update gets in all while its target delivers others; at least 1.
    pub max_attempts: u32,
}

impl Default for Delivery {
    fn default() -> Self {
        default_of("targets.NAME.delivery", Delivery::read)
    }
}

impl Default for Retry {
    fn default() -> Self {
        default_of("targets.NAME.retry", Retry::read)
    }
}

impl Delivery {
    pub(super) fn read(section: &Section<'_>) -> Self {
        Delivery {
            request_timeout: section.duration("request_timeout"),
            max_concurrency: section.number("max_concurrency"),
            rate_limit: NonZeroU32::new(section.number("rate_limit")),
            max_waiting: section.number("max_waiting"),
            merge: section.boolean("merge"),
        }
    }
}

impl Retry {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let retry = Retry {
            initial_backoff: section.duration("initial_backoff"),
            max_backoff: section.duration("max_backoff"),
            max_attempts: section.number("max_attempts"),
        };
        if retry.initial_backoff > retry.max_backoff {
            let at = if section.is_set("initial_backoff") {
                "initial_backoff"
            } else {
                "max_backoff"
            };
            let rule = "must not be above";
            section.wrong(
                at,
                compared(
                    "initial_backoff",
                    retry.initial_backoff,
                    rule,
                    "max_backoff",
                    retry.max_backoff,
                ),
            );
        }
        retry
    }
}
