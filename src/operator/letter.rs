//! A letter: one record of the dead-letter topic.

use crate::model::dead_letter::{
    self, ALTERED, DeadLetter, OMITTED, REPLAY_COUNT, REPLAY_OF, TIMESTAMP,
};
use crate::model::record::{Header, Place, Record};

/// A dead letter as it is on its topic.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Why it is one.
    pub facts: DeadLetter,
    /// The record, with the headers that say so.
    pub record: Record,
}

impl Letter {
    /// Reads a record of the dead-letter topic. `None` if it is no dead letter of this service.
    pub fn read(record: Record) -> Option<Self> {
        let mut letter = Letter {
            facts: DeadLetter::read(&record.headers)?,
            record,
        };
        // A compacted topic wants a key: the record has none.
        if letter.is_altered("key") && !letter.is_shortened() {
            letter.record.key = None;
        }
        Some(letter)
    }

    /// Its position.
    pub fn place(&self) -> &Place {
        &self.record.place
    }

    /// Whether its topic did not take the whole record, which then is on the update topic only.
    pub fn is_shortened(&self) -> bool {
        let omitted = self
            .record
            .headers
            .iter()
            .any(|header| header.name == OMITTED);
        omitted || self.is_altered("value") || self.is_altered("headers")
    }

    fn is_altered(&self, part: &str) -> bool {
        // The last: if headers were copied unchanged, those of an earlier failure come before ours.
        let header = self
            .record
            .headers
            .iter()
            .rfind(|header| header.name == ALTERED);
        let parts = header.and_then(|header| std::str::from_utf8(header.value.as_deref()?).ok());
        parts.is_some_and(|parts| parts.split(',').any(|altered| altered == part))
    }
}

impl Letter {
    /// When its record was written, in milliseconds since 1970: by what it says itself, and before
    /// it failed for sure.
    pub fn written_ms(&self) -> Option<i64> {
        // The last one is ours, as in `DeadLetter::read`.
        let header = self
            .record
            .headers
            .iter()
            .rfind(|header| header.name == TIMESTAMP);
        let text = header.and_then(|header| std::str::from_utf8(header.value.as_deref()?).ok());
        let own = if header.is_some() {
            text.and_then(|text| text.parse().ok())
        } else {
            self.record.timestamp_ms
        };
        own.map(|own: i64| own.min(self.facts.failed_at.as_millisecond()))
    }
}

/// The dead letter that a replayed record was, as its header names it: `Some(None)` if the header's
/// value is no position.
pub fn replay_of(record: &Record) -> Option<Option<Place>> {
    let header = record
        .headers
        .iter()
        .find(|header| header.name == REPLAY_OF)?;
    let text = header
        .value
        .as_deref()
        .and_then(|value| std::str::from_utf8(value).ok());
    Some(text.and_then(|text| text.parse().ok()))
}

/// The headers under which the record goes back to the update topic: its own, and its origin.
/// `replays` counts this replay too.
pub fn headers_to_send(record: &Record, letter: &Place, replays: u32) -> Vec<Header> {
    let is_old = |header: &&Header| header.name == REPLAY_OF || header.name == REPLAY_COUNT;
    let own = record
        .headers
        .iter()
        .filter(|header| dead_letter::kept(header) && !is_old(header));
    let new = [
        Header::text(REPLAY_OF, letter.to_string()),
        Header::text(REPLAY_COUNT, replays.to_string()),
    ];
    own.cloned().chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_of_a_letter_is_not_taken_for_its_record() {
        let place: Place = "letters/1/7".parse().unwrap();
        let letter = |altered: &str| {
            let added = [
                ("__connect.errors.topic", "updates"),
                ("__connect.errors.partition", "1"),
                ("__connect.errors.offset", "4711"),
                ("__connect.errors.exception.message", ""),
                ("dlq.reason", "rejected"),
                ("dlq.target", "valt"),
                ("dlq.attempts", "1"),
                ("dlq.failed_at", "2026-11-22T09:00:00Z"),
                ("dlq.replays", "0"),
                ("dlq.altered", altered),
            ];
            let headers = added
                .map(|(name, value)| Header::text(name, value))
                .to_vec();
            let key = Some(b"updates/1/4711".to_vec());
            Letter::read(Record {
                place: place.clone(),
                key,
                value: None,
                timestamp_ms: None,
                headers,
                verbatim_headers: None,
            })
            .unwrap()
        };
        for (altered, has_key, is_shortened) in [
            ("key", false, false),
            ("error", true, false),
            ("value", true, true),
            ("headers", true, true),
            ("key,value", true, true),
        ] {
            let letter = letter(altered);
            assert_eq!(
                (letter.record.key.is_some(), letter.is_shortened()),
                (has_key, is_shortened),
                "{altered}"
            );
        }
    }

    #[test]
    fn headers_of_earlier_failures_and_replays_do_not_pile_up() {
        let names = [
            "ce_id",
            "replay-of",
            "dlq.reason",
            "x",
            "replay-count",
            "__connect.errors.topic",
            "x",
        ];
        let place: Place = "letters/1/7".parse().unwrap();
        let record = Record {
            place: place.clone(),
            key: None,
            value: None,
            timestamp_ms: None,
            headers: names.map(|name| Header::text(name, "1")).to_vec(),
            verbatim_headers: None,
        };
        let sent = headers_to_send(&record, &place, 2);
        let sent: Vec<_> = sent
            .iter()
            .map(|header| (&*header.name, header.value.as_deref().unwrap()))
            .collect();
        let wanted: [(&str, &[u8]); 5] = [
            ("ce_id", b"1"),
            ("x", b"1"),
            ("x", b"1"),
            ("replay-of", b"letters/1/7"),
            ("replay-count", b"2"),
        ];
        assert_eq!(sent, wanted);
    }
}
