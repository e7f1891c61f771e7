//! The lease: until when our partitions are certainly ours.
//!
//! The group gives our partitions away when it has not heard from us for the session timeout. The
//! client does not say when it was last heard. Its statistics count the heartbeats that were sent
//! to the coordinator and the requests that it has not answered yet, and tell whether the group
//! still has us as a member: from one look to the next that tells which heartbeats were accepted.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// The machine slept if it was away from its clock for longer than this. What is shorter is the
/// time between two questions.
const SLEPT: Duration = Duration::from_millis(500);

/// Shared by the polling thread, which renews it, and those who start calls.
#[derive(Debug)]
pub struct Lease {
    session: Duration,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    until: Option<Instant>,
    /// How long the machine had slept since it booted, when it was last looked at.
    slept: Duration,
    /// The last time that it was found to have slept: what was heard before proves nothing.
    woke: Option<Instant>,
}

impl Lease {
    /// No lease yet.
    pub fn new(session: Duration) -> Self {
        Lease {
            session,
            held: Mutex::new(Held {
                slept: slept(),
                ..Held::default()
            }),
        }
    }

    /// The coordinator has certainly heard from us at `heard` or later.
    pub fn renew(&self, heard: Instant) {
        if let Ok(mut held) = self.held.lock() {
            held.look(slept());
            held.renew(heard, self.session);
        }
    }

    /// Until when the partitions are certainly ours.
    pub fn until(&self) -> Option<Instant> {
        let mut held = self.held.lock().ok()?;
        held.look(slept());
        held.until
    }
}

impl Held {
    fn renew(&mut self, heard: Instant, session: Duration) {
        if self.woke.is_none_or(|woke| heard >= woke) {
            self.until = self.until.max(Some(heard + session));
        }
    }

    /// `Instant` does not advance while the machine is suspended, but the group's clock does: the
    /// lease ends with the sleep.
    fn look(&mut self, slept: Duration) {
        if slept > self.slept + SLEPT {
            self.until = None;
            self.woke = Some(Instant::now());
        }
        self.slept = slept;
    }
}

/// How long the machine has been suspended since it booted, if the system tells.
#[cfg(target_os = "linux")]
fn slept() -> Duration {
    use rustix::time::{ClockId, Timespec, clock_gettime};
    let read = |clock| {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
        Duration::new(
            u64::try_from(tv_sec).unwrap_or(0),
            u32::try_from(tv_nsec).unwrap_or(0),
        )
    };
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

#[cfg(not(target_os = "linux"))]
fn slept() -> Duration {
    Duration::ZERO
}

/// A broker's statistics, and those of the group's coordinator.
#[derive(Debug, Deserialize)]
pub(super) struct BrokerStatistics {
    pub(super) state: String,
    /// Connections made so far, failed ones included.
    pub(super) connects: i64,
    /// Requests that were given up without an answer.
    req_timeouts: u64,
    /// Requests not yet answered.
    waitresp_cnt: u64,
    #[serde(default, rename = "req")]
    sent: SentRequests,
    /// The coordinator has a connection of its own, so unlike the other brokers' this has no
    /// fetches in it, which wait for records to come.
    #[serde(default)]
    rtt: RoundTrips,
}

/// Requests sent in full so far, by kind.
#[derive(Debug, Default, Deserialize)]
struct SentRequests {
    #[serde(default, rename = "Heartbeat")]
    heartbeats: u64,
}

/// Statistics of the requests answered since the previous report.
#[derive(Debug, Default, Deserialize)]
struct RoundTrips {
    cnt: u64,
    /// Microseconds.
    avg: u64,
}

impl BrokerStatistics {
    /// How long it took to answer lately, on average, if it did.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        (self.rtt.cnt > 0).then(|| Duration::from_micros(self.rtt.avg))
    }
}

/// Watches the heartbeats from one look to the next.
#[derive(Debug)]
pub(super) struct Pulse {
    /// Looks that are older prove nothing that is of use.
    session: Duration,
    /// The connection by its number, and how many requests had been given up on it: either changes
    /// when an answer is lost.
    connection: (i64, u64),
    /// Earlier observations of this connection, with the heartbeats sent by then; the group had us
    /// as a member at each.
    looks: VecDeque<(Instant, u64)>,
}

impl Pulse {
    pub(super) fn new(session: Duration) -> Self {
        Pulse {
            session,
            connection: (0, 0),
            looks: VecDeque::new(),
        }
    }

