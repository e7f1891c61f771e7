//! The pace that one instance must keep: how soon it may call, when its target must hold and may,
//! and whom it may ask meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use engine::verdict::{Finding, Verdict};
use engine::{State, Ticket};

use super::{Call, Checked, Record};

pub(super) const INITIAL_BACKOFF: Duration = Duration::from_millis(50);
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// So many users who fail in a row are an outage,
const SEVERAL: usize = 3;
/// and so many who are answered oddly.
const SEVERAL_ODD: usize = 2;
/// So far calls may run ahead of an even rate.
const CATCH_UP: Duration = Duration::from_millis(10);

/// Whether a failure may be the fault of the update or user that was called.
pub(super) fn may_be_its_own(finding: Finding) -> bool {
    let of_api = Verdict::Retry { unreachable: true };
    finding.calls > 0 && finding.verdict != of_api && !is_answered(finding.verdict)
}

fn is_answered(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Delivered | Verdict::Rejected { .. })
}

/// What an instance has heard of its API, judged anew without the engine.
#[derive(Default)]
pub(super) struct Pace {
    held: Option<Held>,
    /// Users whose calls failed since the last good answer, and whether oddly.
    failing: BTreeMap<u64, bool>,
    /// Those of them that nothing was delivered beside since they began to fail.
    unknown: BTreeMap<u64, bool>,
    /// The API has answered as itself.
    answered: bool,
    /// Users whose calls have failed since they were last answered well,
    failed: BTreeSet<u64>,
    /// and beside whom others were delivered since.
    perhaps_odd: BTreeSet<u64>,
    /// Records whose calls have failed.
    failed_records: BTreeSet<(i32, i64)>,
    /// When the next call would be due at an even rate.
    due: Option<Instant>,
}

/// Nothing may be called but one probe at a time.
struct Held {
    failed_probes: u32,
    not_before: Instant,
    /// A user who has not failed may be asked from then on.
    clean_not_before: Option<Instant>,
    failed_clean: u32,
    /// Refusals of the account in a row.
    refusals: u32,
    probe: Option<Ticket>,
    last: Option<u64>,
}

