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
