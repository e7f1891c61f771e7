//! A message to be sent, and what is changed of it if its topic refuses it as it is: as little as
//! may help, one step at a time.

use rdkafka::message::OwnedHeaders;

use crate::model::altered::{AlteredParts, Part};
use crate::model::dead_letter::{self, ALTERED, OMITTED};
use crate::model::outcome::OutcomeData;
use crate::model::record::{Header, Place};
use crate::model::text;

/// An outcome's error is shortened to this many bytes,
const SHORT_ERROR: usize = 100;
/// and, if that does not suffice, each part of its event's identity to this many.
const SHORT_IDENTITY: usize = 64;

/// The kind of a message, which decides what may be changed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// An outcome: it always keeps its data.
    Outcome,
    /// A dead letter: it always keeps the added headers.
    DeadLetter,
    /// An update that is put back: it is sent as it is, or not at all.
    Update,
}

/// Why a topic refuses a message for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MessageRefusal {
    /// It is too large.
    Size,
    /// Its timestamp is too old, or too far in the future.
    Time,
    /// Anything else: a compacted topic wants a key, and a broker may check what it likes.
    Form,
}

impl MessageRefusal {
    /// The advice shown to operators.
    pub fn advice(self) -> &'static str {
        match self {
            MessageRefusal::Size => {
                "raise max.message.bytes of the topic, or message.max.bytes of this service's producers if that is smaller"
            }
            MessageRefusal::Time => {
                "compare the clocks of this machine and the brokers, and the topic's message.timestamp.*.max.ms"
            }
            MessageRefusal::Form => {
                "set cleanup.policy=delete for the topic; if it is so already, look whether the broker checks records"
            }
        }
    }
}

/// A message to be sent within a transaction.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its kind.
    pub kind: MessageKind,
    /// The index, within its batch, of the ending that it reports.
    pub ending: usize,
    /// The record that it reports on.
    pub origin: Place,
    /// The topic it goes to.
    pub topic: String,
    /// The partition; `None` leaves that to the key.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<Header>,
    /// Headers to stand before those, of a record with a name that is not UTF-8.
    pub verbatim_headers: Option<OwnedHeaders>,
    /// Milliseconds since 1970; `None` is now.
    pub timestamp_ms: Option<i64>,
    /// The parts changed so far.
    pub altered: AlteredParts,
    /// The last refusal, if any.
    pub refusal: Option<MessageRefusal>,
}

impl Message {
    /// A message without key, value and headers.
    pub fn new(kind: MessageKind, origin: Place, topic: String) -> Self {
        Message {
            kind,
            ending: 0,
            origin,
            topic,
            partition: None,
            key: None,
            value: None,
            headers: Vec::new(),
            verbatim_headers: None,
            timestamp_ms: None,
            altered: AlteredParts::default(),
            refusal: None,
        }
    }

    /// Takes the next step that may make its topic take it. False: none is left.
    pub fn alter(&mut self, refusal: MessageRefusal) -> bool {
        self.refusal = Some(refusal);
        // A transaction may be late, and a record's own time is told by a header: another one
        // changes nothing.
        if refusal != MessageRefusal::Size && self.timestamp_ms.take().is_some() {
            return true;
        }
        let part = match (self.kind, refusal) {
            (MessageKind::Outcome, MessageRefusal::Size) => self
                .shorten_error()
                .or_else(|| self.drop_key())
                .or_else(|| self.shorten_data()),
            (MessageKind::Outcome, MessageRefusal::Form) => self
                .take_place_for_key()
                .or_else(|| self.shorten_error())
                .or_else(|| self.drop_key()),
            (MessageKind::DeadLetter, MessageRefusal::Size) => self
                .omit_value()
                .or_else(|| self.omit_headers())
                .or_else(|| self.shorten_key())
                .or_else(|| self.shorten_message()),
            (MessageKind::DeadLetter, MessageRefusal::Form) => self
                .take_place_for_key()
                .or_else(|| self.omit_value())
                .or_else(|| self.omit_headers()),
            (MessageKind::Outcome | MessageKind::DeadLetter, MessageRefusal::Time)
            | (MessageKind::Update, _) => None,
        };
        let Some(part) = part else { return false };
        self.altered.insert(part);
        if self.kind == MessageKind::DeadLetter {
            self.headers.retain(|header| header.name != ALTERED);
            self.headers
                .push(Header::text(ALTERED, self.altered.to_string()));
        }
        true
    }

    fn take_place_for_key(&mut self) -> Option<Part> {
        self.key
            .is_none()
            .then(|| self.key = Some(self.origin.to_string().into_bytes()))?;
        Some(Part::Key)
    }

    fn shorten_key(&mut self) -> Option<Part> {
        let place = self.origin.to_string().into_bytes();
        self.key.as_ref().filter(|key| key.len() > place.len())?;
        self.key = Some(place);
        Some(Part::Key)
    }

    /// Once only: a compacted topic wants one in place of what was dropped.
    fn drop_key(&mut self) -> Option<Part> {
        let has_key = self.key.as_ref().is_some_and(|key| !key.is_empty());
        (has_key && !self.altered.has(Part::Key)).then(|| self.key = None)?;
        Some(Part::Key)
    }

