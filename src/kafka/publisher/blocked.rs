//! Blocked partitions: those that a transaction could not be ended for. Until more of a partition's
//! replicas are in sync, Kafka neither commits nor aborts what was on its way there, and whoever
//! tries again blocks one more transactional id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::kafka::findings::Report;
use crate::kafka::message::Message;
use crate::kafka::transaction::Replicas;

/// It is looked so often whether a blocked partition is better.
const LOOK: Duration = Duration::from_secs(1);
/// After this time a blocked partition is tried again, however it looks: somebody may have lowered
/// `min.insync.replicas`.
const LONGEST: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct BlockedPartition {
    topic: String,
    number: usize,
    /// How many the topic has.
    of: usize,
    in_sync: usize,
    since: Instant,
}

impl BlockedPartition {
    fn is_for(&self, message: &Message) -> bool {
        let number = match (message.partition, &message.key) {
            (Some(number), _) => usize::try_from(number).ok(),
            (None, Some(key)) => Some((murmur2(key) & 0x7fff_ffff) as usize % self.of),
            // The client puts it wherever it can.
            (None, None) => None,
        };
        self.topic == message.topic && number == Some(self.number)
    }
}

/// The partitions that are blocked now.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    partitions: Vec<BlockedPartition>,
    /// Partitions to blame if the last transaction does not end.
    suspects: BTreeSet<(String, usize)>,
    looked: Option<Instant>,
}

impl Blocked {
    /// Notes which partitions took nothing of a transaction that was aborted, though others did: if
    /// none did, perhaps it could not even begin, and the one before is to blame.
    pub(super) fn suspect(&mut self, messages: &[Message], reports: &[Report]) {
        if reports.iter().all(|report| report.result.is_err()) {
            return;
        }
        self.suspects = reports
            .iter()
            .filter(|report| report.result.is_err())
            .filter_map(|report| {
                let topic = messages.get(report.number)?.topic.clone();
                Some((topic, usize::try_from(report.partition).ok()?))
            })
            .collect();
    }

    /// A transaction was committed, so the one before it has ended.
    pub(super) fn acquit(&mut self) {
        self.suspects.clear();
    }

    /// A transaction did not end: those of the suspects that miss replicas are blocked. Returns how
    /// many are so now that were not before.
    pub(super) fn confirm(
        &mut self,
        replicas: impl Fn(&str) -> Option<Vec<Replicas>>,
        now: Instant,
    ) -> usize {
        let before = self.partitions.len();
        let mut topics = BTreeMap::new();
        for (topic, number) in std::mem::take(&mut self.suspects) {
            let found = topics
                .entry(topic.clone())
                .or_insert_with(|| replicas(&topic).unwrap_or_default());
            let is_known =
                |known: &BlockedPartition| known.topic == topic && known.number == number;
            if let Some(Replicas { all, in_sync }) = found.get(number).copied()
                && in_sync < all
                && !self.partitions.iter().any(is_known)
            {
                self.partitions.push(BlockedPartition {
                    topic,
                    number,
                    of: found.len(),
                    in_sync,
                    since: now,
                });
            }
        }
        self.partitions.len() - before
    }

    /// Lets those go that have more replicas in sync than when they were noted, and those that were
    /// noted long ago.
    pub(super) fn look(&mut self, replicas: impl Fn(&str) -> Option<Vec<Replicas>>, now: Instant) {
        let is_early = |looked: Instant| now.saturating_duration_since(looked) < LOOK;
        if self.partitions.is_empty() || self.looked.is_some_and(is_early) {
            return;
        }
        self.looked = Some(now);
        let topics: BTreeSet<String> = self
            .partitions
            .iter()
            .map(|each| each.topic.clone())
            .collect();
        for topic in topics {
            let found = replicas(&topic);
            let is_better = |known: &BlockedPartition| {
                found
                    .as_ref()
                    .and_then(|found| found.get(known.number))
                    .is_some_and(|now| now.in_sync > known.in_sync)
            };
            self.partitions.retain(|known| {
                known.topic != topic
                    || !is_better(known) && now.saturating_duration_since(known.since) < LONGEST
            });
        }
    }

