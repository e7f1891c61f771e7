//! `[shutdown]`: how the service ends.

use std::time::Duration;

use super::duration::written;
use super::mistake::Reading;
use super::section::Section;
use super::timing::Timing;

/// The end of the service, and of its work on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long calls in flight may take to finish before they are given up; zero gives them up at once.
    pub drain_timeout: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown { drain_timeout: Duration::from_secs(20) }
    }
}

impl Shutdown {
    pub(super) fn read(mut section: Section<'_>, timing: &Timing, reading: &mut Reading) -> Self {
        let default = Shutdown::default();
        let range = Duration::ZERO..=Duration::from_secs(3600);
        let shutdown = Shutdown { drain_timeout: section.duration("drain_timeout", default.drain_timeout, range, reading) };
        if shutdown.drain_timeout >= timing.max_poll_interval {
            let message = format!(
                "drain_timeout ({}) must be below max.poll.interval.ms ({}), or the group moves on before a partition is handed over",
                written(shutdown.drain_timeout),
                written(timing.max_poll_interval),
            );
            match &timing.max_poll_origin {
                Some(origin) if !section.is_set("drain_timeout") => {
                    reading.mistake(origin, section.key("drain_timeout"), message);
                }
                _ => section.wrong("drain_timeout", message, reading),
            }
        }
        section.finish(reading);
        shutdown
    }
}
