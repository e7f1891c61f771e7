//! Calls: each is a task of its own, and tells the loop how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use crate::http::attempt::{Attempt, Trace};
use crate::model::event::TraceContext;
use crate::subscriber::update::Update;
use crate::subscriber::{Subscriber, report};
use engine::verdict::{Finding, Verdict};
use engine::{State, Ticket};

/// A call in flight.
pub(super) struct InFlight {
    pub(super) update: Arc<Update>,
    pub(super) task: AbortHandle,
}

impl Subscriber {
    pub(super) fn start_call(
        &mut self,
        ticket: Ticket,
        update: Arc<Update>,
        merged: &[Arc<Update>],
        timeout: Duration,
    ) {
        let Some(caller) = self.caller.clone() else {
            return;
        };
        if self.engine.state() != State::Flowing {
            // Only probes are made then.
            caller.start_anew();
        }
        let (lease, place) = (self.lease.clone(), update.record.place.clone());
        let now = Timestamp::now();
        for update in merged.iter().chain([&update]) {
            let _ = update.first_attempt_at.set(now);
        }
        if let Some(span) = update.span.get() {
            span.carries(
                merged
                    .iter()
                    .filter_map(|merged| merged.span.get().map(|span| &**span)),
            );
        }
        let together = if merged.is_empty() {
            None
        } else {
            update.call_with(merged)
        };
        let finish = Finish {
            ticket,
            sender: self.finish.clone(),
            attempt: None,
        };
        let ids = update.trace.as_ref().map(TraceContext::ids);
        debug!(target = self.name, record = %place, trace_id = ids.map(|(trace, _)| trace), merged = merged.len(), "calling");
        let called = update.clone();
        let call = tokio::spawn(async move {
            let mut finish = finish;
            if let Some(call) = together.as_ref().or(update.call.as_ref()) {
                let left = || {
                    lease
                        .until()
                        .map(|until| until.saturating_duration_since(Instant::now()))
                };
                let leased = || left().filter(|left| *left >= timeout / 2);
                let trace = update
                    .span
                    .get()
                    .map_or(Trace::Passed(update.trace.as_ref()), |span| {
                        Trace::Span(span)
                    });
                finish.attempt = Some(caller.attempt(call, trace, timeout, leased).await);
            }
        });
        self.calls.insert(
            ticket,
            InFlight {
                update: called,
                task: call.abort_handle(),
            },
        );
    }

    pub(super) fn finished(&mut self, ticket: Ticket, attempt: Option<Attempt>) {
        let Some(InFlight { update, .. }) = self.calls.remove(&ticket) else {
            return;
        };
        // If its task panicked, which the log tells, the update is tried again.
        let panicked = Finding {
            verdict: Verdict::Retry { unreachable: false },
            calls: 1,
            of_all: false,
        };
        let finding = attempt.as_ref().map_or(panicked, Attempt::finding);
        let attempt = attempt.unwrap_or_else(Attempt::unknown);
        for call in &attempt.calls {
            self.metrics
                .attempted(call.verdict, &call.status.to_string(), call.duration);
        }
        if attempt.ambiguous {
            self.metrics.ambiguous();
        }
        if attempt.other_user {
            self.metrics.other_user();
            warn!(
                target = self.name,
                "an answer confirmed an update but named another user"
            );
        }
        if let Some(differing) = &attempt.differing {
            self.metrics.differing_answer();
            warn!(
                target = self.name,
                user = update.logged_user(),
                record = %update.record.place,
                "an answer confirmed an update and showed other values than were sent: {differing}"
            );
        }
        if let Some(error) = &attempt.error {
            self.last_error = Some(report::error_of(&update, &attempt, error));
        }
        let counted = self
            .engine
            .finished(ticket, finding, attempt, Instant::now());
        if let Some(failures) = counted {
            self.show_odd(&update, failures);
        }
    }
}

/// Tells the loop how a call ended, also where its task panicked.
struct Finish {
    ticket: Ticket,
    sender: UnboundedSender<(Ticket, Option<Attempt>)>,
    attempt: Option<Attempt>,
}

impl Drop for Finish {
    fn drop(&mut self) {
        // The loop is gone only when nobody waits for the answer.
        let _ = self.sender.send((self.ticket, self.attempt.take()));
    }
}
