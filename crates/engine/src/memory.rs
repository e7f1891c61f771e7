//! Memory: consumption pauses while it is full, and goes on once half of it is free.

use crate::engine::Engine;
use crate::{Action, Settings};

impl<U, F> Engine<U, F> {
    pub(super) fn pause_or_resume(&mut self) {
        let Settings {
            max_waiting,
            max_bytes,
            ..
        } = self.settings;
        if self.paused || self.counted() >= max_waiting || self.entries.bytes() >= max_bytes {
            self.make_room();
        }
        let (counted, bytes, deferred) = (
            self.counted(),
            self.entries.bytes(),
            self.deferred.is_full(),
        );
        let full = match self.breath {
            Some(most) => self.entries.len() >= most || deferred,
            None => counted >= max_waiting || bytes >= max_bytes || deferred,
        };
        if !self.paused && full {
            self.paused = true;
            self.actions.push(Action::Pause);
        } else if self.paused
            && counted <= max_waiting / 2
            && bytes <= max_bytes / 2
            && self.deferred.has_room()
        {
            self.breath = None;
            self.paused = false;
            self.actions.push(Action::Resume);
        } else if self.paused && self.is_choked() && !self.deferred.is_full() {
            self.breathe();
        }
    }

    /// Memory is full of what cannot be settled before the updates that fail do: nobody else can be
    /// called until then.
    pub(super) fn is_choked(&self) -> bool {
        self.choked
            && self.paused
            && self.health.is_flowing()
            && self.calls.is_empty()
            && !self.lanes.any_ready()
    }

    /// Reads one update past the bound, so that somebody else is called: only a delivery shows that
    /// the updates that fail are themselves at fault, and ends them. Once a failure is proven,
    /// another delivery tells no more of it: so no more are read until the next attempt has failed.
    /// There may be any number of updates that need no call, so this has an end too.
    fn breathe(&mut self) {
        let most = self.settings.max_bytes.saturating_mul(2);
        if self.entries.waiting() == 0 || !self.proof.is_wanted() || self.entries.bytes() >= most {
            return;
        }
        self.breath = Some(self.entries.len() + 1);
        self.paused = false;
        self.actions.push(Action::Resume);
    }
}
