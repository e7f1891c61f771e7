//! The bar: updates for which no call may be made, whatever they say. They become dead letters in
//! their turn, behind what waits for the same user.

use std::fmt;
use std::sync::Arc;

use crate::engine::Engine;
use crate::verdict::Reason;
use crate::{End, Ticket, Work};

/// Tells of an update whether it is barred.
pub type Barred<U> = Arc<dyn Fn(&U) -> bool + Send + Sync>;

/// Which updates are barred; none unless told.
pub(super) struct Bar<U>(Option<Barred<U>>);

impl<U> Default for Bar<U> {
    fn default() -> Self {
        Bar(None)
    }
}

impl<U> fmt::Debug for Bar<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bar").field(&self.0.is_some()).finish()
    }
}

impl<U> Bar<U> {
    /// Whether there may be no call for it.
    pub(super) fn holds(&self, update: &U) -> bool {
        self.0.as_ref().is_some_and(|barred| barred(update))
    }
}

impl<U, F> Engine<U, F> {
    /// These updates are barred from now on, and no others: also those that wait already. A call in
    /// flight ends as usual, and is not made again.
    pub fn bar(&mut self, barred: Option<Barred<U>>) {
        self.bar = Bar(barred);
        let is_barred = |update: &U| self.bar.holds(update);
        let waiting: Vec<Ticket> = self.entries.in_lanes(is_barred);
        for ticket in &waiting {
            self.entries.give_up(*ticket, Reason::Protected);
        }
        for ticket in waiting {
            // What stands behind another update ends with it, or has just done so.
            let entry = &self.entries[ticket];
            let is_head = |user| self.lanes.head(user) == Some(ticket);
            if entry.is_in_lane() && entry.user().is_some_and(is_head) {
                self.end(ticket, End::Dead(Reason::Protected));
            }
        }
    }

    /// What is to be done with an update that arrives.
    pub(super) fn unless_barred(&self, update: &U, work: Work) -> Work {
        match work {
            Work::Call { user, .. } if self.bar.holds(update) => Work::Dead {
                user: Some(user),
                reason: Reason::Protected,
            },
            work => work,
        }
    }
}
