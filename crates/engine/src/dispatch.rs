//! Dispatch: which calls start now.

use std::time::{Duration, Instant};

use crate::calls::Run;
use crate::engine::Engine;
use crate::health::State;
use crate::lanes::Standing;
use crate::{Action, Merge, Ticket, UserKey};

/// The sentinel forgets what it saw when it has seen this many users: it watches, it need not
/// remember for ever.
const SENTINEL_USERS: usize = 100_000;

impl<U: Merge, F> Engine<U, F> {
    /// Starts what may start: freely while the target flows, a single probe when one is due.
    pub(super) fn dispatch(&mut self, now: Instant) {
        while self.may_call(now) {
            // A lease that is too short now is extended before long, and the engine is told.
            let Some(timeout) = self.leased_timeout(now) else {
                return;
            };
            let lane = if self.health.is_flowing() {
                let failed_too = self.calls.has_slot_for_failed(self.limit.current());
                match self.guarding.is_holding() {
                    // Nobody else's but of those who have slots.
                    true => self.lanes.take_granted(failed_too),
                    false => self.lanes.take(failed_too),
                }
            } else {
                self.lanes.take_probe(self.health.last_probe())
            };
            // Whoever may be called is called already.
            let Some((user, head)) = lane else { return };
            let run = self.run(user, head, now);
            if !self.passes_guard(user, &run, now) {
                continue;
            }
            self.start(user, run, timeout, now);
        }
    }

    fn start(&mut self, user: UserKey, run: Run, timeout: Duration, now: Instant) {
        for ticket in run.tickets() {
            if let Some(before) = self.entries.start(ticket, now)
                && let Some(failure) = before.failure
            {
                self.proof
                    .retried(failure.started, before.started, now, ticket);
            }
        }
        let update = |ticket: &Ticket| self.entries[*ticket].update.clone();
        let ticket = run.last;
        self.actions.push(Action::Start {
            ticket,
            update: update(&ticket),
            merged: run.earlier.iter().map(update).collect(),
            timeout,
        });
        if !self.health.is_flowing() {
            self.health.probe(ticket, user);
        }
        let of_failed = self.lanes.standing(user) != Standing::Clean;
        if self.overtakes(user, run.head()) | self.calls.start(user, run, of_failed) {
            self.actions.push(Action::OrderViolation);
        }
        self.rate.started(now);
    }
}

impl<U, F> Engine<U, F> {
    /// When a call may start that may not start now, for reasons of time.
    pub(super) fn call_at(&self, now: Instant) -> Option<Instant> {
        if !self.lanes.any_waiting() || self.leased_timeout(now).is_none() {
            return None;
        }
        let rate = self.rate.wait_until(now);
        match self.health.state() {
            State::Probing { .. } => None,
            State::Holding { .. } if self.awaits_slot() => None,
            State::Holding { probe_at, .. } if self.calls.len() < self.settings.max_concurrency => {
                Some(self.ask_at(probe_at).max(rate.unwrap_or(now)))
            }
            State::Holding { .. } => None,
            State::Flowing if self.lanes.any_ready() && self.has_slot() => rate,
            State::Flowing => None,
        }
    }

    fn may_call(&self, now: Instant) -> bool {
        let may = match self.health.state() {
            State::Flowing => self.has_slot(),
            // Calls from before a maximum was lowered may still be in flight.
            State::Holding { probe_at, .. } => {
                !self.awaits_slot()
                    && self.ask_at(probe_at) <= now
                    && self.calls.len() < self.settings.max_concurrency
            }
            State::Probing { .. } => false,
        };
        may && self.rate.wait_until(now).is_none()
    }

    /// Whether nobody is asked how the target is: whoever waits for a slot of the guard is next.
    fn awaits_slot(&self) -> bool {
        self.guarding.is_on() && (self.guarding.is_holding() || self.lanes.parked_count() > 0)
    }

    /// Whether a call may start as far as the limits of concurrency go.
    fn has_slot(&self) -> bool {
        // No more slots of the guard are taken than calls can be made. While the target holds over
        // it, only who has one is called.
        let parked = match self.guarding.is_on() && !self.guarding.is_holding() {
            true => self.lanes.parked_count(),
            false => 0,
        };
        self.calls.len() + parked < self.settings.max_concurrency
            && self.calls.slots() + parked < self.limit.current()
    }

    /// When the next probe may start. A user who has not failed may be asked before it is due, to
    /// show whether the failures are those of some users.
    fn ask_at(&self, probe_at: Instant) -> Instant {
        let clean_at = self
            .health
            .clean_at()
            .filter(|_| self.lanes.any_clean_ready(self.health.last_probe()));
        clean_at.map_or(probe_at, |clean_at| clean_at.min(probe_at))
    }

    /// How long a call that starts now may take: the partition's next owner may begin when the
    /// lease ends, and no call of ours may be under way then. `None`: too little of the lease is
    /// certain.
    fn leased_timeout(&self, now: Instant) -> Option<Duration> {
        let left = self.lease_until?.saturating_duration_since(now);
        let timeout = self.settings.request_timeout.min(left);
        (timeout * 2 >= self.settings.request_timeout).then_some(timeout)
    }

    /// Whether a call that began with a later update of this user was started before this one.
    /// Tickets count up in the order of arrival.
    fn overtakes(&mut self, user: UserKey, ticket: Ticket) -> bool {
        if self.sentinel.len() >= SENTINEL_USERS {
            self.sentinel.clear();
        }
        self.sentinel
            .insert(user, ticket)
            .is_some_and(|last| last > ticket)
    }
}
