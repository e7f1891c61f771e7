//! The end of an attempt: what its verdict means for the update, for its user and for the target.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::calls::Run;
use crate::engine::Engine;
use crate::health::{Caller, MAX_ASKED, Turn};
use crate::lanes::Standing;
use crate::limit::Heard;
use crate::proof::Failure;
use crate::verdict::{Finding, Reason, Verdict};
use crate::{End, Ticket, UserKey};

/// A user whom the API asks for pauses counts as the only one after so many of them, each with
/// deliveries of others after it: an API that throttles everybody is unlikely to pick the same
/// update again and again.
const PAUSES_OF_ONE: u32 = 2;

/// Before what an update is called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    None,
    /// The target, if it holds.
    Target,
    /// Its own backoff, and at least what the API asked for.
    Own(Duration),
}

impl<U, F> Engine<U, F> {
    /// An attempt finished. Returns how many failures count against the update, if this one does
    /// and it was sent by itself.
    pub fn finished(
        &mut self,
        ticket: Ticket,
        finding: Finding,
        facts: F,
        now: Instant,
    ) -> Option<u32> {
        let slots = self.calls.slots();
        // A call that was given up is nobody's: its answer comes too late to change anything.
        let user = self.entries.get(ticket)?.user()?;
        let call = self.calls.end(user, ticket)?;
        let run = call.run;
        let started = self.entries.in_flight(ticket).started;
        self.note(&run, finding, facts);
        let caller = self.caller(run.head(), user, finding.verdict);
        self.judge(ticket, caller, finding, now);
        let good = matches!(
            finding.verdict,
            Verdict::Delivered | Verdict::Rejected { .. }
        );
        if good {
            self.calls.delivered(self.limit.current());
        }
        // A failed call that is overtaken, or of a user who failed before, says nothing of what the
        // API bears.
        let may_mean_overload =
            matches!(finding.verdict, Verdict::Retry { .. }) && !call.overtaken && caller.clean;
        if good || may_mean_overload {
            self.limit.heard(&Heard {
                started,
                good,
                // A login or a second call is not the API's own latency.
                timed: finding.calls == 1 && !call.overtaken,
                slots,
                now,
            });
        }
        match finding.verdict {
            Verdict::Delivered => {
                self.delivered(started, caller, now);
                self.end_delivered(&run);
                None
            }
            Verdict::Rejected { user_not_found } => {
                self.rejected(&run, user, user_not_found, now);
                None
            }
            _ => self.failed(&run, caller, finding, now),
        }
    }

    /// Only the last update of a merged call was delivered; the others went with it.
    fn end_delivered(&mut self, run: &Run) {
        let into = self.entries[run.last].offset;
        for ticket in &run.earlier {
            self.end(*ticket, End::Merged { into });
        }
        self.end(run.last, End::Delivered);
    }

    fn rejected(&mut self, run: &Run, user: UserKey, user_not_found: bool, now: Instant) {
        self.lanes.judged(user, true);
        if run.is_merged() {
            self.take_apart(run);
            return self.again(run, user, now, Wait::None);
        }
        let reason = match user_not_found {
            true => Reason::UserNotFound,
            false => Reason::Rejected,
        };
        self.end(run.last, End::Dead(reason));
    }

    /// Each update in a call keeps how it ended.
    fn note(&mut self, run: &Run, finding: Finding, facts: F) {
        let facts = Arc::new(facts);
        for ticket in run.tickets() {
            let entry = &mut self.entries[ticket];
            entry.spent.calls = entry.spent.calls.saturating_add(finding.calls);
            entry.facts = Some(facts.clone());
            // An update that was delivered is settled with the next commit.
            if finding.verdict != Verdict::Delivered {
                self.partitions[entry.partition].ledger.tried(entry.offset);
            }
        }
    }

    /// The user whose call was led by the update `head`, as known before this answer.
    fn caller(&mut self, head: Ticket, user: UserKey, verdict: Verdict) -> Caller {
        let standing = self.lanes.standing(user);
        let enough = !matches!(verdict, Verdict::Throttled { .. }) || {
            let merged = self.entries.in_flight(head).merged_failures;
            self.entries[head].spent.failures.max(merged) >= PAUSES_OF_ONE
        };
        Caller {
            user,
            clean: standing == Standing::Clean,
            odd: standing == Standing::Odd && enough,
        }
    }

    /// Tells health, rate and proof what the verdict says of the target.
    fn judge(&mut self, ticket: Ticket, caller: Caller, finding: Finding, now: Instant) {
        let was_flowing = self.health.is_flowing();
        let failures = self.health.failures_of_users();
        if self
            .health
            .judge(ticket, caller, finding, now, &mut self.rng)
            == Turn::Over
        {
            // A rate that was learned spaces the calls: nothing rushes in.
            if !self.rate.resumed(now) {
                self.limit.restart(failures, now);
            }
        }
        if let Verdict::Throttled { retry_after } = finding.verdict
            && !caller.odd
        {
            // The first of its kind only: the calls that were under way with it say the same, and a
            // probe that is throttled was no rate. Nor does a user say it twice whom nobody else
            // has joined since.
            if was_flowing && caller.clean {
                self.rate.throttled(now, retry_after.unwrap_or_default());
            }
            self.proof.outage();
        }
        if !self.health.is_flowing() && !self.health.is_doubted() {
            self.proof.outage();
        }
    }

