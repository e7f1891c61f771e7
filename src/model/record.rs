//! A record: what Kafka handed over, before anyone has looked into it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rdkafka::message::OwnedHeaders;

/// A record that seems older when it is read has a wrong time, rather than having waited: topics
/// keep records for 7 days unless told otherwise.
const BELIEVED_DAYS: i64 = 30;

/// A record's position, written `topic/partition/offset`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The offset in that partition.
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// A text that should have been a place and is not.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a place: write it as TOPIC/PARTITION/OFFSET, such as user-updates/3/4711")]
pub struct NotAPlace(String);

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let parse = || {
            let (rest, offset) = text.rsplit_once('/')?;
            let (topic, partition) = rest.rsplit_once('/')?;
            let partition: i32 = partition.parse().ok()?;
            let offset: i64 = offset.parse().ok()?;
            (!topic.is_empty() && partition >= 0 && offset >= 0).then(|| Place {
                topic: topic.into(),
                partition,
                offset,
            })
        };
        parse().ok_or_else(|| NotAPlace(text.to_owned()))
    }
}

/// A header of a record. Its value may be anything, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name, as text.
    pub name: Cow<'static, str>,
    /// The value's bytes; `None` is Kafka's null.
    pub value: Option<Vec<u8>>,
}

impl Header {
    /// A header whose value is text.
    pub fn text(name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        Header {
            name: name.into(),
            value: Some(value.into().into_bytes()),
        }
    }
}

/// A record of the update topic, copied out of the client's buffers.
#[derive(Clone, Debug)]
pub struct Record {
    /// The record's position.
    pub place: Place,
    /// The key's bytes: the user, by agreement with the senders.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub value: Option<Vec<u8>>,
    /// The record's own time, in milliseconds since 1970, if it has one.
    pub timestamp_ms: Option<i64>,
    /// The headers whose names are text, in order.
    pub headers: Vec<Header>,
    /// All headers as they came, kept only if a name is not UTF-8: such a name can be copied on
    /// into a dead letter, but not read.
    pub verbatim_headers: Option<OwnedHeaders>,
}

impl Record {
    /// The value of the first header of that name, if it is text.
    pub fn header_text(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.name == name)?;
        std::str::from_utf8(header.value.as_deref()?).ok()
    }

    /// When it was written, in milliseconds since 1970, as far as its own time can be believed: a
    /// sender's clock may say anything. A time that lies in the future or more than
    /// 30 days back when the record is read is taken for the time of reading.
    pub fn written_ms(&self, read_ms: i64) -> i64 {
        let believed = read_ms.saturating_sub(BELIEVED_DAYS * 24 * 3600 * 1000)..=read_ms;
        self.timestamp_ms
            .filter(|stamp| believed.contains(stamp))
            .unwrap_or(read_ms)
    }

    /// Memory that it takes, in bytes.
    pub fn size(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self
            .headers
            .iter()
            .map(|header| size_of::<Header>() + header.name.len() + length(&header.value));
        // How long they are cannot be asked, since one of their names cannot be read: as much as a
        // record may have by default.
        let verbatim = if self.verbatim_headers.is_some() {
            LONGEST_RECORD
        } else {
            0
        };
        size_of::<Self>()
            + length(&self.key)
            + length(&self.value)
            + headers.sum::<usize>()
            + verbatim
    }
}

/// The longest record that a broker takes unless it is set otherwise, in bytes.
const LONGEST_RECORD: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_cannot_be_is_taken_for_the_time_of_reading() {
        let read_ms = 1_795_338_000_000;
        let day = 24 * 3600 * 1000;
        let written = |timestamp_ms| {
            Record {
                timestamp_ms,
                ..record()
            }
            .written_ms(read_ms)
        };
        for stamp in [read_ms, read_ms - 1, read_ms - 30 * day] {
            assert_eq!(written(Some(stamp)), stamp);
        }
        for stamp in [0, -1, i64::MIN, read_ms - 31 * day, read_ms + 1, i64::MAX] {
            assert_eq!(written(Some(stamp)), read_ms, "{stamp}");
        }
        assert_eq!(written(None), read_ms);
    }

    fn record() -> Record {
        Record {
            place: Place {
                topic: "a".into(),
                partition: 0,
                offset: 0,
            },
            key: None,
            value: None,
            timestamp_ms: None,
            headers: Vec::new(),
            verbatim_headers: None,
        }
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place: Place = "a/b/3/4711".parse().unwrap();
        assert_eq!(
            (&*place.topic, place.partition, place.offset),
            ("a/b", 3, 4711)
        );
        assert_eq!(place.to_string(), "a/b/3/4711");
        for wrong in ["", "a/1", "a/x/1", "/1/2", "a/-1/2", "a/1/-2"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
