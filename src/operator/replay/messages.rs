//! The messages of a replay: the update that goes back, and the outcome that says so.

use jiff::Timestamp;

use crate::kafka::reader::Spot;
use crate::kafka::{Message, MessageKind};
use crate::model::event::{self, TraceContext};
use crate::model::outcome::{self, Facts, Kind};
use crate::model::record::Place;
use crate::operator::changes;
use crate::operator::letter::headers_to_send;
use crate::operator::replay::{Item, Replay};

impl Replay<'_, '_> {
    pub(super) fn update(&self, item: &Item<'_>) -> Message {
        // It comes from a header, in which a sender may have written anything.
        let replays = item.one.replays.saturating_add(1);
        Message {
            // The partition of the user's other updates, even if the sender's key says otherwise.
            partition: (item.letter.facts.origin.topic == self.desk.updates.name)
                .then(|| self.history.home(item.one))
                .filter(|partition| *partition < self.desk.updates.partitions),
            key: item.content.key.clone(),
            value: item.value.clone(),
            headers: headers_to_send(&item.content, item.letter.place(), replays),
            ..Message::new(
                MessageKind::Update,
                item.letter.place().clone(),
                self.desk.updates.name.to_string(),
            )
        }
    }

    pub(super) fn outcome(&self, item: &Item<'_>, into: Option<Spot>) -> Message {
        let facts = &item.letter.facts;
        let decoded = event::decode(&item.content);
        let identity = match &decoded {
            Ok(event) => &event.identity,
            Err(undecodable) => &undecodable.identity,
        };
        let parts = if into.is_some() {
            &item.step.sent
        } else {
            &item.step.left_out
        };
        let fields = changes::names(&item.one.parts, parts);
        let now = Timestamp::now();
        let into = into.map(|(partition, offset)| Place {
            topic: self.desk.updates.name.clone(),
            partition,
            offset,
        });
        let group_id = &self.desk.kafka.group_id;
        let (headers, value) = outcome::message(Facts {
            id: outcome::outcome_id(group_id, &facts.target, item.letter.place()),
            group_id,
            target: &facts.target,
            place: item.letter.place(),
            kind: if into.is_some() {
                Kind::Replayed
            } else {
                Kind::Superseded
            },
            reason: None,
            user: facts.user.as_ref(),
            id_form: self.desk.judge.id_form(&facts.target),
            fields: (!fields.is_empty()).then_some(fields),
            identity,
            attempts: facts.attempts,
            http_status: facts.http_status,
            into: into.as_ref(),
            error: None,
            received_at: now,
            finished_at: now,
            trace: TraceContext::of(&item.content).as_ref(),
        });
        let new = Message::new(
            MessageKind::Outcome,
            item.letter.place().clone(),
            self.desk.kafka.topics.outcomes.clone(),
        );
        let mut message = Message {
            key: item.content.key.clone(),
            value: Some(value),
            headers,
            ..new
        };
        for refusal in self.refusals.of_outcome(item.one.spot) {
            message.alter(*refusal);
        }
        message
    }
}