    fn delivered(&mut self, started: Instant, caller: Caller, now: Instant) {
        self.lanes.judged(caller.user, true);
        if !caller.clean {
            return self.proof.recovered(now);
        }
        for ticket in self.proof.delivered(started, now) {
            if let Some(failure) = &mut self.entries.attempts(ticket).failure {
                failure.proven = true;
            }
            if let Some(user) = self.entries[ticket].user() {
                self.lanes.is_odd(user);
            }
        }
    }

    fn failed(&mut self, run: &Run, caller: Caller, finding: Finding, now: Instant) -> Option<u32> {
        let user = caller.user;
        // An attempt without a call failed over the login or the lease, which is no update's fault.
        let may_be_its_own = finding.calls > 0
            && !matches!(
                finding.verdict,
                Verdict::Retry { unreachable: true } | Verdict::NotCalled
            );
        let mut counted = None;
        if may_be_its_own {
            let charged = self.charge(run, user, finding, now);
            self.lanes.judged(user, false);
            if run.is_merged() {
                self.merged_failed(run, charged, finding.verdict);
            } else if charged > 0 {
                let failures = &mut self.entries[run.last].spent.failures;
                *failures = failures.saturating_add(charged);
                counted = Some(*failures);
            }
        }
        let asked = match finding.verdict {
            Verdict::Throttled { retry_after } => retry_after.unwrap_or_default().min(MAX_ASKED),
            _ => Duration::ZERO,
        };
        let was_probe = self.health.last_probe() == Some(user);
        let waits_itself =
            self.health.is_flowing() || may_be_its_own && self.health.is_doubted() && !was_probe;
        let wait = match finding.verdict {
            Verdict::NotCalled => Wait::None,
            _ if waits_itself => Wait::Own(asked),
            _ => Wait::Target,
        };
        self.again(run, user, now, wait);
        counted
    }

    /// How many failures count against the update now: this one if others were delivered since the
    /// last one, and then that one too; or if the update is known to fail and nothing speaks
    /// against the target.
    fn charge(&mut self, run: &Run, user: UserKey, finding: Finding, now: Instant) -> u32 {
        let lasts = self.lasts(run, user, finding, now);
        let merged = run.is_merged();
        let attempts = self.entries.in_flight(run.head());
        let started = attempts.started;
        let before = attempts.failure;
        let charged = match before {
            Some(before) if before.proven && before.merged == merged => {
                1 + u32::from(!before.counted)
            }
            _ => u32::from(lasts),
        };
        attempts.failure = Some(Failure {
            started,
            merged,
            proven: false,
            counted: charged > 0,
        });
        if let Some(before) = before {
            self.proof.forget(before.started, started, run.head());
        }
        if self.health.is_flowing() || self.health.is_doubted() {
            self.proof.failed(started, run.head());
        }
        charged
    }

    /// An update that failed while others were delivered goes on to be the one at fault when nobody
    /// else is called any more.
    fn lasts(&mut self, run: &Run, user: UserKey, finding: Finding, now: Instant) -> bool {
        let attempts = *self.entries.in_flight(run.head());
        // The fault of a merged call may be any of its updates'.
        let is_known = if run.is_merged() {
            attempts.merged_failures > 0
        } else {
            self.entries[run.last].spent.failures > 0
        };
        let of_one = !finding.of_all && !matches!(finding.verdict, Verdict::Throttled { .. });
        if !of_one || self.health.others_fail(user) {
            return false;
        }
        // Nothing can show any more that the target delivers others: what is known of the user must
        // do.
        let is_of_odd =
            self.is_choked() && (is_known || self.lanes.standing(user) == Standing::Odd);
        is_of_odd || is_known && self.proof.lasts(attempts.first_started, now)
    }

    /// The call of these updates failed: each ends, is left to its partition's next owner, or waits
    /// for another attempt.
    fn again(&mut self, run: &Run, user: UserKey, now: Instant, wait: Wait) {
        let mut left = Vec::with_capacity(1);
        for ticket in run.tickets() {
            let entry = &self.entries[ticket];
            if entry.spent.failures >= self.settings.max_attempts {
                self.end(ticket, End::Dead(Reason::AttemptsExhausted));
            } else if entry.is_expired(now) {
                self.end(ticket, End::Dead(Reason::Expired));
            } else if self.bar.holds(&entry.update) {
                self.end(ticket, End::Dead(Reason::Protected));
            } else {
                left.push((ticket, self.entries.again(ticket)));
            }
        }
        // All of them have ended.
        let Some(&(first, in_a_row)) = left.first() else {
            return;
        };
        if self.partitions.is_going(self.entries[first].partition) {
            // From the back, as in `abandon_waiting`.
            let left = left.into_iter().rev();
            return left.for_each(|(ticket, _)| self.abandon(ticket));
        }
        if let Wait::Own(at_least) = wait {
            let wait = self.backoff.full_jitter(in_a_row, &mut self.rng);
            return self.lanes.retry(user, now + wait.max(at_least));
        }
        if wait == Wait::None || !self.health.is_doubted() {
            // At once, or at the target's own pace: in both cases the update's own backoff is
            // reset.
            for (ticket, _) in left {
                self.entries.attempts(ticket).in_a_row = 0;
            }
        }
        self.lanes.requeue(user);
    }
}
