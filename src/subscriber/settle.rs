//! Settling: what ended, as the messages of one transaction.

use std::sync::OnceLock;

use jiff::Timestamp;

use crate::config::Topics;
use crate::http::attempt::Attempt;
use crate::kafka::{Message, MessageKind, Settlement};
use crate::model::dead_letter::{self, DeadLetter};
use crate::model::error::ApiError;
use crate::model::outcome::{self, Kind};
use crate::model::record::Place;
use crate::subscriber::update::Update;
use engine::verdict::Reason;
use engine::{Batch, End, Ending, TopicId};

/// Writes the messages of one subscriber.
pub struct Settler {
    /// The service's group id, without the target.
    pub group_id: String,
    /// The subscriber's name.
    pub subscriber: String,
    /// Where messages go.
    pub topics: Topics,
    /// The update topic that is read. Set when the first partition is assigned.
    pub topic_id: OnceLock<TopicId>,
}

impl Settler {
    /// The batch as a transaction.
    pub fn settlement(&self, batch: &Batch<Update, Attempt>) -> Settlement {
        let mut messages = Vec::with_capacity(batch.endings.len());
        for (number, ending) in batch.endings.iter().enumerate() {
            let finished_at = finished_at(ending);
            let error = error(ending);
            if let End::Dead(reason) = ending.end {
                messages.push(Message {
                    ending: number,
                    ..self.dead_letter(ending, reason, error.as_ref(), finished_at)
                });
            }
            messages.push(Message {
                ending: number,
                ..self.outcome(ending, error, finished_at)
            });
        }
        Settlement {
            batch: batch.id,
            messages,
            commits: batch.commits.clone(),
        }
    }

    fn outcome(
        &self,
        ending: &Ending<Update, Attempt>,
        error: Option<ApiError>,
        finished_at: Timestamp,
    ) -> Message {
        let update = &*ending.update;
        let (kind, reason) = Kind::of(ending.end);
        let into = match ending.end {
            End::Merged { into } => Some(Place {
                offset: into,
                ..update.record.place.clone()
            }),
            End::Delivered | End::Dead(_) => None,
        };
        let place = &update.record.place;
        let id = || outcome::outcome_id(&self.group_id, &self.subscriber, place);
        let (headers, value) = outcome::message(outcome::Facts {
            id: update
                .call
                .as_ref()
                .map_or_else(id, |call| call.idempotency_key),
            group_id: &self.group_id,
            target: &self.subscriber,
            place,
            kind,
            reason,
            user: update.user.as_ref(),
            id_form: update.api.map(|api| api.id_form),
            fields: update.fields(),
            identity: &update.identity,
            attempts: ending.spent.calls,
            http_status: ending
                .facts
                .as_ref()
                .and_then(|attempt| attempt.http_status()),
            into: into.as_ref(),
            error,
            received_at: update.received_at,
            finished_at,
            trace: update.trace().as_deref(),
        });
        let new = Message::new(
            MessageKind::Outcome,
            update.record.place.clone(),
            self.topics.outcomes.clone(),
        );
        Message {
            key: update.record.key.clone(),
            value: Some(value),
            headers,
            ..new
        }
    }

    fn dead_letter(
        &self,
        ending: &Ending<Update, Attempt>,
        reason: Reason,
        error: Option<&ApiError>,
        failed_at: Timestamp,
    ) -> Message {
        let update = &*ending.update;
        let record = &update.record;
        let added = DeadLetter {
            origin: record.place.clone(),
            reason,
            message: error.map(dead_letter::describe).unwrap_or_default(),
            target: self.subscriber.clone(),
            user: update.user.clone(),
            attempts: ending.spent.calls,
            http_status: ending
                .facts
                .as_ref()
                .and_then(|attempt| attempt.http_status()),
            first_attempt_at: update.first_attempt_at.get().copied(),
            failed_at,
            replays: dead_letter::replays(record),
            topic_id: self.topic_id.get().copied().unwrap_or_default(),
            timestamp_ms: record.timestamp_ms,
        }
        .headers();
        // Where a header's name is not UTF-8, all of the record's headers are copied as they stand.
        let kept = record
            .headers
            .iter()
            .filter(|header| record.verbatim_headers.is_none() && dead_letter::kept(header));
        Message {
            key: record.key.clone(),
            value: record.value.clone(),
            headers: kept.cloned().chain(added).collect(),
            verbatim_headers: record.verbatim_headers.clone(),
            // Retention counts from when it was given up, and no topic refuses it for its record's
            // age.
            timestamp_ms: Some(failed_at.as_millisecond()),
            ..Message::new(
                MessageKind::DeadLetter,
                record.place.clone(),
                self.topics.dead_letters.clone(),
            )
        }
    }
}

/// When the ending was known: with the last answer where that decided it, else now.
fn finished_at(ending: &Ending<Update, Attempt>) -> Timestamp {
    let decided_by_answer = !matches!(ending.end, End::Dead(Reason::Expired));
    let answered = ending.facts.as_ref().filter(|_| decided_by_answer);
    answered.map_or_else(Timestamp::now, |attempt| attempt.finished_at)
}

/// Why it is undeliverable, where it is, with secrets masked.
pub fn error(ending: &Ending<Update, Attempt>) -> Option<ApiError> {
    let words = |message: String| {
        Some(ApiError {
            message,
            ..ApiError::default()
        })
    };
    let last = || {
        ending
            .facts
            .as_ref()
            .and_then(|attempt| attempt.error.clone())
    };
    match ending.end {
        End::Delivered | End::Merged { .. } => None,
        End::Dead(Reason::Expired) => {
            words("the event's expirytime passed before it was delivered".to_owned())
        }
        End::Dead(_) => match &ending.update.problem {
            Some(problem) => words(problem.clone()),
            None => last(),
        },
    }
}
