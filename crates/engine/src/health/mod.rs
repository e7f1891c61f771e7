//! What a target does: it flows, it holds because its API cannot be used just now, or it probes
//! whether it can again.

use std::time::{Duration, Instant};

use crate::Ticket;
use crate::UserKey;
use crate::backoff::Backoff;
use crate::verdict::{Finding, Verdict};

/// Failures of this many different users with no success between them are taken for the API's
/// failure, not the users'.
const SEVERAL: usize = 3;
/// So are odd answers to this many: an API that is well gives them to nobody.
const SEVERAL_ODD: usize = 2;
/// The longest pause that an API may ask for.
pub(super) const MAX_ASKED: Duration = Duration::from_secs(300);
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

/// What is known of the user whose call is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub user: UserKey,
    /// None of the user's calls has failed since the last one that was answered well.
    pub clean: bool,
    /// The user's calls are known to fail like this while the target delivers others.
    pub odd: bool,
}

/// What a verdict changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing, or the target holds now.
    None,
    /// The target flows again: its failures were those of some users.
    Refuted,
    /// The target flows again after an outage.
    Over,
}

/// A user who failed since the last success.
#[derive(Debug)]
struct Failing {
    user: UserKey,
    odd: bool,
}

/// The state of a target over time.
#[derive(Debug)]
pub struct Health {
    state: State,
    since: Instant,
    backoff: Backoff,
    /// Probes that failed since the target began to hold.
    failed_probes: u32,
    /// Different users that failed since the last success, without those who are known to be odd.
    failing: Vec<Failing>,
    /// The API has answered as itself, be it once.
    answered: bool,
    /// The target holds over failures that may be those of some users: nobody who had not failed
    /// was asked since.
    doubted: bool,
    /// When a user who has not failed may be asked, before the next probe is due for everybody.
    /// Such a user's answer tells most.
    clean_at: Option<Instant>,
    /// Probes of such users that failed.
    failed_clean: u32,
    /// Refusals of the account in a row.
    refusals: u32,
    /// What failed last may be the fault of some users.
    of_users: bool,
    /// Who was asked last since the target holds.
    last_probe: Option<UserKey>,
}

