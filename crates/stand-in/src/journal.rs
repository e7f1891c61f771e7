//! The journal: every call in the order of its arrival, and who was being called at the same time.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::api::Purpose;
use super::message::Request;
use super::user::User;

/// One call as the API saw it. Holds what was sent, secrets included, so its `Debug` leaves the
/// body out.
#[derive(Clone, Serialize)]
pub struct Call {
    /// Its number, counted from 0 over the stand-in's life.
    pub number: u64,
    /// When it had been read.
    pub at: Timestamp,
    /// The user it updates; none for a login and for a route that the API does not have.
    pub user: Option<User>,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The JSON body of an update; `null` for a login and if it was no JSON.
    pub body: Value,
    /// The header `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The header `traceparent`.
    pub traceparent: Option<String>,
    /// The status it was answered with; none while it waits, and if no answer was given.
    pub status: Option<u16>,
    /// It changed the user's state.
    pub applied: bool,
    /// The calls in progress for this user when it arrived, itself included. More than 1 breaks the
    /// order.
    pub concurrent: u32,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("number", &self.number)
            .field("path", &self.path)
            .field("status", &self.status)
            .field("applied", &self.applied)
            .field("concurrent", &self.concurrent)
            .finish_non_exhaustive()
    }
}

/// The counts since the start. `DELETE` of the journal does not reset them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Updates that arrived.
    pub updates: u64,
    /// Updates that changed a user's state.
    pub applied: u64,
    /// Logins that arrived.
    pub logins: u64,
    /// Calls to other routes.
    pub others: u64,
    /// Updates in progress now.
    pub in_flight: u32,
    /// The most updates that were ever in progress at once.
    pub peak_in_flight: u32,
    /// Updates that arrived while another one of the same user was in progress.
    pub overlaps: u64,
    /// Connections accepted.
    pub connections: u64,
}

/// The latest calls, and who is in progress.
#[derive(Default)]
pub(super) struct Journal {
    calls: VecDeque<Call>,
    arrived: u64,
    in_progress: HashMap<User, u32>,
    pub(super) stats: Stats,
}

impl Journal {
    /// Notes a call that arrived and returns its number.
    pub(super) fn arrive(&mut self, request: &Request, purpose: &Purpose, size: usize) -> u64 {
        let number = self.arrived;
        self.arrived += 1;
        let concurrent = self.count(purpose);
        while self.calls.len() >= size.max(1) {
            self.calls.pop_front();
        }
        if size > 0 {
            let header = |name| request.header(name).map(str::to_owned);
            self.calls.push_back(Call {
                number,
                at: Timestamp::now(),
                user: purpose.user().cloned(),
                method: request.parts.method.to_string(),
                path: request.path().to_owned(),
                body: match purpose {
                    Purpose::Login => Value::Null,
                    Purpose::Update(_) | Purpose::Other => request.json.clone().unwrap_or_default(),
                },
                idempotency_key: header("idempotency-key"),
                traceparent: header("traceparent"),
                status: None,
                applied: false,
                concurrent,
            });
        }
        number
    }

    fn count(&mut self, purpose: &Purpose) -> u32 {
        let stats = &mut self.stats;
        match purpose {
            Purpose::Login => stats.logins += 1,
            Purpose::Other => stats.others += 1,
            Purpose::Update(user) => {
                stats.updates += 1;
                stats.in_flight += 1;
                stats.peak_in_flight = stats.peak_in_flight.max(stats.in_flight);
                let concurrent = self.in_progress.entry(user.clone()).or_insert(0);
                *concurrent += 1;
                stats.overlaps += u64::from(*concurrent > 1);
                return *concurrent;
            }
        }
        1
    }

    /// Notes that a call changed its user's state, which may be before it is answered.
    pub(super) fn apply(&mut self, number: u64) {
        self.stats.applied += 1;
        if let Some(call) = self.call(number) {
            call.applied = true;
        }
    }

    /// Notes that a call is over: answered with that status, or without an answer.
    pub(super) fn leave(&mut self, number: u64, purpose: &Purpose, status: Option<u16>) {
        if let Some(call) = self.call(number) {
            call.status = status;
        }
        let Purpose::Update(user) = purpose else {
            return;
        };
        self.stats.in_flight -= 1;
        if let Entry::Occupied(mut count) = self.in_progress.entry(user.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// The calls remembered, oldest first.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    /// Forgets the calls remembered so far.
    pub(super) fn clear(&mut self) {
        self.calls.clear();
    }

    // The numbers remembered are without gaps unless the journal was switched off meanwhile.
    fn call(&mut self, number: u64) -> Option<&mut Call> {
        let at = self
            .calls
            .binary_search_by_key(&number, |call| call.number)
            .ok()?;
        self.calls.get_mut(at)
    }
}
