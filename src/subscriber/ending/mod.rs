//! The log's line for each record that has ended, written when its outcome is committed. It has a
//! module of its own, so that these lines can be turned down without any other: `log.level =
//! "info,user_courier::subscriber::ending=warn"`.

use jiff::Timestamp;
use tracing::{Level, enabled};

use crate::http::attempt::Attempt;
use crate::model::dead_letter::describe;
use crate::model::event::TraceContext;
use crate::model::outcome::Kind;
use crate::model::record::Place;
use crate::model::text;
use crate::subscriber::settle::error;
use crate::subscriber::update::Update;
use engine::verdict::Reason;
use engine::{End, Ending};

#[cfg(test)]
mod tests;

/// The bytes of an event's id in a line: senders choose it.
const MAX_ID_BYTES: usize = 256;

/// Logs that the record has ended so. The keys are the names that outcomes have.
pub fn log(target: &str, ending: &Ending<Update, Attempt>) {
    // The level of an event must be known when it is compiled.
    macro_rules! line {
        ($level:expr) => {
            if enabled!($level) {
                let update = &*ending.update;
                let (outcome, reason) = Kind::of(ending.end);
                let place = &update.record.place;
                let into = match ending.end {
                    End::Merged { into } => Some(Place { offset: into, ..place.clone() }),
                    End::Delivered | End::Dead(_) => None,
                };
                let trace = update.trace();
                let trace = trace.as_deref().map(TraceContext::ids);
                let taken = Timestamp::now().as_millisecond() - update.received_at.as_millisecond();
                tracing::event!(
                    $level,
                    target,
                    outcome = outcome.as_str(),
                    reason = reason.map(Reason::as_str),
                    user = update.logged_user(),
                    event.id = update.identity.id.as_deref().map(|id| text::cut(id, MAX_ID_BYTES)).as_deref(),
                    record = %place,
                    into = into.map(tracing::field::display),
                    attempts = ending.spent.calls,
                    http_status = ending.facts.as_ref().and_then(|attempt| attempt.http_status()),
                    error = error(ending).map(|error| describe(&error)),
                    duration_ms = taken.max(0),
                    trace_id = trace.map(|(trace, _)| trace),
                    span_id = trace.map(|(_, span)| span),
                    "settled"
                );
            }
        };
    }
    match ending.end {
        End::Delivered | End::Merged { .. } => line!(Level::INFO),
        End::Dead(_) => line!(Level::WARN),
    }
}
