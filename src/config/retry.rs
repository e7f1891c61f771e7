//! `[targets.NAME.retry]`: how often and how soon a failed call is made again.

use std::time::Duration;

use super::mistake::Reading;
use super::section::Section;

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

impl Default for Retry {
    fn default() -> Self {
        Retry { initial_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(30), max_attempts: 8 }
    }
}

impl Retry {
    pub(super) fn read(mut section: Section<'_>, reading: &mut Reading) -> Self {
        let default = Retry::default();
        let range = Duration::from_millis(1)..=Duration::from_secs(3600);
        let retry = Retry {
            initial_backoff: section.duration("initial_backoff", default.initial_backoff, range.clone(), reading),
            max_backoff: section.duration("max_backoff", default.max_backoff, range, reading),
            max_attempts: section.number("max_attempts", default.max_attempts, 1..=1_000_000, reading),
        };
        if retry.initial_backoff > retry.max_backoff {
            let at = if section.is_set("initial_backoff") { "initial_backoff" } else { "max_backoff" };
            let (initial, most) = (super::duration::written(retry.initial_backoff), super::duration::written(retry.max_backoff));
            section.wrong(at, format!("initial_backoff ({initial}) must not be above max_backoff ({most})"), reading);
        }
        section.finish(reading);
        retry
    }
}
