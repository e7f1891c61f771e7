//! An outcome: the event that says how a record ended.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::error::ApiError;
use crate::model::event::{Identity, TraceContext};
use crate::model::record::{Header, Place};
use crate::model::user::{IdForm, UserId, UserValue};
use crate::model::{reason, text};
use engine::End;
use engine::verdict::Reason;

/// The bytes that each part of an event's identity takes at most: it may come from headers as long
/// as a record allows, and an outcome that the broker does not take would stop the service.
const MAX_IDENTITY_BYTES: usize = 8192;

/// As long as most payloads are, or longer.
const USUAL_BYTES: usize = 512;

/// How a record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The API confirmed the update.
    Delivered,
    /// The update's changes were delivered inside a later update of the same user.
    Merged,
    /// The update is undeliverable and is in the dead-letter topic.
    DeadLettered,
    /// The dead letter was put back on the update topic.
    Replayed,
    /// The dead letter was not sent again, since newer updates have overwritten its every change.
    Superseded,
}

impl Kind {
    /// Every kind, in the documented order.
    pub const ALL: [Kind; 5] = [
        Kind::Delivered,
        Kind::Merged,
        Kind::DeadLettered,
        Kind::Replayed,
        Kind::Superseded,
    ];

    /// An ending's kind, and the reason if it is a dead letter.
    pub fn of(end: End) -> (Kind, Option<Reason>) {
        match end {
            End::Delivered => (Kind::Delivered, None),
            End::Merged { .. } => (Kind::Merged, None),
            End::Dead(reason) => (Kind::DeadLettered, Some(reason)),
        }
    }

    /// The kind's name in outcomes and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Delivered => "delivered",
            Kind::Merged => "merged",
            Kind::DeadLettered => "dead_lettered",
            Kind::Replayed => "replayed",
            Kind::Superseded => "superseded",
        }
    }
}

/// The data of an outcome event. What is not known is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomeData {
    /// How the record ended.
    pub outcome: Kind,
    /// Why it is undeliverable, if it is.
    #[serde(default, with = "reason")]
    #[schemars(schema_with = "reason::names_or_null")]
    pub reason: Option<Reason>,
    /// The target, or `unclaimed` for a record that no target takes.
    pub target: String,
    /// The user's id at that target: a number if its API numbers users, else a string.
    pub user: Option<UserValue>,
    /// The names of the fields to change, in their order: the first 64, the first 64 characters of
    /// each.
    #[schemars(length(max = 64))]
    pub fields: Option<Vec<String>>,
    /// The update event's identity, as far as it could be read.
    pub event: EventIdentity,
    /// The position of the record that ended.
    pub record: RecordPlace,
    /// The calls made for this update, logins apart.
    pub attempts: u32,
    /// The status of the API's last answer.
    #[schemars(range(min = 100, max = 999))]
    pub http_status: Option<u16>,
    /// The position of the later update (`merged`) or of the replayed record (`replayed`).
    pub into: Option<RecordPlace>,
    /// The error, cut to 2 KiB.
    pub error: Option<ApiError>,
    /// When the service read the record, in UTC.
    #[schemars(extend("format" = "date-time"))]
    pub received_at: String,
    /// When the record's ending was known, in UTC.
    #[schemars(extend("format" = "date-time"))]
    pub finished_at: String,
}

/// The update event's identity inside an outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventIdentity {
    /// The CloudEvents `id`.
    pub id: Option<String>,
    /// The CloudEvents `source`.
    pub source: Option<String>,
    /// The CloudEvents `type`.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
}

impl From<&Identity> for EventIdentity {
    fn from(identity: &Identity) -> Self {
        let part = |part: &Option<String>| {
            part.as_ref()
                .map(|part| text::cut(part, MAX_IDENTITY_BYTES).into_owned())
        };
        EventIdentity {
            id: part(&identity.id),
            source: part(&identity.source),
            event_type: part(&identity.event_type),
        }
    }
}

/// A record's place inside an outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecordPlace {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    #[schemars(range(min = 0))]
    pub partition: i32,
    /// The offset in that partition.
    #[schemars(range(min = 0))]
    pub offset: i64,
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl From<&Place> for RecordPlace {
    fn from(place: &Place) -> Self {
        RecordPlace {
            topic: place.topic.to_string(),
            partition: place.partition,
            offset: place.offset,
        }
    }
}

/// The `ce_source` of a target's outcomes.
pub fn source(group_id: &str, target: &str) -> String {
    format!("/user-courier/{group_id}/{target}")
}

