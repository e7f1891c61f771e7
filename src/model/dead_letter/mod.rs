//! A dead letter: a record that cannot be delivered, kept as it came, with headers that say why.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::model::error::ApiError;
use crate::model::outcome::timestamp;
use crate::model::record::{Header, Place, Record};
use crate::model::user::{MAX_CHARS, UserId};
use crate::model::{reason, text};
use engine::TopicId;
use engine::verdict::Reason;

/// The header that counts how often an update was replayed, on the update topic.
pub const REPLAY_COUNT: &str = "replay-count";
/// The header that names the dead letter which a replayed update was, on the update topic.
pub const REPLAY_OF: &str = "replay-of";
/// The header that says how many bytes the value had that was left out, since the dead-letter topic
/// did not take it.
pub const OMITTED: &str = "dlq.omitted_bytes";
/// The header with the record's own timestamp, in milliseconds since 1970. The dead letter's is
/// when it was given up.
pub const TIMESTAMP: &str = "dlq.timestamp";
/// The header that names the parts which are not those of the record, since the dead-letter topic
/// did not take them.
pub const ALTERED: &str = "dlq.altered";
/// The header that says in words why the record is undeliverable.
pub const MESSAGE: &str = "__connect.errors.exception.message";
/// The bytes of a dead letter's message at most.
const MAX_MESSAGE_BYTES: usize = 1024;

/// The added headers of a dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The record's position on the update topic.
    pub origin: Place,
    /// Why it is undeliverable.
    pub reason: Reason,
    /// In words ([`describe`]).
    pub message: String,
    /// The target, or `unclaimed`.
    pub target: String,
    /// The user, if known.
    pub user: Option<UserId>,
    /// The calls made for it.
    pub attempts: u32,
    /// The status of the last answer.
    pub http_status: Option<u16>,
    /// When the first call was made, if any was.
    pub first_attempt_at: Option<Timestamp>,
    /// When it was given up.
    pub failed_at: Timestamp,
    /// How often it had been replayed before.
    pub replays: u32,
    /// The id of the record's update topic: another topic may have its name since.
    pub topic_id: TopicId,
    /// The record's own time, in milliseconds since 1970, if it had one.
    pub timestamp_ms: Option<i64>,
}

impl DeadLetter {
    /// The headers to add after those of the record that are [`kept`].
    pub fn headers(&self) -> Vec<Header> {
        let headers = FailureHeaders {
            topic: self.origin.topic.to_string(),
            partition: self.origin.partition.to_string(),
            offset: self.origin.offset.to_string(),
            stage: Stage::of(self.reason),
            message: text::cut(&self.message, MAX_MESSAGE_BYTES).into_owned(),
            reason: self.reason.as_str(),
            target: self.target.clone(),
            user: self.user.as_ref().map(UserId::to_string),
            attempts: self.attempts.to_string(),
            http_status: self.http_status.map(|status| status.to_string()),
            first_attempt_at: self.first_attempt_at.map(timestamp),
            failed_at: timestamp(self.failed_at),
            replays: self.replays.to_string(),
            topic_id: self.topic_id.is_known().then(|| self.topic_id.to_string()),
            timestamp: self.timestamp_ms.map(|millis| millis.to_string()),
            omitted_bytes: None,
            altered: None,
        };
        // A struct of strings is always an object of strings in JSON.
        let Ok(Value::Object(headers)) = serde_json::to_value(headers) else {
            return Vec::new();
        };
        let text = |(name, value): (String, Value)| Some(Header::text(name, value.as_str()?));
        headers.into_iter().filter_map(text).collect()
    }

    /// Reads them back. `None` if the record is not a dead letter of this service: other tools
    /// share such topics.
    pub fn read(headers: &[Header]) -> Option<Self> {
        let text = |name: &str| {
            // The last: if headers were copied unchanged, those of an earlier failure come before
            // ours.
            let header = headers.iter().rfind(|header| header.name == name)?;
            std::str::from_utf8(header.value.as_deref()?).ok()
        };
        let time = |name: &str| text(name)?.parse::<Timestamp>().ok();
        let reason = text("dlq.reason")?;
        Some(DeadLetter {
            origin: Place {
                topic: text("__connect.errors.topic")?.into(),
                partition: text("__connect.errors.partition")?.parse().ok()?,
                offset: text("__connect.errors.offset")?.parse().ok()?,
            },
            reason: Reason::ALL
                .into_iter()
                .find(|known| known.as_str() == reason)?,
            message: text(MESSAGE)?.to_owned(),
            target: text("dlq.target")?.to_owned(),
            user: text("dlq.user").and_then(UserId::text),
            attempts: text("dlq.attempts")?.parse().ok()?,
            http_status: text("dlq.http_status").and_then(|status| status.parse().ok()),
            first_attempt_at: time("dlq.first_attempt_at"),
            failed_at: time("dlq.failed_at")?,
            replays: text("dlq.replays")?.parse().ok()?,
            topic_id: text("dlq.topic_id")
                .and_then(|id| id.parse().ok())
                .unwrap_or_default(),
            timestamp_ms: text("dlq.timestamp").and_then(|millis| millis.parse().ok()),
        })
    }
}