    /// Takes note of a look made at `at`. `member`: the client takes itself for a member of the
    /// group. Returns since when we have certainly been heard, if this look shows anything new.
    ///
    /// Only heartbeats count that had been sent by the look before this one. By now the client has
    /// acted upon their answers: it would not take itself for a member if one had been refused. And
    /// the numbers of one look are read one after the other, so a heartbeat that is sent meanwhile
    /// may be counted as sent and not as unanswered.
    pub(super) fn look(
        &mut self,
        at: Instant,
        coordinator: &BrokerStatistics,
        member: bool,
    ) -> Option<Instant> {
        let connection = (coordinator.connects, coordinator.req_timeouts);
        let usable = member && coordinator.state == "UP";
        if !usable || self.connection != connection {
            self.looks.clear();
        }
        self.connection = connection;
        if !usable {
            return None;
        }
        let heard = self.looks.back().and_then(|(_, sent)| {
            let answered_one = |(_, before): &&(Instant, u64)| {
                sent.saturating_sub(*before) > coordinator.waitresp_cnt
            };
            self.looks
                .iter()
                .rev()
                .find(answered_one)
                .map(|(at, _)| *at)
        });
        self.looks.retain(|(look, _)| {
            Some(*look) >= heard && at.saturating_duration_since(*look) < self.session
        });
        self.looks.push_back((at, coordinator.sent.heartbeats));
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Duration = Duration::from_secs(15);

    fn coordinator(heartbeats: u64, waitresp_cnt: u64) -> BrokerStatistics {
        BrokerStatistics {
            state: "UP".to_owned(),
            connects: 1,
            req_timeouts: 0,
            waitresp_cnt,
            sent: SentRequests { heartbeats },
            rtt: RoundTrips::default(),
        }
    }

    /// Looks a second apart: heartbeats sent so far and requests not answered yet. Returns since
    /// which look each of them shows us heard.
    fn looks(looks: &[(u64, u64)]) -> Vec<Option<u64>> {
        let (start, mut pulse) = (Instant::now(), Pulse::new(SESSION));
        let mut look = |(second, (heartbeats, unanswered)): (usize, &(u64, u64))| {
            let at = start + Duration::from_secs(second as u64);
            pulse
                .look(at, &coordinator(*heartbeats, *unanswered), true)
                .map(|heard| (heard - start).as_secs())
        };
        looks.iter().enumerate().map(&mut look).collect()
    }

    #[test]
    fn a_heartbeat_proves_that_we_were_heard_once_its_answer_was_taken_in() {
        assert_eq!(
            looks(&[(5, 0), (6, 0), (7, 0), (8, 0)]),
            [None, None, Some(0), Some(1)]
        );
        assert_eq!(
            looks(&[(5, 0), (6, 1), (6, 1), (6, 1)]),
            [None; 4],
            "no answer: nothing is known"
        );
        assert_eq!(
            looks(&[(5, 0), (6, 1), (6, 0), (6, 0)]),
            [None, None, Some(0), Some(0)]
        );
        assert_eq!(
            looks(&[(5, 1), (6, 1), (7, 1), (8, 1), (9, 1)]),
            [None, None, None, Some(0), Some(1)],
            "one is always under way: the one before it was answered"
        );
    }

    #[test]
    fn answers_to_anything_else_prove_nothing() {
        // The requests of a new connection are answered, and no heartbeat is sent.
        assert_eq!(looks(&[(5, 3), (5, 0), (5, 2), (5, 0), (5, 0)]), [None; 5]);
    }

    #[test]
    fn a_lost_connection_a_timeout_and_a_lost_membership_begin_anew() {
        let mut later = coordinator(9, 0);
        for spoil in [
            (|one: &mut BrokerStatistics| one.connects = 2) as fn(&mut BrokerStatistics),
            |one| one.req_timeouts = 1,
            |one| "DOWN".clone_into(&mut one.state),
        ] {
            let (start, mut pulse) = (Instant::now(), Pulse::new(SESSION));
            let mut look = |second, coordinator: &BrokerStatistics, member| {
                let heard = pulse.look(start + Duration::from_secs(second), coordinator, member);
                heard.map(|heard| (heard - start).as_secs())
            };
            look(0, &coordinator(5, 0), true);
            look(1, &coordinator(6, 0), true);
            spoil(&mut later);
            assert_eq!([look(2, &later, true), look(3, &later, true)], [None; 2]);
            later = coordinator(10, 0);
            assert_eq!(
                [
                    look(4, &later, true),
                    look(5, &later, false),
                    look(6, &later, true),
                    look(7, &later, true)
                ],
                [None; 4]
            );
            assert_eq!(look(8, &coordinator(11, 0), true), None);
            assert_eq!(look(9, &coordinator(12, 0), true), Some(7));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (start, mut pulse) = (Instant::now(), Pulse::new(SESSION));
        for second in 0..1000 {
            assert_eq!(
                pulse.look(
                    start + Duration::from_secs(second),
                    &coordinator(5, 0),
                    true
                ),
                None
            );
        }
        assert!(pulse.looks.len() <= 16, "{}", pulse.looks.len());
    }

    #[test]
    fn a_lease_never_shrinks_while_the_machine_is_awake() {
        let lease = Lease::new(SESSION);
        let now = Instant::now();
        assert_eq!(lease.until(), None);
        lease.renew(now);
        lease.renew(now - Duration::from_secs(1));
        assert_eq!(lease.until(), Some(now + SESSION));
    }

    #[test]
    fn a_lease_ends_while_the_machine_sleeps_and_only_what_is_heard_afterwards_renews_it() {
        let mut held = Held::default();
        let before = Instant::now();
        held.renew(before, SESSION);
        held.look(Duration::from_millis(1));
        assert_eq!(
            held.until,
            Some(before + SESSION),
            "the clocks are read one after the other"
        );
        held.look(Duration::from_secs(3));
        assert_eq!(held.until, None);
        held.renew(before, SESSION);
        assert_eq!(held.until, None, "heard before it slept");
        let after = Instant::now();
        held.renew(after, SESSION);
        held.look(Duration::from_secs(3));
        assert_eq!(held.until, Some(after + SESSION));
    }
}
