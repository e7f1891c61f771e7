//! The API: it takes calls, or does not, as its mood is.

use std::collections::BTreeSet;
use std::time::Duration;

use engine::Ticket;
use engine::verdict::{Finding, Verdict};

use super::super::plan::{Kind, Mood};
use super::{BACKGROUND, Call, Checked, Record, World};

impl World<'_> {
    /// A call: how it ends is decided here, and told when its time has come.
    pub(super) fn start(
        &mut self,
        index: usize,
        ticket: Ticket,
        run: Vec<Record>,
        timeout: Duration,
    ) -> Checked {
        let now = self.now;
        self.check_start(index, &run)?;
        let waiting = if self.instances[index].pace.is_held() {
            self.waiting(index, run[0].user)
        } else {
            Vec::new()
        };
        let rate_limit = self.rate_of(index);
        self.instances[index]
            .pace
            .start(ticket, &run, &waiting, rate_limit, now)?;
        let mood = self
            .mood
            .filter(|(_, until)| *until > now)
            .map(|(mood, _)| mood);
        let finding = self.finding(mood, kind(&run));
        for record in run.iter().filter(|record| record.user < BACKGROUND) {
            let tries = self
                .tries
                .entry((record.partition, record.offset))
                .or_default();
            tries.calls += finding.calls;
            if mood.is_some() && finding.calls > 0 {
                tries.outages.insert(self.outages);
            }
        }
        let latency = Duration::from_millis(self.rng.u64(1..=self.plan.latency));
        let hangs =
            mood == Some(Mood::Hangs) || mood.is_none() && kind(&run) == Kind::Odd(Mood::Hangs);
        let counts = self.counts(&run);
        if counts {
            self.check_guard_at_start(&run)?;
        }
        let done_at = now + if hangs { timeout } else { latency.min(timeout) };
        self.instances[index].calls.push(Call {
            ticket,
            run,
            done_at,
            finding,
            applied: false,
            cancelled: false,
            counts,
        });
        Ok(())
    }

    /// How many calls a second an instance may make: its share, by the partitions that it owns, of
    /// what the group may.
    pub(super) fn rate_of(&self, index: usize) -> f64 {
        let owned = self.instances[index].owned.len() as f64;
        f64::from(self.plan.rate_limit) * owned / f64::from(self.plan.partitions)
    }

    fn finding(&mut self, mood: Option<Mood>, kind: Kind) -> Finding {
        if self.rng.u8(..) == 0 {
            return Finding {
                verdict: Verdict::NotCalled,
                calls: 0,
                of_all: true,
            };
        }
        let mood = match (mood, kind) {
            (None, Kind::Odd(mood)) => Some(mood),
            (mood, _) => mood,
        };
        let verdict = match (mood, kind) {
            (Some(Mood::Refuses), _) => Verdict::Retry { unreachable: true },
            (Some(Mood::Fails | Mood::Hangs), _) => Verdict::Retry { unreachable: false },
            (Some(Mood::Throttles), _) => Verdict::Throttled {
                retry_after: self.rng.bool().then_some(Duration::from_secs(3)),
            },
            (Some(Mood::Unauthorized | Mood::Forbids), _) => Verdict::Unauthorized,
            (Some(Mood::Lies | Mood::Garbles), _) => Verdict::Fault,
            (None, Kind::Rejected) => Verdict::Rejected {
                user_not_found: false,
            },
            (None, _) => Verdict::Delivered,
        };
        let of_all = matches!(mood, Some(Mood::Unauthorized | Mood::Garbles));
        // In an outage the login itself may be refused.
        let calls = if mood == Some(Mood::Unauthorized) && !matches!(kind, Kind::Odd(_)) {
            u32::from(self.rng.bool())
        } else {
            1
        };
        Finding {
            verdict,
            calls,
            of_all,
        }
    }

    /// Other users whose updates this instance could call.
    fn waiting(&self, index: usize, user: u64) -> Vec<u64> {
        let instance = &self.instances[index];
        let in_flight: Vec<u64> = instance
            .calls
            .iter()
            .filter(|call| call.done_at > self.now && !call.cancelled)
            .map(Call::user)
            .collect();
        let read = instance
            .owned
            .iter()
            .filter(|(_, owned)| !owned.revoked)
            .flat_map(|(partition, owned)| {
                let next = owned.next;
                let unsettled =
                    self.log_from(*partition, self.committed[*partition as usize].offset);
                unsettled.take_while(move |record| record.index < next)
            });
        let waits = |record: &&Record| {
            record.user != user && !in_flight.contains(&record.user) && self.needs_call(record)
        };
        let in_memory = |record: &&Record| {
            instance
                .engine
                .as_ref()
                .is_some_and(|engine| engine.is_waiting(record.partition, record.offset))
        };
        let waiting: BTreeSet<u64> = read
            .filter(waits)
            .filter(in_memory)
            .map(|record| record.user)
            .collect();
        waiting.into_iter().collect()
    }

    /// The API does its part of the calls whose time has come, also of those whose instance is
    /// frozen.
    pub(super) fn apply_due(&mut self) -> Checked {
        let now = self.now;
        let mut due = Vec::new();
        for call in self
            .instances
            .iter_mut()
            .flat_map(|instance| &mut instance.calls)
        {
            if call.done_at <= now && !call.applied {
                call.applied = true;
                due.push((
                    call.done_at,
                    call.run.clone(),
                    call.finding.verdict,
                    call.counts,
                ));
            }
        }
        due.sort_by_key(|(done_at, ..)| *done_at);
        for (_, run, verdict, counts) in due {
            self.apply(&run, verdict, counts)?;
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, run: &[Record], verdict: Verdict, counts: bool) -> Checked {
        if verdict != Verdict::Delivered {
            return Ok(());
        }
        if counts {
            self.check_guard_at_loss(run)?;
        }
        for record in run {
            self.taken[record.partition as usize][record.index] = true;
            if record.user < BACKGROUND {
                self.applied
                    .extend(fields(record.fields).map(|field| ((record.user, field), *record)));
            }
        }
        Ok(())
    }
}

/// The single bits.
fn fields(fields: u8) -> impl Iterator<Item = u8> {
    (0..8)
        .map(|bit| 1 << bit)
        .filter(move |field| fields & field != 0)
}

/// What the API sees of updates in one call: only values that no later one replaces. What it
/// rejects is the lowest field's.
fn kind(run: &[Record]) -> Kind {
    let bad = |wanted: Kind| {
        run.iter().enumerate().any(|(at, record)| {
            let replaced = run[at + 1..]
                .iter()
                .fold(0, |replaced, later| replaced | later.fields);
            let lowest = record.fields & record.fields.wrapping_neg();
            record.kind == wanted && lowest & replaced == 0
        })
    };
    let odd = run
        .iter()
        .map(|record| record.kind)
        .filter(|kind| matches!(kind, Kind::Odd(_)));
    odd.chain([Kind::Rejected])
        .find(|kind| bad(*kind))
        .unwrap_or(Kind::Good)
}
