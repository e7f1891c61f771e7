//! The rate of one target: how many calls a second may start, as configured, and as an API that
//! throttles has taught.

mod learned;

use std::time::{Duration, Instant};

use learned::{Learned, MIN_LEARNED};

/// How far a late start may catch up, so that timers that fire a little late do not lower the rate.
const CATCH_UP: Duration = Duration::from_millis(10);
/// Calls are counted over the last one to two of these.
const WINDOW: Duration = Duration::from_secs(5);
/// An instance that does not know its share of the partitions makes no more calls a second of those
/// that are configured for the group.
const UNKNOWN_SHARE: f64 = 1.0;

/// Calls per second, evenly spaced.
#[derive(Debug)]
pub struct Rate {
    /// For the whole group.
    configured: Option<f64>,
    /// What share of the topic's partitions this instance owns, if that is known.
    share: Option<f64>,
    learned: Option<Learned>,
    next: Option<Instant>,
    /// Calls started, in the last window and in this one.
    counted: [Counted; 2],
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    since: Instant,
    calls: u32,
}

impl Rate {
    /// At most `per_second` calls a second; 0 is no limit.
    pub fn new(per_second: u32, now: Instant) -> Self {
        let configured = (per_second > 0).then(|| f64::from(per_second));
        Rate {
            configured,
            share: None,
            learned: None,
            next: None,
            counted: [Counted {
                since: now,
                calls: 0,
            }; 2],
        }
    }

    /// At most `per_second` calls a second from now on; 0 is no limit. What an API has taught
    /// stays.
    pub fn configure(&mut self, per_second: u32, now: Instant) {
        self.configured = (per_second > 0).then(|| f64::from(per_second));
        self.cut_wait(now);
    }

    /// This instance owns that share of the topic's partitions from now on. What an API has taught
    /// goes with them: whoever takes them over takes over their calls.
    pub fn owns(&mut self, share: f64, now: Instant) {
        if let (Some(learned), Some(before)) = (&mut self.learned, self.share) {
            let per_second = learned.per_second * share / before;
            learned.per_second = per_second.max(MIN_LEARNED * share);
            learned.peaks = learned.peaks.map(|peaks| peaks * share / before);
        }
        let before = self.share.replace(share);
        if before.is_none_or(|before| before < share) {
            self.cut_wait(now);
        }
    }

    /// A wait begun at a slower rate is cut to one step of the new one.
    fn cut_wait(&mut self, now: Instant) {
        self.next = self.per_second().and_then(|per_second| {
            Some(
                self.next?
                    .min(now + Duration::from_secs_f64(1.0 / per_second)),
            )
        });
    }

    /// The lower of what is configured and what was learned.
    fn per_second(&self) -> Option<f64> {
        let learned = self.learned.map(|learned| learned.per_second);
        // An instance that does not know its share cannot know what the others take: too few calls
        // for a moment do less harm than too many.
        let configured = self.configured.map(|all| {
            self.share
                .map_or(all.min(UNKNOWN_SHARE), |share| all * share)
        });
        configured.map_or(learned, |configured| {
            Some(configured.min(learned.unwrap_or(configured)))
        })
    }

    /// When the next call may start, if not now.
    pub fn wait_until(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|next| *next > now)
    }

    /// A call starts.
    pub fn started(&mut self, now: Instant) {
        if now.saturating_duration_since(self.counted[1].since) >= WINDOW {
            self.counted = [
                self.counted[1],
                Counted {
                    since: now,
                    calls: 0,
                },
            ];
        }
        self.counted[1].calls += 1;
        self.grow(now);
        self.next = self.per_second().map(|per_second| {
            let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
            self.next.map_or(now, |next| next.max(earliest))
                + Duration::from_secs_f64(1.0 / per_second)
        });
    }
}

#[cfg(test)]
mod tests;