    /// Whether a message would go to one of them.
    pub(super) fn is_for(&self, message: &Message) -> bool {
        self.partitions.iter().any(|each| each.is_for(message))
    }
}

/// The hash that Kafka's clients reckon a key's partition with.
fn murmur2(key: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ key.len() as u32;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MIX);
        word ^= word >> 24;
        hash = hash.wrapping_mul(MIX) ^ word.wrapping_mul(MIX);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let last = rest
            .iter()
            .rev()
            .fold(0, |last, byte| last << 8 | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(MIX);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(MIX);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaErrorCode as Code;

    use super::*;
    use crate::kafka::message::MessageKind;

    const WHOLE: Replicas = Replicas { all: 3, in_sync: 3 };
    const TWO: Replicas = Replicas { all: 3, in_sync: 2 };

    fn letter(key: Option<&str>) -> Message {
        Message {
            key: key.map(|key| key.as_bytes().to_vec()),
            ..Message::new(
                MessageKind::DeadLetter,
                "updates/0/1".parse().unwrap(),
                "letters".to_owned(),
            )
        }
    }

    fn failed(number: usize, partition: i32) -> Report {
        Report {
            number,
            partition,
            result: Err(Code::PurgeInflight),
        }
    }

    /// Kafka's own tests of its hash name these.
    #[test]
    fn keys_have_the_hash_of_other_clients() {
        let hash = |key: &str| murmur2(key.as_bytes()) as i32;
        assert_eq!(
            [hash("21"), hash("foobar"), hash("a-little-bit-long-string")],
            [-973_932_308, -790_332_482, -985_981_536]
        );
    }

    #[test]
    fn what_took_nothing_and_misses_replicas_is_blocked_until_it_has_more_or_long_ago() {
        let start = Instant::now();
        // The partition of "21" is 0 of 4, that of "foobar" 2.
        let messages = [letter(Some("21")), letter(Some("foobar")), letter(None)];
        let places = |blocked: &Blocked| {
            messages
                .iter()
                .map(|message| blocked.is_for(message))
                .collect::<Vec<_>>()
        };
        let taken = Report {
            result: Ok(5),
            ..failed(2, 1)
        };
        let reports = [failed(0, 0), failed(1, 2), taken];
        let now = |_: &str| Some(vec![TWO, TWO, WHOLE, WHOLE]);
        let mut blocked = Blocked::default();
        let confirm = |blocked: &mut Blocked| {
            blocked.suspect(&messages, &reports);
            blocked.suspect(&messages, &[failed(0, 1), failed(1, 1), failed(2, 1)]);
            assert_eq!(places(blocked), [false; 3], "nothing is proven");
            blocked.confirm(now, start)
        };
        assert_eq!(confirm(&mut blocked), 1);
        assert_eq!(places(&blocked), [true, false, false]);
        assert_eq!(blocked.confirm(now, start), 0, "of a later transaction");
        blocked.suspect(&messages, &reports);
        assert_eq!(blocked.confirm(now, start), 0, "known");
        blocked.look(now, start);
        blocked.look(|_| Some(vec![WHOLE; 4]), start + LOOK / 2);
        assert!(blocked.is_for(&messages[0]), "looked at too early");
        blocked.look(|_| None, start + LOOK);
        assert!(blocked.is_for(&messages[0]), "nobody knows");
        blocked.look(|_| Some(vec![WHOLE; 4]), start + 2 * LOOK);
        assert_eq!(places(&blocked), [false; 3]);
        confirm(&mut blocked);
        blocked.look(now, start + LONGEST);
        assert_eq!(places(&blocked), [false; 3]);
        blocked.suspect(&messages, &reports);
        blocked.acquit();
        assert_eq!(blocked.confirm(now, start), 0, "the next one was committed");
    }
}
