//! A topic's id: what tells a topic from one that had its name before.

use std::fmt;
use std::str::FromStr;

use crate::base64;

/// The 16 bytes that Kafka gives a topic when it is created. Written as Kafka's own tools write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// Brokers before Kafka 2.8 tell none, and older versions of this service wrote none down.
    pub const UNKNOWN: TopicId = TopicId([0; 16]);

    /// Whether it is known.
    pub fn is_known(self) -> bool {
        self != TopicId::UNKNOWN
    }

    /// Whether these are certainly two topics. An unknown id differs from none.
    pub fn differs(self, other: TopicId) -> bool {
        self.is_known() && other.is_known() && self != other
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(22);
        base64::encode(&self.0, &mut text);
        f.write_str(&text)
    }
}

/// A text that is no topic's id.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no topic id")
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for TopicId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let bytes = base64::decode(text).ok_or(NotAnId)?;
        bytes.try_into().map(TopicId).map_err(|_| NotAnId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_kafka_writes_it_and_read_back() {
        let id: TopicId = "G1hdFbGhSJCsPnAR1Kc_8Q".parse().unwrap();
        assert_eq!(
            (id.to_string().as_str(), id.0[0]),
            ("G1hdFbGhSJCsPnAR1Kc_8Q", 0x1b)
        );
        for wrong in [
            "",
            "G1hdFbGhSJCsPnAR1Kc_8",
            "G1hdFbGhSJCsPnAR1Kc/8Q",
            "G1hdFbGhSJCsPnAR1Kc_8QAA",
        ] {
            assert_eq!(wrong.parse::<TopicId>(), Err(NotAnId), "{wrong}");
        }
    }

    #[test]
    fn only_two_known_ids_differ() {
        let [one, other] = [TopicId([1; 16]), TopicId([2; 16])];
        assert!(one.differs(other));
        assert!(
            !one.differs(one) && !one.differs(TopicId::UNKNOWN) && !TopicId::UNKNOWN.differs(other)
        );
    }
}
