//! An outcome event, read strictly: whatever is not documented fails the test.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use stand_in::User;
use uuid::Uuid;

use crate::harness::kafka::{Message, Place};
use crate::harness::schema;

/// An outcome event: its CloudEvents attributes, its key and its data.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) id: Uuid,
    pub(crate) source: String,
    pub(crate) event_type: String,
    pub(crate) subject: Option<String>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) traceparent: Option<String>,
    pub(crate) tracestate: Option<String>,
    pub(crate) data: Data,
}

/// The data of an outcome.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Data {
    pub(crate) outcome: String,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) reason: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) target: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) user: Option<User>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) fields: Option<Vec<String>>,
    pub(crate) event: Event,
    pub(crate) record: Place,
    pub(crate) attempts: u32,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) http_status: Option<u16>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) into: Option<Place>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) error: Option<Error>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) received_at: Option<Timestamp>,
    pub(crate) finished_at: Timestamp,
}

/// A text as one segment of a URL's path.
fn segment(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

/// Which event it was.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) id: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) source: Option<String>,
    #[serde(rename = "type", deserialize_with = "Option::deserialize")]
    pub(crate) event_type: Option<String>,
}

/// What went wrong.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Error {
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, Vec<String>>,
}

impl Outcome {
    /// Reads a record of the outcome topic, and checks what holds for every outcome.
    #[track_caller]
    pub(crate) fn read(message: &Message, group_id: &str) -> Self {
        let attribute = |name: &str| message.header(&format!("ce_{name}")).map(str::to_owned);
        let value = message.value.as_deref().expect("an outcome has a value");
        let data: Data = serde_json::from_slice(value).unwrap_or_else(|error| {
            panic!(
                "not an outcome: {error}: {}",
                String::from_utf8_lossy(value)
            )
        });
        schema::check_outcome(&serde_json::from_slice(value).expect("an outcome is JSON"));
        let attributes = message.headers.iter().filter_map(|(name, value)| {
            let value = std::str::from_utf8(value.as_deref()?).expect("a header of text");
            Some((name.strip_prefix("ce_")?.to_owned(), value.into()))
        });
        schema::check_cloud_event(&attributes.collect());
        let outcome = Outcome {
            id: attribute("id")
                .expect("ce_id")
                .parse()
                .expect("ce_id is a UUID"),
            source: attribute("source").expect("ce_source"),
            event_type: attribute("type").expect("ce_type"),
            subject: attribute("subject"),
            key: message.key.clone(),
            traceparent: message.header("traceparent").map(str::to_owned),
            tracestate: message.header("tracestate").map(str::to_owned),
            data,
        };
        assert_eq!(message.header("ce_specversion"), Some("1.0"));
        assert_eq!(message.header("content-type"), Some("application/json"));
        outcome.check(group_id);
        outcome
    }

    #[track_caller]
    fn check(&self, group_id: &str) {
        let Data {
            outcome,
            target,
            user,
            record,
            ..
        } = &self.data;
        let target = target
            .as_deref()
            .expect("an outcome always has a target, if only `unclaimed`");
        let Place {
            topic,
            partition,
            offset,
        } = record;
        let name = format!("user-courier:{group_id}.{target}/{topic}/{partition}/{offset}");
        assert_eq!(self.id, Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()));
        assert_eq!(self.source, format!("/user-courier/{group_id}/{target}"));
        assert_eq!(self.event_type, format!("user-courier.update.{outcome}"));
        assert_eq!(
            self.subject,
            user.as_ref()
                .map(|user| format!("{target}/users/{}", segment(&user.to_string())))
        );
        assert_eq!(
            self.data.reason.is_some(),
            outcome == "dead_lettered",
            "{self:?}"
        );
    }

    /// The user's number, if its id is one.
    pub(crate) fn user(&self) -> Option<u64> {
        self.data.user.as_ref().and_then(User::number)
    }

    /// The outcome and its reason, such as `dead_lettered rejected`.
    pub(crate) fn ending(&self) -> String {
        match &self.data.reason {
            Some(reason) => format!("{} {reason}", self.data.outcome),
            None => self.data.outcome.clone(),
        }
    }
}