    fn omit_value(&mut self) -> Option<Part> {
        let value = self.value.take()?;
        self.headers
            .push(Header::text(OMITTED, value.len().to_string()));
        Some(Part::Value)
    }

    fn omit_headers(&mut self) -> Option<Part> {
        let count = self.headers.len();
        self.headers.retain(|header| !dead_letter::kept(header));
        (self.headers.len() < count || self.verbatim_headers.take().is_some())
            .then_some(Part::Headers)
    }

    /// Shortens a dead letter's error message, the only one of the added headers that can be long.
    fn shorten_message(&mut self) -> Option<Part> {
        let header = self
            .headers
            .iter_mut()
            .find(|header| header.name == dead_letter::MESSAGE)?;
        let words = std::str::from_utf8(header.value.as_deref()?).ok()?;
        let short = text::cut(words, SHORT_ERROR).into_owned().into_bytes();
        (Some(&short) != header.value.as_ref()).then(|| header.value = Some(short))?;
        Some(Part::Error)
    }

    fn shorten_error(&mut self) -> Option<Part> {
        self.rewrite(Part::Error, |data| {
            if let Some(error) = &mut data.error {
                error.message = text::cut(&error.message, SHORT_ERROR).into_owned();
                error.fields.clear();
            }
        })
    }

    fn shorten_data(&mut self) -> Option<Part> {
        self.rewrite(Part::Value, |data| {
            let event = &mut data.event;
            for part in [&mut event.id, &mut event.source, &mut event.event_type]
                .into_iter()
                .flatten()
            {
                *part = text::cut(part, SHORT_IDENTITY).into_owned();
            }
            data.fields = None;
        })
    }

    /// Changes an outcome's data, if that makes it shorter.
    fn rewrite(&mut self, part: Part, change: impl FnOnce(&mut OutcomeData)) -> Option<Part> {
        let value = self.value.as_ref()?;
        let mut data: OutcomeData = serde_json::from_slice(value).ok()?;
        change(&mut data);
        let shorter = serde_json::to_vec(&data)
            .ok()
            .filter(|shorter| shorter.len() < value.len())?;
        self.value = Some(shorter);
        Some(part)
    }

    /// The bytes of a batch that has this message alone and is not compressed. Headers whose names
    /// are not UTF-8 are not counted.
    pub fn size(&self) -> usize {
        const BATCH: usize = 61;
        let bytes =
            |bytes: Option<&[u8]>| bytes.map_or(1, |bytes| varint(bytes.len()) + bytes.len());
        let headers: usize = self
            .headers
            .iter()
            .map(|header| bytes(Some(header.name.as_bytes())) + bytes(header.value.as_deref()))
            .sum();
        // Attributes, and the distances from the batch's first time and offset.
        let record = 3
            + bytes(self.key.as_deref())
            + bytes(self.value.as_deref())
            + varint(self.headers.len())
            + headers;
        BATCH + varint(record) + record
    }
}

