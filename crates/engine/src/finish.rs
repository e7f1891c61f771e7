//! The end of an attempt: what its verdict means for the update, for its user and for the target.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::UserKey;
use crate::assignment::Partition;
use crate::engine::{Engine, Phase};
use crate::health::{Caller, MAX_ASKED, Turn};
use crate::lane::Standing;
use crate::proof::Failure;
use crate::verdict::{Finding, Reason, Verdict};
use crate::{End, Ticket};

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
        let entry = self
            .entries
            .get(&ticket)
            .filter(|entry| entry.phase == Phase::InFlight)?;
        let (user, offset, started) = (entry.user?, entry.offset, entry.started?);
        let mut run = self.merged.remove(&ticket).unwrap_or_default();
        run.push(ticket);
        self.note(&run, finding, facts);
        let busy = self.calls.slots() * 2 > self.limit.current();
        let overtaken = self.calls.end(user).unwrap_or_default();
        let caller = self.caller(run[0], user, finding.verdict);
        self.judge(ticket, caller, finding, now);
        // What took a login, or a second call, is not the API's own latency.
        let latency =
            (finding.calls == 1 && !overtaken).then(|| now.saturating_duration_since(started));
        if matches!(
            finding.verdict,
            Verdict::Delivered | Verdict::Rejected { .. }
        ) {
            self.calls.delivered(self.limit.current());
        }
        match finding.verdict {
            Verdict::Delivered => {
                self.limit.succeeded(busy, latency);
                self.delivered(started, caller, now);
                self.end_delivered(run, offset);
                None
            }
            Verdict::Rejected { user_not_found } => {
                self.limit.succeeded(busy, latency);
                self.lanes.judged(user, true);
                if run.len() > 1 {
                    self.take_apart(&run);
                    self.again(&run, user, now, Wait::None);
                } else {
                    let reason = if user_not_found {
                        Reason::UserNotFound
                    } else {
                        Reason::Rejected
                    };
                    self.end(ticket, End::Dead(reason));
                }
                None
            }
            verdict => {
                let of_load = matches!(verdict, Verdict::Retry { .. } | Verdict::Throttled { .. });
                // One that is overtaken, or of an odd user, says nothing of what the API bears.
                if of_load && !overtaken && !caller.odd {
                    self.limit.failed(user);
                }
                self.failed(ticket, &run, caller, finding, now)
            }
        }
    }

    /// Of a merged call, only the last update was delivered; the others went with it.
    fn end_delivered(&mut self, run: Vec<Ticket>, last: i64) {
        for ticket in run {
            let is_last = self
                .entries
                .get(&ticket)
                .is_some_and(|entry| entry.offset == last);
            let end = if is_last {
                End::Delivered
            } else {
                End::Merged { into: last }
            };
            self.end(ticket, end);
        }
    }

    /// What every update in a call keeps of it.
    fn note(&mut self, run: &[Ticket], finding: Finding, facts: F) {
        let facts = Arc::new(facts);
        for ticket in run {
            let Some(entry) = self.entries.get_mut(ticket) else {
                continue;
            };
            entry.spent.calls = entry.spent.calls.saturating_add(finding.calls);
            entry.facts = Some(facts.clone());
            // What was delivered is settled with the next commit.
            if let Some(partition) = self
                .partitions
                .get_mut(&entry.partition)
                .filter(|_| finding.verdict != Verdict::Delivered)
            {
                partition.ledger.tried(entry.offset);
            }
        }
    }

    /// What is known of the user whose call was led by the update `head`.
    fn caller(&self, head: Ticket, user: UserKey, verdict: Verdict) -> Caller {
        let standing = self.lanes.standing(user);
        let failures = self
            .entries
            .get(&head)
            .map_or(0, |head| head.spent.failures.max(head.merged_failures));
        let enough = !matches!(verdict, Verdict::Throttled { .. }) || failures >= PAUSES_OF_ONE;
        Caller {
            user,
            clean: standing == Standing::Clean,
            odd: standing == Standing::Odd && enough,
        }
    }

    /// What the verdict says of the target.
    fn judge(&mut self, ticket: Ticket, caller: Caller, finding: Finding, now: Instant) {
        let was_flowing = self.health.is_flowing();
        if self
            .health
            .judge(ticket, caller, finding, now, &mut self.rng)
            == Turn::Over
        {
            self.limit.restart();
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
            let Some(entry) = self.entries.get_mut(&ticket) else {
                continue;
            };
            if let (Some(failure), Some(user)) = (&mut entry.failure, entry.user) {
                failure.proven = true;
                self.lanes.is_odd(user);
            }
        }
    }

    fn failed(
        &mut self,
        ticket: Ticket,
        run: &[Ticket],
        caller: Caller,
        finding: Finding,
        now: Instant,
    ) -> Option<u32> {
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
            if run.len() > 1 {
                self.merged_failed(run, charged, finding.verdict);
            } else if let Some(entry) = self.entries.get_mut(&ticket).filter(|_| charged > 0) {
                entry.spent.failures = entry.spent.failures.saturating_add(charged);
                counted = Some(entry.spent.failures);
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
    fn charge(&mut self, run: &[Ticket], user: UserKey, finding: Finding, now: Instant) -> u32 {
        let head = run[0];
        let lasts = self.lasts(run, user, finding, now);
        let may_tell = self.health.is_flowing() || self.health.is_doubted();
        let Some(entry) = self.entries.get_mut(&head) else {
            return 0;
        };
        let Some(started) = entry.started else {
            return 0;
        };
        let before = entry.failure.take();
        let charged = match before {
            Some(Failure {
                proven: true,
                counted,
                merged,
                ..
            }) if merged == (run.len() > 1) => 1 + u32::from(!counted),
            _ => u32::from(lasts),
        };
        if let Some(before) = before {
            self.proof.forget(before.started, Some(started), head);
        }
        entry.failure = Some(Failure {
            started,
            merged: run.len() > 1,
            proven: false,
            counted: charged > 0,
        });
        if may_tell {
            self.proof.failed(started, head);
        }
        charged
    }

    /// An update that failed while others were delivered goes on to be the one at fault when nobody
    /// else is called any more.
    fn lasts(&self, run: &[Ticket], user: UserKey, finding: Finding, now: Instant) -> bool {
        let Some(entry) = self.entries.get(&run[0]) else {
            return false;
        };
        // The fault of a merged call may be any of its updates'.
        let is_known = if run.len() > 1 {
            entry.merged_failures > 0
        } else {
            entry.spent.failures > 0
        };
        let of_one = !finding.of_all && !matches!(finding.verdict, Verdict::Throttled { .. });
        if !of_one || self.health.others_fail(user) {
            return false;
        }
        // Nothing can show any more that the target delivers others: what is known of the user must
        // do.
        let is_of_odd =
            self.is_choked() && (is_known || self.lanes.standing(user) == Standing::Odd);
        is_of_odd
            || is_known
                && entry
                    .first_started
                    .is_some_and(|since| self.proof.lasts(since, now))
    }

    /// The call of these updates failed: each ends, is left to its partition's next owner, or waits
    /// for another attempt.
    fn again(&mut self, run: &[Ticket], user: UserKey, now: Instant, wait: Wait) {
        let mut left = Vec::with_capacity(run.len());
        for &ticket in run {
            let Some(entry) = self.entries.get_mut(&ticket) else {
                continue;
            };
            entry.failures = entry.failures.saturating_add(1);
            if entry.spent.failures >= self.settings.max_attempts {
                self.end(ticket, End::Dead(Reason::AttemptsExhausted));
            } else if entry.expires_at.is_some_and(|expires_at| expires_at <= now) {
                self.end(ticket, End::Dead(Reason::Expired));
            } else {
                entry.enter(Phase::Waiting, &mut self.waiting);
                left.push((ticket, entry.failures, entry.partition));
            }
        }
        let Some(&(_, failures, partition)) = left.first() else {
            return;
        };
        if self
            .partitions
            .get(&partition)
            .is_none_or(Partition::is_going)
        {
            // From the back, as in `abandon_waiting`.
            left.into_iter()
                .rev()
                .for_each(|(ticket, ..)| self.abandon(ticket));
            return;
        }
        if let Wait::Own(at_least) = wait {
            let wait = self
                .backoff
                .full_jitter(failures, &mut self.rng)
                .max(at_least);
            return self.lanes.retry(user, now + wait);
        }
        if wait == Wait::None || !self.health.is_doubted() {
            // At once, or at the target's own pace: in both cases the update's own backoff is
            // reset.
            for (ticket, ..) in left {
                if let Some(entry) = self.entries.get_mut(&ticket) {
                    entry.failures = 0;
                }
            }
        }
        self.lanes.requeue(user);
    }
}