impl Pace {
    /// The instance may make so many calls a second from now on: a wait that began at fewer is
    /// over sooner.
    pub(super) fn faster(&mut self, rate: f64, now: Instant) {
        if rate > 0.0 {
            let soonest = now + Duration::from_secs_f64(1.0 / rate);
            self.due = self.due.map(|due| due.min(soonest));
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// A call starts, while the users `waiting` could be called as well.
    pub(super) fn start(
        &mut self,
        ticket: Ticket,
        run: &[Record],
        waiting: &[u64],
        rate_limit: f64,
        now: Instant,
    ) -> Checked {
        let user = run[0].user;
        let called_before = run.iter().any(|record| {
            self.failed_records
                .contains(&(record.partition, record.offset))
        });
        let has_failed = called_before && self.failed.contains(&user);
        if let Some(held) = &mut self.held {
            if held.probe.is_some() {
                return Err(format!("{run:?} is called beside a probe"));
            }
            if now < held.not_before
                && (has_failed || held.clean_not_before.is_none_or(|at| now < at))
            {
                return Err(format!(
                    "{run:?} is called {:?} before a probe is due",
                    held.not_before - now
                ));
            }
            if held.last == Some(user) && !waiting.is_empty() {
                return Err(format!(
                    "{run:?} is a probe of the same user as the one before, and {waiting:?} wait"
                ));
            }
            if has_failed
                && waiting
                    .iter()
                    .any(|other| !self.failed.contains(other) && held.last != Some(*other))
            {
                return Err(format!(
                    "{run:?} is a probe of a user who has failed, and {waiting:?} wait, of whom only {:?} have",
                    self.failed
                ));
            }
            (held.probe, held.last) = (Some(ticket), Some(user));
        }
        if rate_limit > 0.0 {
            let due = self.due.map_or(now, |due| due.max(now));
            if due > now + CATCH_UP {
                return Err(format!(
                    "{run:?} is called {:?} ahead of {rate_limit} calls a second",
                    due - now
                ));
            }
            self.due = Some(due + Duration::from_secs_f64(1.0 / rate_limit));
        }
        Ok(())
    }

    /// A call was given up: if it was the probe, another may follow at once.
    pub(super) fn cancelled(&mut self, ticket: Ticket, now: Instant) {
        if let Some(held) = self.held.as_mut().filter(|held| held.probe == Some(ticket)) {
            (held.probe, held.not_before) = (None, now);
        }
    }

    /// A partition went, and with it all that was known of its updates.
    pub(super) fn forget(&mut self, partition: i32) {
        self.failed_records.retain(|(of, _)| *of != partition);
    }

    /// An answer came, and the target is in this state after it.
    pub(super) fn hear(&mut self, call: &Call, state: State, now: Instant) -> Checked {
        let (user, finding) = (call.user(), call.finding);
        let is_probe = self
            .held
            .as_ref()
            .is_some_and(|held| held.probe == Some(call.ticket));
        let clean = !self.failed.contains(&user);
        if finding.verdict == Verdict::NotCalled {
            self.cancelled(call.ticket, now);
        } else if is_answered(finding.verdict) {
            self.answered(user, finding.verdict, is_probe);
        } else {
            if may_be_its_own(finding) {
                self.failed.insert(user);
                self.failed_records.extend(
                    call.run
                        .iter()
                        .map(|record| (record.partition, record.offset)),
                );
            }
            if matches!(
                finding.verdict,
                Verdict::Retry { unreachable: false } | Verdict::Unauthorized | Verdict::Fault
            ) {
                let odd = !finding.of_all && !matches!(finding.verdict, Verdict::Retry { .. });
                *self.failing.entry(user).or_default() |= odd;
                if !self.perhaps_odd.contains(&user) {
                    *self.unknown.entry(user).or_default() |= odd;
                }
            }
            if self.held.is_none() {
                self.check_hold(call, state)?;
            }
            if state != State::Flowing {
                self.hold(finding, is_probe, clean, now);
            }
        }
        if (state == State::Flowing) != self.held.is_none() {
            return Err(format!("{state:?} after {finding:?} of {:?}", call.run));
        }
        Ok(())
    }

    fn answered(&mut self, user: u64, verdict: Verdict, is_probe: bool) {
        if is_probe {
            self.held = None;
        }
        self.answered = true;
        self.failed.remove(&user);
        self.perhaps_odd.remove(&user);
        if verdict == Verdict::Delivered {
            self.perhaps_odd.extend(&self.failed);
        }
        if self.held.is_none() {
            self.failing.clear();
            self.unknown.clear();
        }
    }

    /// Whether a target that flowed must hold after this failure, and may.
    fn check_hold(&self, call: &Call, state: State) -> Checked {
        let finding = call.finding;
        let several = |failing: &BTreeMap<u64, bool>| {
            let odd = failing.values().filter(|odd| **odd).count();
            odd >= SEVERAL_ODD
                || failing.len() >= SEVERAL
                || !self.answered && odd > 0 && odd == failing.len()
        };
        let of_api = finding.of_all || finding.verdict == (Verdict::Retry { unreachable: true });
        let throttled = matches!(finding.verdict, Verdict::Throttled { .. });
        let must = of_api
            || throttled && !self.perhaps_odd.contains(&call.user())
            || several(&self.unknown);
        let may = of_api || throttled || several(&self.failing);
        if must && state == State::Flowing || !may && state != State::Flowing {
            return Err(format!(
                "{state:?} after {finding:?} of {:?}, with {:?} failing",
                call.run, self.failing
            ));
        }
        Ok(())
    }

    fn hold(&mut self, finding: Finding, is_probe: bool, clean: bool, now: Instant) {
        let asked = match finding.verdict {
            Verdict::Throttled { retry_after } => retry_after,
            _ => None,
        };
        let throttled = matches!(finding.verdict, Verdict::Throttled { .. });
        let mut held = match self.held.take() {
            None => Held {
                failed_probes: 1,
                not_before: now,
                clean_not_before: (may_be_its_own(finding) && !throttled).then_some(now),
                failed_clean: 0,
                refusals: 0,
                probe: None,
                last: None,
            },
            Some(held) if is_probe => Held {
                failed_probes: held.failed_probes + 1,
                probe: None,
                ..held
            },
            // The answer to a call from before. While a probe is under way, only the probe's is
            // listened to.
            Some(mut held) => {
                if let (None, Some(asked)) = (held.probe, asked) {
                    held.not_before = held.not_before.max(now + asked);
                    held.clean_not_before = None;
                }
                self.held = Some(held);
                return;
            }
        };
        if is_probe && clean {
            held.failed_clean += 1;
            let pause = bound(INITIAL_BACKOFF, MAX_BACKOFF, held.failed_clean) / 2;
            held.clean_not_before = held
                .clean_not_before
                .filter(|_| !finding.of_all)
                .map(|_| now + pause);
        }
        let pause = if finding.verdict == Verdict::Unauthorized && finding.of_all {
            held.refusals += 1;
            bound(
                Duration::from_secs(5),
                Duration::from_secs(60),
                held.refusals,
            )
        } else {
            held.refusals = 0;
            bound(INITIAL_BACKOFF, MAX_BACKOFF, held.failed_probes) / 2
        };
        held.not_before = now + pause.max(asked.unwrap_or_default());
        self.held = Some(held);
    }
}

/// Doubling from `first` up to `most`.
fn bound(first: Duration, most: Duration, failures: u32) -> Duration {
    (first * (1 << (failures - 1).min(20))).min(most)
}