/// The bytes that a length takes: seven bits each, one of which is the sign.
fn varint(length: usize) -> usize {
    ((length << 1) | 1).ilog2() as usize / 7 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::error::ApiError;
    use crate::model::outcome::{self, Facts};
    use engine::verdict::Reason;
    use jiff::Timestamp;
    use std::collections::BTreeMap;
    use uuid::Uuid;

    fn message(
        kind: MessageKind,
        key: Option<&[u8]>,
        value: Vec<u8>,
        headers: Vec<Header>,
    ) -> Message {
        let key = key.map(<[u8]>::to_vec);
        let new = Message::new(kind, "updates/3/4711".parse().unwrap(), "topic".to_owned());
        Message {
            key,
            value: Some(value),
            headers,
            timestamp_ms: Some(1),
            ..new
        }
    }

    fn dead_letter(key: Option<&[u8]>) -> Message {
        let added = [
            Header::text("dlq.reason", "rejected"),
            Header::text(dead_letter::MESSAGE, "m".repeat(1000)),
        ];
        message(
            MessageKind::DeadLetter,
            key,
            vec![b'v'; 50],
            [Header::text("x", "y")].into_iter().chain(added).collect(),
        )
    }

    fn an_outcome(key: Option<&[u8]>) -> Message {
        let place: Place = "updates/3/4711".parse().unwrap();
        let identity = crate::model::event::Identity {
            id: Some("i".repeat(500)),
            ..crate::model::event::Identity::default()
        };
        let error = ApiError {
            message: "e".repeat(500),
            fields: BTreeMap::from([("rooms".to_owned(), vec!["no".to_owned()])]),
        };
        let (headers, value) = outcome::message(Facts {
            id: Uuid::nil(),
            group_id: "g",
            target: "valt",
            place: &place,
            kind: outcome::Kind::DeadLettered,
            reason: Some(Reason::Rejected),
            user: None,
            id_form: None,
            fields: Some(vec!["rooms".to_owned()]),
            identity: &identity,
            attempts: 1,
            http_status: Some(422),
            into: None,
            error: Some(error),
            received_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            trace: None,
        });
        message(MessageKind::Outcome, key, value, headers)
    }

    /// The changes made at each step, until none is left.
    fn steps(message: &mut Message, refusal: MessageRefusal) -> Vec<String> {
        let mut steps = Vec::new();
        while message.alter(refusal) {
            steps.push(message.altered.to_string());
            assert!(steps.len() < 10);
        }
        steps
    }

    #[test]
    fn a_dead_letter_loses_its_value_then_its_headers_then_its_key() {
        let key = [b'k'; 100];
        let mut letter = dead_letter(Some(&key));
        assert!(letter.alter(MessageRefusal::Size));
        assert_eq!(
            (&letter.value, letter.key.as_deref(), letter.timestamp_ms),
            (&None, Some(&key[..]), Some(1))
        );
        let header = |letter: &Message, name: &str| {
            letter
                .headers
                .iter()
                .find(|header| header.name == name)
                .and_then(|header| String::from_utf8(header.value.clone()?).ok())
        };
        assert_eq!(
            (
                header(&letter, OMITTED).as_deref(),
                header(&letter, "x").as_deref()
            ),
            (Some("50"), Some("y"))
        );
        assert_eq!(
            steps(&mut letter, MessageRefusal::Size),
            [
                "value,headers",
                "key,value,headers",
                "key,value,headers,error"
            ]
        );
        assert_eq!(letter.key.as_deref(), Some(&b"updates/3/4711"[..]));
        assert_eq!(
            (header(&letter, ALTERED).as_deref(), header(&letter, "x")),
            (Some("key,value,headers,error"), None)
        );
        assert_eq!(
            letter
                .headers
                .iter()
                .filter(|header| header.name == ALTERED)
                .count(),
            1
        );
        assert_eq!(header(&letter, "dlq.reason").as_deref(), Some("rejected"));
    }

    #[test]
    fn a_key_is_given_only_where_a_topic_wants_one() {
        let mut letter = dead_letter(None);
        // Its time first: that changes nothing of it.
        assert_eq!(
            steps(&mut letter, MessageRefusal::Form),
            ["", "key", "key,value", "key,value,headers"]
        );
        let mut large = dead_letter(None);
        assert!(large.alter(MessageRefusal::Size) && large.key.is_none());
        let mut compacted = an_outcome(None);
        compacted.timestamp_ms = None;
        assert!(compacted.alter(MessageRefusal::Form));
        assert_eq!(compacted.key.as_deref(), Some(&b"updates/3/4711"[..]));
    }

    #[test]
    fn an_outcome_loses_its_error_then_its_key_and_never_its_data() {
        let mut outcome = an_outcome(Some(b"key"));
        let (before, whole) = (outcome.clone(), outcome.size());
        assert_eq!(
            steps(&mut outcome, MessageRefusal::Size),
            ["error", "key,error", "key,value,error"]
        );
        let data = |message: &Message| {
            serde_json::from_slice::<OutcomeData>(message.value.as_deref().unwrap()).unwrap()
        };
        let (was, now) = (data(&before), data(&outcome));
        assert_eq!(
            (now.outcome, now.reason, now.record, now.attempts),
            (was.outcome, was.reason, was.record, was.attempts)
        );
        let error = now.error.unwrap();
        assert!(
            error.message.len() <= SHORT_ERROR
                && error.message.ends_with('…')
                && error.fields.is_empty()
        );
        assert!(outcome.key.is_none() && outcome.size() < whole / 2);
        // Then the topic turns out to be compacted as well.
        outcome.timestamp_ms = None;
        assert!(outcome.alter(MessageRefusal::Form) && outcome.key.is_some());
        assert!(!outcome.alter(MessageRefusal::Form));
    }

    #[test]
    fn time_changes_nothing_but_the_time_and_an_update_nothing_at_all() {
        let mut letter = dead_letter(None);
        assert_eq!(steps(&mut letter, MessageRefusal::Time), [""]);
        assert_eq!(
            (letter.timestamp_ms, letter.altered.is_empty()),
            (None, true)
        );
        let mut update = Message {
            kind: MessageKind::Update,
            timestamp_ms: None,
            ..dead_letter(None)
        };
        for refusal in [
            MessageRefusal::Size,
            MessageRefusal::Time,
            MessageRefusal::Form,
        ] {
            assert!(!update.alter(refusal));
        }
    }

    #[test]
    fn a_size_is_that_of_the_batch_which_a_broker_measures() {
        // Kafka 4.3 accepts it with `max.message.bytes` of that value and refuses it with one less.
        let small = Message {
            headers: vec![],
            ..message(MessageKind::Update, Some(b"k"), vec![b'x'; 100], vec![])
        };
        assert_eq!(small.size(), 61 + 2 + 3 + 2 + 102 + 1);
        assert_eq!(
            [
                varint(0),
                varint(63),
                varint(64),
                varint(8191),
                varint(8192)
            ],
            [1, 1, 2, 2, 3]
        );
    }
}