/// All that an outcome tells.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The outcome's id ([`outcome_id`]).
    pub id: Uuid,
    /// The service's group id, without the target.
    pub group_id: &'a str,
    /// The target, or `unclaimed`.
    pub target: &'a str,
    /// The position of the record that ended.
    pub place: &'a Place,
    /// How it ended.
    pub kind: Kind,
    /// Why it is undeliverable, if it is.
    pub reason: Option<Reason>,
    /// The user, if known.
    pub user: Option<&'a UserId>,
    /// The form of ids in the API of the target, if there is one.
    pub id_form: Option<IdForm>,
    /// The names of the changed fields, if known ([`crate::model::event::Event::fields`]).
    pub fields: Option<Vec<String>>,
    /// The event's sender and type, as far as known.
    pub identity: &'a Identity,
    /// The calls made for this update.
    pub attempts: u32,
    /// The status of the last answer.
    pub http_status: Option<u16>,
    /// The place that took it on.
    pub into: Option<&'a Place>,
    /// The error. Secrets are masked before it comes here.
    pub error: Option<ApiError>,
    /// When the record was read.
    pub received_at: Timestamp,
    /// When its ending was known.
    pub finished_at: Timestamp,
    /// Its trace context.
    pub trace: Option<&'a TraceContext>,
}

/// The outcome as a Kafka message in CloudEvents' binary mode: headers and value. Its key is the
/// update's.
pub fn message(facts: Facts<'_>) -> (Vec<Header>, Vec<u8>) {
    let finished_at = timestamp(facts.finished_at);
    let headers = headers(&facts, &finished_at);
    let data = data(facts, finished_at);
    // Strings, numbers and lists of them always have a JSON form, so the error cannot occur.
    let mut payload = Vec::with_capacity(USUAL_BYTES);
    let written = serde_json::to_writer(&mut payload, &data);
    debug_assert!(written.is_ok());
    (headers, payload)
}

/// The id of a record's outcome for one target: the same whenever it is computed.
pub fn outcome_id(group_id: &str, target: &str, place: &Place) -> Uuid {
    Uuid::new_v5(
        &Uuid::NAMESPACE_URL,
        format!("user-courier:{group_id}.{target}/{place}").as_bytes(),
    )
}

/// A point in time as outcomes and dead letters write it: UTC, with milliseconds.
pub fn timestamp(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn headers(facts: &Facts<'_>, finished_at: &str) -> Vec<Header> {
    let Facts {
        group_id,
        target,
        kind,
        ..
    } = facts;
    let mut headers = vec![
        Header::text("ce_specversion", "1.0"),
        Header::text("ce_id", facts.id.to_string()),
        Header::text("ce_source", source(group_id, target)),
        Header::text("ce_type", format!("user-courier.update.{}", kind.as_str())),
        Header::text("ce_time", finished_at),
        Header::text("content-type", "application/json"),
    ];
    if let Some(user) = facts.user {
        headers.push(Header::text("ce_subject", subject(target, user)));
    }
    headers.extend(
        facts
            .trace
            .into_iter()
            .flat_map(TraceContext::headers)
            .map(|(name, value)| Header::text(name, value)),
    );
    headers
}

/// The `ce_subject` of a user's outcomes.
pub fn subject(target: &str, user: &UserId) -> String {
    // Nothing in a number has to be encoded, and most ids are one.
    if user.as_number().is_some() {
        return format!("{target}/users/{user}");
    }
    let user = user.to_string();
    format!("{target}/users/{}", text::percent_encoded(&user))
}

/// The target and the user that a `ce_subject` names.
pub fn of_subject(subject: &str) -> Option<(&str, UserId)> {
    let (target, user) = subject.rsplit_once("/users/")?;
    Some((target, UserId::text(&text::percent_decoded(user)?)?))
}

fn data(facts: Facts<'_>, finished_at: String) -> OutcomeData {
    OutcomeData {
        outcome: facts.kind,
        reason: facts.reason,
        target: facts.target.to_owned(),
        user: facts.user.map(|user| user.value(facts.id_form)),
        fields: facts.fields,
        event: facts.identity.into(),
        record: facts.place.into(),
        attempts: facts.attempts,
        http_status: facts.http_status,
        into: facts.into.map(RecordPlace::from),
        error: facts.error.map(ApiError::cut),
        received_at: timestamp(facts.received_at),
        finished_at,
    }
}

#[cfg(test)]
mod tests;
