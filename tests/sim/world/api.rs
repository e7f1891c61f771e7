//! The API: it takes calls, or does not, as its mood is.

use std::time::Duration;

use user_courier::engine::Ticket;
use user_courier::verdict::Verdict;

use super::super::plan::{Kind, Mood};
use super::{BACKGROUND, Call, Checked, Record, World};

impl World<'_> {
    /// A call: how it ends is decided here, and told when its time has come.
    pub(super) fn start(&mut self, index: usize, ticket: Ticket, run: Vec<Record>, timeout: Duration) -> Checked {
        let now = self.now;
        self.check_start(index, &run)?;
        self.instances[index].pace.start(ticket, &run, self.plan.rate_limit, now)?;
        for record in run.iter().filter(|record| record.user < BACKGROUND) {
            self.tries.entry((record.partition, record.offset)).or_default().calls += 1;
        }
        let latency = Duration::from_millis(self.rng.u64(1..=self.plan.latency));
        let mood = self.mood.filter(|(_, until)| *until > now).map(|(mood, _)| mood);
        let verdict = match (mood, kind(&run)) {
            (Some(Mood::Refuses), _) => Verdict::Retry { unreachable: true },
            (Some(Mood::Fails | Mood::Hangs), _) | (None, Kind::Poison) => Verdict::Retry { unreachable: false },
            (Some(Mood::Throttles), _) => Verdict::Throttled { retry_after: self.rng.bool().then_some(Duration::from_secs(3)) },
            (Some(Mood::Unauthorized), _) => Verdict::Unauthorized,
            (Some(Mood::Lies), _) => Verdict::Fault,
            (None, Kind::Rejected) => Verdict::Rejected { user_not_found: false },
            (None, _) => Verdict::Delivered,
        };
        let takes = if mood == Some(Mood::Hangs) { timeout } else { latency.min(timeout) };
        let done_at = now + takes;
        self.instances[index].calls.push(Call { ticket, run, done_at, verdict, applied: false, cancelled: false });
        Ok(())
    }

    /// The API does its part of the calls whose time has come, also of those whose instance is frozen.
    pub(super) fn apply_due(&mut self) {
        let now = self.now;
        let mut due = Vec::new();
        for call in self.instances.iter_mut().flat_map(|instance| &mut instance.calls) {
            if call.done_at <= now && !call.applied {
                call.applied = true;
                due.push((call.done_at, call.run.clone(), call.verdict));
            }
        }
        due.sort_by_key(|(done_at, ..)| *done_at);
        for (_, run, verdict) in due {
            self.apply(&run, verdict);
        }
    }

    pub(super) fn apply(&mut self, run: &[Record], verdict: Verdict) {
        if verdict != Verdict::Delivered {
            return;
        }
        for record in run {
            self.taken[record.partition as usize][record.index] = true;
            if record.user < BACKGROUND {
                self.applied.extend(fields(record.fields).map(|field| ((record.user, field), *record)));
            }
        }
    }
}

/// The single bits.
fn fields(fields: u8) -> impl Iterator<Item = u8> {
    (0..8).map(|bit| 1 << bit).filter(move |field| fields & field != 0)
}

/// What the API sees of updates in one call: only values that no later one replaces. What it rejects is the lowest field's.
fn kind(run: &[Record]) -> Kind {
    let bad = |wanted: Kind| {
        run.iter().enumerate().any(|(at, record)| {
            let replaced = run[at + 1..].iter().fold(0, |replaced, later| replaced | later.fields);
            let lowest = record.fields & record.fields.wrapping_neg();
            record.kind == wanted && lowest & replaced == 0
        })
    };
    [Kind::Rejected, Kind::Poison].into_iter().find(|kind| bad(*kind)).unwrap_or(Kind::Good)
}
