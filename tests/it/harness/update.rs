//! An update event as an upstream system writes it, in either of the two CloudEvents modes.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::harness::kafka::Message;

/// Which of the CloudEvents modes of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Structured,
    Binary,
}

/// An update event, good unless it is made otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) mode: Mode,
    pub(crate) key: String,
    /// `id`, `source`, `type`, `specversion` and extensions.
    pub(crate) attributes: Map<String, Value>,
    pub(crate) data: Value,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Update {
    /// An update that names its target. The key is the user.
    pub(crate) fn new(target: &str, user: u64, changes: Value) -> Self {
        Self::of_data(
            &user.to_string(),
            json!({ "target": target, "user": user, "changes": changes }),
        )
    }

    /// An update with data of any kind.
    pub(crate) fn of_data(key: &str, data: Value) -> Self {
        let attributes = json!({
            "specversion": "1.0", "id": Uuid::new_v4().to_string(),
            "source": "/tests/it", "type": "com.example.user.updated",
        });
        let Value::Object(attributes) = attributes else {
            unreachable!("written as an object above")
        };
        Update {
            mode: Mode::Structured,
            key: key.to_owned(),
            attributes,
            data,
            headers: Vec::new(),
        }
    }

    pub(crate) fn valt(user: u64, name: &str) -> Self {
        Self::new("valt", user, json!({ "display_name": name }))
    }

    pub(crate) fn aipix(user: u64, permissions: &[u32]) -> Self {
        Self::new("aipix", user, json!({ "permissions": permissions }))
    }

    /// In binary mode.
    pub(crate) fn binary(mut self) -> Self {
        self.mode = Mode::Binary;
        self
    }

    /// With this attribute, such as `expirytime`.
    pub(crate) fn with(mut self, attribute: &str, value: impl Into<Value>) -> Self {
        self.attributes.insert(attribute.to_owned(), value.into());
        self
    }

    /// With this record header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    /// As an event in structured form.
    pub(crate) fn event(&self) -> Value {
        let mut event = self.attributes.clone();
        event.insert("data".to_owned(), self.data.clone());
        Value::Object(event)
    }

    /// As a record.
    pub(crate) fn message(&self) -> Message {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let mut headers = self.headers.clone();
        let value = match self.mode {
            Mode::Structured => {
                headers.push((
                    "content-type".to_owned(),
                    text("application/cloudevents+json"),
                ));
                self.event()
            }
            Mode::Binary => {
                headers.push(("content-type".to_owned(), text("application/json")));
                for (name, value) in &self.attributes {
                    let value = value.as_str().expect("attributes of text");
                    headers.push((format!("ce_{name}"), text(value)));
                }
                self.data.clone()
            }
        };
        Message {
            key: text(&self.key),
            value: Some(value.to_string().into_bytes()),
            headers,
            timestamp: None,
        }
    }
}