impl Health {
    /// Flowing from `now` on.
    pub fn new(backoff: Backoff, now: Instant) -> Self {
        Health {
            state: State::Flowing,
            since: now,
            backoff,
            failed_probes: 0,
            failing: Vec::new(),
            answered: false,
            doubted: false,
            clean_at: None,
            failed_clean: 0,
            refusals: 0,
            of_users: false,
            last_probe: None,
        }
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

    /// A user's failure is the user's own only while nobody else fails: whether others failed since
    /// the last success.
    pub fn others_fail(&self, user: UserKey) -> bool {
        !self.is_flowing() || self.failing.iter().any(|failing| failing.user != user)
    }

    /// Whether the failures for which the target holds may be those of some users.
    pub fn is_doubted(&self) -> bool {
        self.doubted
    }

    /// Whether calls are made, or the target holds over what may be the fault of some users: not if
    /// the API cannot be used at all.
    pub fn may_be_of_users(&self) -> bool {
        self.is_flowing() || self.of_users
    }

    /// How many probes in a row failed over what may be the fault of some users. `None`: the target
    /// holds over something else.
    pub fn failures_of_users(&self) -> Option<u32> {
        let holds_over = match self.state {
            State::Holding { cause, .. } | State::Probing { cause, .. } => Some(cause),
            State::Flowing => None,
        };
        // What made it hold counts as one, and so does the first probe that failed.
        let probes = self.failed_probes.saturating_sub(1).max(1);
        (self.of_users && holds_over == Some(Cause::Unreachable)).then_some(probes)
    }

    /// When a user who has not failed may be asked, if that may be before the next probe is due.
    pub fn clean_at(&self) -> Option<Instant> {
        self.clean_at
    }

    /// The user of the last probe since the target holds.
    pub fn last_probe(&self) -> Option<UserKey> {
        self.last_probe
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
        if let State::Holding {
            cause: cause @ Cause::Unauthorized,
            ..
        } = self.state
        {
            self.state = State::Holding {
                cause,
                probe_at: now,
            };
        }
    }

    /// A probe starts.
    pub fn probe(&mut self, probe: Ticket, user: UserKey) {
        debug_assert!(
            matches!(self.state, State::Holding { .. }),
            "only a target that holds is probed: {:?}",
            self.state
        );
        if let State::Holding { cause, .. } = self.state {
            self.state = State::Probing { cause, probe };
            self.last_probe = Some(user);
        }
    }

    /// The probe was given up without an answer (its partition went away): another one may start at
    /// once.
    pub fn probe_abandoned(&mut self, ticket: Ticket, now: Instant) {
        if let State::Probing { cause, probe } = self.state
            && probe == ticket
        {
            self.state = State::Holding {
                cause,
                probe_at: now,
            };
        }
    }

    /// Takes note of how a call ended.
    pub fn judge(
        &mut self,
        ticket: Ticket,
        caller: Caller,
        finding: Finding,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Turn {
        let was_probe = matches!(self.state, State::Probing { probe, .. } if probe == ticket);
        let answered = matches!(
            finding.verdict,
            Verdict::Delivered | Verdict::Rejected { .. }
        );
        if answered {
            return self.answered(was_probe, caller, now);
        }
        if finding.verdict == Verdict::NotCalled {
            self.probe_abandoned(ticket, now);
            return Turn::None;
        }
        if was_probe && caller.clean {
            // It fails as the others did.
            self.doubted = false;
            self.failed_clean = self.failed_clean.saturating_add(1);
            let wait = self.backoff.half_jitter(self.failed_clean, rng);
            self.clean_at = self
                .clean_at
                .filter(|_| !finding.of_all)
                .map(|_| now + wait);
        }
        let (cause, enough) = match finding.verdict {
            Verdict::Retry { unreachable: true } => (Cause::Unreachable, true),
            Verdict::Throttled { .. } => (Cause::Throttled, !caller.odd),
            Verdict::Unauthorized => (
                Cause::Unauthorized,
                finding.of_all || self.several(caller, true),
            ),
            Verdict::Fault => (Cause::Fault, finding.of_all || self.several(caller, true)),
            _ => (Cause::Unreachable, self.several(caller, false)),
        };
        if enough || !self.is_flowing() {
            self.hold(cause, finding, was_probe, now, rng);
        }
        Turn::None
    }

    /// Takes note of a failure that may be its user's own. Returns whether there are too many of
    /// them to be so.
    fn several(&mut self, caller: Caller, odd: bool) -> bool {
        if caller.odd {
            return false;
        }
        if let Some(failing) = self
            .failing
            .iter_mut()
            .find(|failing| failing.user == caller.user)
        {
            failing.odd |= odd;
        } else if self.failing.len() < SEVERAL {
            self.failing.push(Failing {
                user: caller.user,
                odd,
            });
        }
        let odd = self.failing.iter().filter(|failing| failing.odd).count();
        // Before its first answer, nothing shows that what answers is the API at all.
        odd >= SEVERAL_ODD
            || self.failing.len() >= SEVERAL
            || !self.answered && odd == self.failing.len()
    }

    fn answered(&mut self, was_probe: bool, caller: Caller, now: Instant) -> Turn {
        self.answered = true;
        // While the target holds, only a probe's answer counts: a call from before says nothing of
        // now.
        if self.is_flowing() || was_probe {
            self.failing.clear();
        }
        if !was_probe {
            return Turn::None;
        }
        let refuted = caller.clean && self.doubted && self.clean_at.is_some();
        self.state = State::Flowing;
        self.since = now;
        self.failed_probes = 0;
        (self.doubted, self.clean_at) = (false, None);
        if refuted { Turn::Refuted } else { Turn::Over }
    }

    fn hold(
        &mut self,
        cause: Cause,
        finding: Finding,
        was_probe: bool,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) {
        let asked = match finding.verdict {
            Verdict::Throttled { retry_after } => retry_after,
            _ => None,
        };
        let of_users =
            finding.calls > 0 && finding.verdict != (Verdict::Retry { unreachable: true });
        match self.state {
            State::Flowing => {
                self.since = now;
                self.failed_probes = 1;
                self.last_probe = None;
                // An API that cannot be connected to, or a login that failed, is no user's fault.
                self.doubted = of_users;
                self.clean_at = (self.doubted && cause != Cause::Throttled).then_some(now);
                (self.failed_clean, self.refusals) = (0, 0);
            }
            State::Probing { .. } if was_probe => {
                self.failed_probes = self.failed_probes.saturating_add(1)
            }
            // Calls that were in flight when the target began to hold: only a longer pause asked
            // for changes anything.
            State::Holding { cause, probe_at } => {
                if let Some(asked) = asked {
                    let probe_at = probe_at.max(now + asked.min(MAX_ASKED));
                    self.state = State::Holding { cause, probe_at };
                    self.clean_at = None;
                }
                return;
            }
            State::Probing { .. } => return,
        }
        self.of_users = of_users;
        let wait = if cause == Cause::Unauthorized && finding.of_all {
            self.refusals = self.refusals.saturating_add(1);
            let pace = Backoff::new(UNAUTHORIZED_FIRST, UNAUTHORIZED_MAX);
            // Never before the pace: a login made too early only costs another round.
            pace.bound(self.refusals).mul_f64(1.0 + rng.f64() / 10.0)
        } else {
            self.refusals = 0;
            self.backoff.half_jitter(self.failed_probes, rng)
        };
        // What the API asks for is jittered upwards, so that several instances do not come back in
        // one moment.
        let asked = asked.map(|asked| {
            asked
                .min(MAX_ASKED)
                .mul_f64(1.0 + rng.f64() / 20.0)
                .min(MAX_ASKED)
        });
        let probe_at = now + asked.map_or(wait, |asked| asked.max(wait));
        self.state = State::Holding { cause, probe_at };
    }
}

#[cfg(test)]
mod tests;
