//! The lease: until when our partitions are certainly ours.
//!
//! The group gives our partitions away when it has not heard from us for the session timeout. The client does not say when it was last
//! heard, but its statistics count the coordinator's answers: one that came since the last look was asked for after the last look at which
//! nothing was outstanding, and the coordinator has heard us then.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// Shared by the polling thread, which renews it, and those who start calls.
#[derive(Debug)]
pub struct Lease {
    session: Duration,
    until: Mutex<Option<Instant>>,
}

impl Lease {
    /// No lease yet.
    pub fn new(session: Duration) -> Self {
        Lease { session, until: Mutex::new(None) }
    }

    /// The coordinator has certainly heard from us at `heard` or later.
    pub fn renew(&self, heard: Instant) {
        if let Ok(mut until) = self.until.lock() {
            *until = (*until).max(Some(heard + self.session));
        }
    }

    /// Until when the partitions are certainly ours.
    pub fn until(&self) -> Option<Instant> {
        self.until.lock().ok().and_then(|until| *until)
    }
}

/// What the statistics say of the group's coordinator.
#[derive(Debug, Deserialize)]
pub(super) struct Coordinator {
    /// Answers received.
    rx: u64,
    /// Requests not yet answered.
    waitresp_cnt: i64,
    /// Requests not yet sent.
    outbuf_cnt: i64,
    /// The coordinator has a connection of its own, so unlike the other brokers' this has no fetches in it, which wait for records to come.
    #[serde(default)]
    rtt: RoundTrips,
}

/// What the statistics say of the requests answered since the last look.
#[derive(Debug, Default, Deserialize)]
struct RoundTrips {
    cnt: u64,
    /// Microseconds.
    avg: u64,
}

impl Coordinator {
    /// How long it took to answer lately, on average, if it did.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        (self.rtt.cnt > 0).then(|| Duration::from_micros(self.rtt.avg))
    }
}

/// Watches the coordinator's answers from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    received: u64,
    /// The last look at which every request had been answered.
    quiet: Option<Instant>,
}

impl Pulse {
    /// Takes note of a look made at `at`. Returns since when we have certainly been heard, if this look shows anything new.
    pub(super) fn look(&mut self, at: Instant, coordinator: &Coordinator) -> Option<Instant> {
        let answered = coordinator.rx > self.received;
        // A reconnected coordinator may count anew.
        self.received = coordinator.rx;
        let heard = self.quiet.filter(|_| answered);
        if coordinator.waitresp_cnt == 0 && coordinator.outbuf_cnt == 0 {
            self.quiet = Some(at);
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(rx: u64, waitresp_cnt: i64) -> Coordinator {
        Coordinator { rx, waitresp_cnt, outbuf_cnt: 0, rtt: RoundTrips::default() }
    }

    #[test]
    fn an_answer_proves_only_what_was_asked_after_the_last_quiet_look() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::default();
        assert_eq!(pulse.look(at(0), &look(5, 0)), None);
        assert_eq!(pulse.look(at(1), &look(6, 0)), Some(at(0)));
        // No answer: nothing new is known.
        assert_eq!(pulse.look(at(2), &look(6, 1)), None);
        // The answer may be to what was asked right after the look at 1.
        assert_eq!(pulse.look(at(9), &look(7, 1)), Some(at(1)));
        assert_eq!(pulse.look(at(10), &look(8, 0)), Some(at(1)));
        assert_eq!(pulse.look(at(11), &look(9, 0)), Some(at(10)));
    }

    #[test]
    fn a_lease_never_shrinks() {
        let lease = Lease::new(Duration::from_secs(15));
        let now = Instant::now();
        assert_eq!(lease.until(), None);
        lease.renew(now);
        lease.renew(now - Duration::from_secs(1));
        assert_eq!(lease.until(), Some(now + Duration::from_secs(15)));
    }
}
