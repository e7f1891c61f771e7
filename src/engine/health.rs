//! What a target does: it flows, it holds because its API cannot be used just now, or it probes whether it can again.

use std::time::{Duration, Instant};

use super::Ticket;
use super::backoff::Backoff;
use crate::event::UserId;
use crate::verdict::Verdict;

/// Failures of this many different users with no success between them are taken for the API's failure, not the users'.
pub(super) const SEVERAL: usize = 3;
/// The longest pause that an API may ask for.
const MAX_ASKED: Duration = Duration::from_secs(300);
/// Refused credentials are tried again after this, doubling…
const UNAUTHORIZED_FIRST: Duration = Duration::from_secs(5);
/// …up to this.
const UNAUTHORIZED_MAX: Duration = Duration::from_secs(60);

/// Why a target holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It cannot be connected to, or fails for everyone.
    Unreachable,
    /// It refuses the credentials.
    Unauthorized,
    /// Something else than the API answers.
    Fault,
    /// It asked for a pause.
    Throttled,
}

impl Cause {
    /// The cause's name in metrics and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Unreachable => "unreachable",
            Cause::Unauthorized => "unauthorized",
            Cause::Fault => "fault",
            Cause::Throttled => "throttled",
        }
    }
}

/// The state of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls are made as they come.
    Flowing,
    /// No calls until the next probe.
    Holding {
        /// Why.
        cause: Cause,
        /// When one call will try again.
        probe_at: Instant,
    },
    /// One call is trying.
    Probing {
        /// Why the target held.
        cause: Cause,
        /// The call.
        probe: Ticket,
    },
}

/// The state of a target over time.
#[derive(Debug)]
pub struct Health {
    state: State,
    since: Instant,
    backoff: Backoff,
    /// Probes that failed since the target began to hold.
    failed_probes: u32,
    /// Different users that failed since the last success.
    failed_users: Vec<UserId>,
}

impl Health {
    /// Flowing from `now` on.
    pub fn new(backoff: Backoff, now: Instant) -> Self {
        Health { state: State::Flowing, since: now, backoff, failed_probes: 0, failed_users: Vec::new() }
    }

