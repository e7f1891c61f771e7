//! The API: it takes calls, or does not, as its mood is.

use std::time::Duration;

use user_courier::engine::Ticket;
use user_courier::verdict::Verdict;

use super::super::plan::{Kind, Mood};
use super::{BACKGROUND, Call, Checked, Record, World};

impl World<'_> {
    /// A call: how it ends is decided here, and told when its time has come.
    pub(super) fn start(&mut self, index: usize, ticket: Ticket, record: Record, timeout: Duration) -> Checked {
        let now = self.now;
        self.check_start(index, &record)?;
        self.instances[index].pace.start(ticket, &record, self.plan.rate_limit, now)?;
        if record.user < BACKGROUND {
            self.tries.entry((record.partition, record.offset)).or_default().calls += 1;
        }
        let latency = Duration::from_millis(self.rng.u64(1..=self.plan.latency));
        let mood = self.mood.filter(|(_, until)| *until > now).map(|(mood, _)| mood);
        let verdict = match (mood, record.kind) {
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
        self.instances[index].calls.push(Call { ticket, record, done_at, verdict, applied: false, cancelled: false });
        Ok(())
    }

    /// The API does its part of the calls whose time has come, also of those whose instance is frozen.
    pub(super) fn apply_due(&mut self) {
        let now = self.now;
        let mut due = Vec::new();
        for call in self.instances.iter_mut().flat_map(|instance| &mut instance.calls) {
            if call.done_at <= now && !call.applied {
                call.applied = true;
                due.push((call.done_at, call.record, call.verdict));
            }
        }
        due.sort_by_key(|(done_at, ..)| *done_at);
        for (_, record, verdict) in due {
            self.apply(&record, verdict);
        }
    }

    pub(super) fn apply(&mut self, record: &Record, verdict: Verdict) {
        if verdict == Verdict::Delivered {
            self.taken[record.partition as usize][record.index] = true;
            if record.user < BACKGROUND {
                self.applied.insert(record.user, *record);
            }
        }
    }
}
