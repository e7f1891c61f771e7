//! The guard: what an operator decides, and who loses something when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Guard;

use super::{Checked, Record, World};

/// What is seen of it.
#[derive(Default)]
pub(super) struct Guarded {
    allow_until: Option<Instant>,
    refuse_until: Option<Instant>,
    /// It was refused at some time.
    ever_refused: bool,
    /// Calls that take something away, by their start, and losses as the API made them.
    started: Vec<(Instant, u64)>,
    lost: Vec<(Instant, u64)>,
}

/// Milliseconds since 1970, on every instance's clock.
pub(super) fn millis(since: Duration) -> i64 {
    1_795_000_000_000 + i64::try_from(since.as_millis()).unwrap_or(0)
}

/// Which of these updates, in one call, take something away.
fn taking(run: &[&Record]) -> Vec<usize> {
    let stays = |at: usize| {
        let later = run[at + 1..]
            .iter()
            .fold(0, |sets, later| sets | later.fields);
        run[at].strips & !later != 0
    };
    (0..run.len()).filter(|at| stays(*at)).collect()
}

impl World<'_> {
    pub(super) fn guard(&self) -> Option<Guard<Record>> {
        let plan = self.plan.guard?;
        let at = |until: Instant| millis(until - self.start);
        Some(Guard {
            max_users: plan.max_users,
            window: plan.window,
            allow_until: self.guarded.allow_until.map(at),
            refuse_until: self.guarded.refuse_until.map(at),
            taking: Arc::new(taking),
        })
    }

    /// An operator allows or refuses, on all instances at once.
    pub(super) fn decide(&mut self, allow: Option<u64>, refuse: Option<u64>) {
        // Both clocks tell whole milliseconds of the same time.
        let whole = Duration::from_millis((self.now - self.start).as_millis() as u64);
        let until = |millis: u64| self.start + whole + Duration::from_millis(millis);
        self.guarded.allow_until = allow.map(until);
        self.guarded.refuse_until = refuse.map(until);
        self.guarded.ever_refused |= refuse.is_some();
        for index in 0..self.instances.len() {
            let guard = self.guard();
            let instance = &mut self.instances[index];
            if let Some(engine) = &mut instance.engine {
                engine.guard(guard);
                instance.told = true;
            }
        }
    }

    /// Whether the guard counts a call that starts now.
    pub(super) fn counts(&self, run: &[Record]) -> bool {
        let run: Vec<&Record> = run.iter().collect();
        let is_allowed = self
            .guarded
            .allow_until
            .is_some_and(|until| self.now < until);
        self.plan.guard.is_some() && !is_allowed && !taking(&run).is_empty()
    }

    /// A call starts that takes something away.
    pub(super) fn check_guard_at_start(&mut self, run: &[Record]) -> Checked {
        if self
            .guarded
            .refuse_until
            .is_some_and(|until| self.now < until)
        {
            return Err(format!("{run:?} is called though it is refused"));
        }
        self.guarded.started.push((self.now, run[0].user));
        self.check_guard(&self.guarded.started, "called")
    }

    /// The API has taken it.
    pub(super) fn check_guard_at_loss(&mut self, run: &[Record]) -> Checked {
        self.guarded.lost.push((self.now, run[0].user));
        self.check_guard(&self.guarded.lost, "stripped")
    }

    fn check_guard(&self, when: &[(Instant, u64)], what: &str) -> Checked {
        let Some(plan) = self.plan.guard else {
            return Ok(());
        };
        let lately = when
            .iter()
            .rev()
            .take_while(|(at, _)| *at + plan.window > self.now);
        let users: BTreeSet<u64> = lately.map(|(_, user)| *user).collect();
        if users.len() > plan.max_users as usize {
            return Err(format!(
                "{} users were {what} within {:?}, at {:?}: {users:?}",
                users.len(),
                plan.window,
                self.now - self.start
            ));
        }
        Ok(())
    }

    /// Whether an update can have been refused.
    pub(super) fn may_be_held_back(&self, record: &Record) -> bool {
        self.guarded.ever_refused && record.strips != 0
    }
}