/// Whether a header of the record goes on into its dead letter: all do but those of an earlier
/// failure, which are replaced.
pub fn kept(header: &Header) -> bool {
    !(header.name.starts_with("__connect.errors.") || header.name.starts_with("dlq."))
}

/// How often the record has been replayed: 0 unless it names the dead letter that it was, and
/// counts.
pub fn replays(record: &Record) -> u32 {
    let count = || record.header_text(REPLAY_COUNT)?.parse().ok();
    record
        .header_text(REPLAY_OF)
        .and_then(|place| place.parse::<Place>().ok())
        .and_then(|_| count())
        .unwrap_or(0)
}

/// The error in one line: the message, then what the API said of each field. Secrets are masked
/// before it comes here.
pub fn describe(error: &ApiError) -> String {
    let mut line = error.message.clone();
    for (name, messages) in &error.fields {
        if line.len() > MAX_MESSAGE_BYTES {
            break;
        }
        line.push_str(&format!(
            "; {}: {}",
            text::name(name, 64),
            messages.join(", ")
        ));
    }
    text::cut(&line, MAX_MESSAGE_BYTES).into_owned()
}

/// The stage at which the record failed, in Kafka Connect's terms, so that tools made for its dead
/// letters sort these too.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Stage {
    /// The value could not be read.
    ValueConverter,
    /// No target was found for it.
    Transformation,
    /// It could not be delivered.
    TaskPut,
}

impl Stage {
    fn of(reason: Reason) -> Self {
        match reason {
            Reason::Undecodable => Stage::ValueConverter,
            Reason::Unroutable => Stage::Transformation,
            Reason::InvalidChanges
            | Reason::Rejected
            | Reason::UserNotFound
            | Reason::AttemptsExhausted
            | Reason::Expired
            | Reason::Protected
            | Reason::HeldBack => Stage::TaskPut,
        }
    }
}

/// The headers added to a dead letter: all text, each at most once, in place of those of an earlier
/// failure.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "DeadLetterHeaders")]
pub(crate) struct FailureHeaders {
    /// The update topic.
    #[serde(rename = "__connect.errors.topic")]
    topic: String,
    /// The record's partition there.
    #[serde(rename = "__connect.errors.partition")]
    #[schemars(regex(pattern = "^[0-9]+$"))]
    partition: String,
    /// The record's offset there.
    #[serde(rename = "__connect.errors.offset")]
    #[schemars(regex(pattern = "^[0-9]+$"))]
    offset: String,
    /// The stage at which it failed.
    #[serde(rename = "__connect.errors.stage")]
    stage: Stage,
    /// Why, in words: 1 KiB at most.
    #[serde(rename = "__connect.errors.exception.message")]
    message: String,
    /// Why, as one of the reasons.
    #[serde(rename = "dlq.reason")]
    #[schemars(schema_with = "reason::names")]
    reason: &'static str,
    /// The target, or `unclaimed`.
    #[serde(rename = "dlq.target")]
    target: String,
    /// The user's id at that target; left out if it is not known.
    #[serde(rename = "dlq.user", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = MAX_CHARS), default)]
    user: Option<String>,
    /// The calls made for it, logins apart.
    #[serde(rename = "dlq.attempts")]
    #[schemars(regex(pattern = "^[0-9]+$"))]
    attempts: String,
    /// The status of the API's last answer; left out if there was none.
    #[serde(rename = "dlq.http_status", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^[1-9][0-9]{2}$"), default)]
    http_status: Option<String>,
    /// When the first call was made, in UTC; left out if none was.
    #[serde(
        rename = "dlq.first_attempt_at",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "String", extend("format" = "date-time"), default)]
    first_attempt_at: Option<String>,
    /// When it was given up, in UTC.
    #[serde(rename = "dlq.failed_at")]
    #[schemars(extend("format" = "date-time"))]
    failed_at: String,
    /// How often it had been replayed before.
    #[serde(rename = "dlq.replays")]
    #[schemars(regex(pattern = "^[0-9]+$"))]
    replays: String,
    /// The id of the update topic, as Kafka's tools show it: it tells whether the topic was
    /// recreated since. Left out if the brokers report none.
    #[serde(rename = "dlq.topic_id", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^[A-Za-z0-9_-]{22}$"), default)]
    topic_id: Option<String>,
    /// The record's own timestamp, in milliseconds since 1970; left out if it has none. The dead
    /// letter's timestamp is the time at which it was given up.
    #[serde(rename = "dlq.timestamp", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^-?[0-9]+$"), default)]
    timestamp: Option<String>,
    /// How long the value was, if the dead-letter topic did not take it.
    #[serde(rename = "dlq.omitted_bytes", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^[0-9]+$"), default)]
    omitted_bytes: Option<String>,
    /// The parts that differ from the record's, since the dead-letter topic did not take them:
    /// `key` (replaced by the record's position), `value` (left out), `headers` (left out except
    /// those added here), `error` (the message above is shortened), separated by commas.
    #[serde(rename = "dlq.altered", skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "String",
        regex(pattern = "^(key|value|headers|error)(,(value|headers|error))*$"),
        default
    )]
    altered: Option<String>,
}

#[cfg(test)]
mod tests;
