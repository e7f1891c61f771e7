//! The tally: what a plan comes to.

use std::collections::BTreeMap;

use crate::operator::history::Chosen;
use crate::operator::plan::PlannedAction;

/// How many dead letters of each target and reason are to be dealt with in which way.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By target and reason, then by action.
    pub counts: BTreeMap<(String, &'static str), BTreeMap<PlannedAction, usize>>,
    sums: BTreeMap<PlannedAction, usize>,
}

impl Tally {
    /// One more.
    pub fn add(&mut self, one: &Chosen, action: PlannedAction) {
        *self
            .counts
            .entry((one.target.to_string(), one.reason.as_str()))
            .or_default()
            .entry(action)
            .or_default() += 1;
        *self.sums.entry(action).or_default() += 1;
    }

    /// How many of them in that way.
    pub fn of(&self, action: PlannedAction) -> usize {
        self.sums.get(&action).copied().unwrap_or(0)
    }
}