    /// Probes come at this pace from the next one on.
    pub fn pace(&mut self, backoff: Backoff) {
        self.backoff = backoff;
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when the target flows, or does not.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether calls may start freely.
    pub fn is_flowing(&self) -> bool {
        self.state == State::Flowing
    }

    /// A user's failure is the user's own only while nobody else fails: whether others failed since the last success.
    pub fn others_fail(&self, user: UserId) -> bool {
        !self.is_flowing() || self.failed_users.iter().any(|failed| *failed != user)
    }

    /// When the next probe is due, while the target holds.
    pub fn probe_at(&self) -> Option<Instant> {
        match self.state {
            State::Holding { probe_at, .. } => Some(probe_at),
            State::Flowing | State::Probing { .. } => None,
        }
    }

    /// Makes the next probe due at once: the credentials were changed.
    pub fn probe_now(&mut self, now: Instant) {
        if let State::Holding { cause: cause @ Cause::Unauthorized, .. } = self.state {
            self.state = State::Holding { cause, probe_at: now };
        }
    }

    /// A probe starts.
    pub fn probe(&mut self, probe: Ticket) {
        if let State::Holding { cause, .. } = self.state {
            self.state = State::Probing { cause, probe };
        }
    }

    /// The probe was given up without an answer (its partition went away): another one may start at once.
    pub fn probe_abandoned(&mut self, ticket: Ticket, now: Instant) {
        if let State::Probing { cause, probe } = self.state
            && probe == ticket
        {
            self.state = State::Holding { cause, probe_at: now };
        }
    }

    /// Takes note of a verdict; returns whether the target flows again because of it.
    pub fn judge(&mut self, ticket: Ticket, user: UserId, verdict: Verdict, now: Instant, rng: &mut fastrand::Rng) -> bool {
        let was_probe = matches!(self.state, State::Probing { probe, .. } if probe == ticket);
        let cause = match verdict {
            Verdict::Delivered | Verdict::Rejected { .. } => return self.answered(was_probe, now),
            Verdict::Retry { unreachable: true } => Some(Cause::Unreachable),
            Verdict::Retry { unreachable: false } => {
                if !self.failed_users.contains(&user) && self.failed_users.len() < SEVERAL {
                    self.failed_users.push(user);
                }
                (was_probe || self.failed_users.len() >= SEVERAL).then_some(Cause::Unreachable)
            }
            Verdict::Throttled { .. } => Some(Cause::Throttled),
            Verdict::Unauthorized => Some(Cause::Unauthorized),
            Verdict::Fault => Some(Cause::Fault),
        };
        if let Some(cause) = cause {
            let asked = match verdict {
                Verdict::Throttled { retry_after } => retry_after,
                _ => None,
            };
            self.hold(cause, asked, was_probe, now, rng);
        }
        false
    }

    fn answered(&mut self, was_probe: bool, now: Instant) -> bool {
        // While the target holds, only a probe's answer counts: a call from before says nothing of now.
        if self.is_flowing() || was_probe {
            self.failed_users.clear();
        }
        if was_probe {
            self.state = State::Flowing;
            self.since = now;
            self.failed_probes = 0;
        }
        was_probe
    }

    fn hold(&mut self, cause: Cause, asked: Option<Duration>, was_probe: bool, now: Instant, rng: &mut fastrand::Rng) {
        match self.state {
            State::Flowing => {
                self.since = now;
                self.failed_probes = 1;
            }
            State::Probing { .. } if was_probe => self.failed_probes = self.failed_probes.saturating_add(1),
            // Calls that were in flight when the target began to hold: only a longer pause asked for changes anything.
            State::Holding { cause, probe_at } => {
                if let Some(asked) = asked {
                    let probe_at = probe_at.max(now + asked.min(MAX_ASKED));
                    self.state = State::Holding { cause, probe_at };
                }
                return;
            }
            State::Probing { .. } => return,
        }
        let wait = if cause == Cause::Unauthorized {
            let pace = Backoff::new(UNAUTHORIZED_FIRST, UNAUTHORIZED_MAX);
            // Never before the pace: a login made too early only costs another round.
            pace.bound(self.failed_probes).mul_f64(1.0 + rng.f64() / 10.0)
        } else {
            self.backoff.half_jitter(self.failed_probes, rng)
        };
        // What the API asks for is jittered upwards, so that several instances do not come back in one moment.
        let asked = asked.map(|asked| asked.min(MAX_ASKED).mul_f64(1.0 + rng.f64() / 20.0).min(MAX_ASKED));
        let probe_at = now + asked.map_or(wait, |asked| asked.max(wait));
        self.state = State::Holding { cause, probe_at };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Verdict = Verdict::Retry { unreachable: false };
    const REFUSED: Verdict = Verdict::Retry { unreachable: true };

    struct Target {
        health: Health,
        now: Instant,
        rng: fastrand::Rng,
    }

    impl Target {
        fn new() -> Self {
            let now = Instant::now();
            let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
            Target { health: Health::new(backoff, now), now, rng: fastrand::Rng::with_seed(1) }
        }

        fn judge(&mut self, user: u64, verdict: Verdict) -> bool {
            let user = UserId::new(user).unwrap();
            self.health.judge(Ticket(user.get()), user, verdict, self.now, &mut self.rng)
        }

        /// Lets the next probe begin, and returns after how long it was due.
        fn probe(&mut self, user: u64) -> Duration {
            let due = self.health.probe_at().unwrap() - self.now;
            self.now += due;
            self.health.probe(Ticket(user));
            due
        }

        fn cause(&self) -> Option<Cause> {
            match self.health.state() {
                State::Flowing => None,
                State::Holding { cause, .. } | State::Probing { cause, .. } => Some(cause),
            }
        }
    }

    #[test]
    fn each_cause_makes_it_hold() {
        for (verdict, cause) in [
            (REFUSED, Cause::Unreachable),
            (Verdict::Unauthorized, Cause::Unauthorized),
            (Verdict::Fault, Cause::Fault),
            (Verdict::Throttled { retry_after: None }, Cause::Throttled),
        ] {
            let mut target = Target::new();
            assert!(!target.judge(1, verdict));
            assert_eq!(target.cause(), Some(cause));
        }
    }

    #[test]
    fn one_user_who_fails_is_no_outage_and_several_in_a_row_are() {
        let mut target = Target::new();
        for _ in 0..10 {
            target.judge(1, FAILED);
        }
        target.judge(2, FAILED);
        assert_eq!(target.cause(), None);
        assert!(target.health.others_fail(UserId::new(1).unwrap()));
        target.judge(9, Verdict::Delivered);
        target.judge(1, FAILED);
        target.judge(2, FAILED);
        assert_eq!(target.cause(), None, "a success between begins the row anew");
        target.judge(3, FAILED);
        assert_eq!(target.cause(), Some(Cause::Unreachable));
    }

    #[test]
    fn probes_come_ever_more_seldom_until_one_is_answered() {
        let mut target = Target::new();
        target.judge(1, REFUSED);
        for failed in 1..=10u32 {
            let bound = Duration::from_millis(200).saturating_mul(1 << (failed - 1)).min(Duration::from_secs(30));
            let due = target.probe(1);
            assert!(due >= bound / 2 && due <= bound, "{failed}: {due:?}");
            assert!(!target.judge(1, REFUSED));
        }
        target.probe(1);
        assert!(target.judge(1, Verdict::Rejected { user_not_found: false }), "a rejection is an answer of the API as well");
        assert_eq!(target.cause(), None);
    }

    #[test]
    fn an_answer_to_a_call_from_before_does_not_heal_it() {
        let mut target = Target::new();
        target.judge(1, REFUSED);
        assert!(!target.judge(2, Verdict::Delivered));
        assert_eq!(target.cause(), Some(Cause::Unreachable));
    }

    #[test]
    fn a_pause_is_kept_as_asked_and_at_most_five_minutes() {
        let mut target = Target::new();
        target.judge(1, Verdict::Throttled { retry_after: Some(Duration::from_secs(20)) });
        let due = target.health.probe_at().unwrap() - target.now;
        assert!(due >= Duration::from_secs(20) && due <= Duration::from_secs(21), "{due:?}");
        // A call that was under way is asked for more.
        target.judge(2, Verdict::Throttled { retry_after: Some(Duration::from_secs(86_400)) });
        assert_eq!(target.health.probe_at().unwrap() - target.now, Duration::from_secs(300));
    }

    #[test]
    fn refused_credentials_are_tried_again_after_5_seconds_doubling_to_60_and_at_once_when_they_change() {
        let mut target = Target::new();
        target.judge(1, Verdict::Unauthorized);
        for seconds in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
            let due = target.probe(1).as_secs_f64();
            assert!(due >= seconds && due <= seconds * 1.1, "{due}");
            target.judge(1, Verdict::Unauthorized);
        }
        target.health.probe_now(target.now);
        assert_eq!(target.health.probe_at(), Some(target.now));
    }

    #[test]
    fn a_probe_that_is_given_up_makes_room_for_another() {
        let mut target = Target::new();
        target.judge(1, REFUSED);
        target.probe(1);
        assert_eq!(target.health.probe_at(), None);
        target.health.probe_abandoned(Ticket(1), target.now);
        assert_eq!(target.health.probe_at(), Some(target.now));
    }
}
