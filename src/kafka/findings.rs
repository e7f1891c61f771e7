//! Findings: what the delivery reports of a transaction that failed say of its messages. librdkafka
//! reports one message's refusal for each message of its batch, so most of what fails is innocent.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::kafka::message::{Message, MessageRefusal};

/// The delivery report of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Its place among those that were sent.
    pub(crate) number: usize,
    /// The partition, or -1 if it reached none.
    pub(crate) partition: i32,
    /// Its offset.
    pub(crate) result: Result<i64, Code>,
}

/// The subject of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// One message, perhaps another one of its batch.
    Message(MessageRefusal),
    /// The topic.
    Topic,
    /// A timeout: no answer came.
    Time,
    /// The transaction, which failed for another reason.
    Transaction,
}

fn subject(code: Code) -> Subject {
    match code {
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::QueueFull => Subject::Message(MessageRefusal::Size),
        Code::InvalidTimestamp => Subject::Message(MessageRefusal::Time),
        Code::InvalidRecord | Code::PolicyViolation => Subject::Message(MessageRefusal::Form),
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::UnsupportedCompressionType
        | Code::UnsupportedForMessageFormat => Subject::Topic,
        Code::MessageTimedOut
        | Code::RequestTimedOut
        | Code::OperationTimedOut
        | Code::TimedOutQueue => Subject::Time,
        _ => Subject::Transaction,
    }
}

/// A topic, and a partition of it.
type Spot<'a> = (&'a str, i32);

/// If nothing at all is taken in time, so little is not too much for the link: its partitions take
/// nothing.
const LITTLE: usize = 64 << 10;

/// The conclusions from the delivery reports of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Messages that were certainly refused for themselves.
    pub(crate) guilty: Vec<(usize, MessageRefusal)>,
    /// Batches must be smaller than so many bytes to tell more.
    pub(crate) narrow: Option<usize>,
    /// Topics that refuse all messages, and how.
    pub(crate) topics: BTreeMap<String, Code>,
    /// Messages of topic-partitions that took nothing in time, though others did, or there was
    /// little to take.
    pub(crate) stuck: Vec<usize>,
    /// Nothing else was found than that time was too short for so much. Then what is stuck may be
    /// only late.
    pub(crate) late: bool,
}

impl Findings {
    /// Reads the reports. `batch_bytes` is what the client fills a batch with at the most; `late`
    /// says that time was up.
    pub(crate) fn of(
        messages: &[Message],
        reports: &[Report],
        batch_bytes: usize,
        late: bool,
    ) -> Self {
        let mut findings = Findings {
            late,
            ..Findings::default()
        };
        let mut spots: BTreeMap<Spot<'_>, Vec<(usize, MessageRefusal)>> = BTreeMap::new();
        // Spots with a report that names another record as the refused one: whoever is refused
        // there is so for itself.
        let mut named = BTreeSet::new();
        for Report {
            number,
            partition,
            result,
        } in reports
        {
            let (Some(message), Err(code)) = (messages.get(*number), result) else {
                continue;
            };
            let spot = (message.topic.as_str(), *partition);
            match subject(*code) {
                Subject::Message(refusal) => {
                    spots.entry(spot).or_default().push((*number, refusal))
                }
                Subject::Topic => {
                    findings.topics.insert(message.topic.clone(), *code);
                }
                Subject::Time => findings.late = true,
                Subject::Transaction if *code == Code::InvalidDifferentRecord => {
                    named.insert(spot);
                }
                Subject::Transaction => {}
            }
        }
        for (spot, refused) in spots {
            findings.look(messages, &refused, named.contains(&spot), batch_bytes);
        }
        let sent = reports
            .iter()
            .filter_map(|report| messages.get(report.number));
        let is_little = sent.map(Message::size).sum::<usize>() <= LITTLE;
        if findings.late {
            findings.stuck = stuck(messages, reports, is_little);
        }
        let nothing_else =
            findings.guilty.is_empty() && findings.narrow.is_none() && findings.topics.is_empty();
        findings.late &= nothing_else && (!is_little || findings.stuck.is_empty());
        findings
    }

    /// Sorts the messages refused at one spot: guilty ones, and unclear ones, which need smaller
    /// batches.
    fn look(
        &mut self,
        messages: &[Message],
        refused: &[(usize, MessageRefusal)],
        named: bool,
        batch_bytes: usize,
    ) {
        let is_alone = |number: usize| {
            refused.len() == 1 || messages[number].size() > batch_bytes || batch_bytes <= 1
        };
        // A broker that names none of several may mean all of them: those without a key have it in
        // common that a compacted topic wants one.
        let keyless = refused.iter().all(|(number, refusal)| {
            *refusal == MessageRefusal::Form && messages[*number].key.is_none()
        });
        let is_guilty = |number: usize, refusal| {
            is_alone(number) || refusal != MessageRefusal::Size && (named || keyless)
        };
        let (guilty, unclear): (Vec<_>, Vec<_>) = refused
            .iter()
            .partition(|(number, refusal)| is_guilty(*number, *refusal));
        self.guilty.extend(guilty);
        if !unclear.is_empty() {
            let together: usize = unclear
                .iter()
                .map(|(number, _)| messages[*number].size())
                .sum();
            let narrow = (together.min(batch_bytes) / 4).max(1);
            self.narrow = Some(self.narrow.map_or(narrow, |other| other.min(narrow)));
        }
    }
}

/// Messages of spots that took nothing, if other spots did or there was little to take.
fn stuck(messages: &[Message], reports: &[Report], is_little: bool) -> Vec<usize> {
    let spot = |report: &Report| {
        messages
            .get(report.number)
            .map(|message| (message.topic.as_str(), report.partition))
    };
    let took: BTreeSet<Spot<'_>> = reports
        .iter()
        .filter(|report| report.result.is_ok())
        .filter_map(spot)
        .collect();
    let is_stuck = |report: &&Report| {
        report.result.is_err() && spot(report).is_some_and(|spot| !took.contains(&spot))
    };
    if took.is_empty() && !is_little {
        Vec::new()
    } else {
        reports
            .iter()
            .filter(is_stuck)
            .map(|report| report.number)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::message::MessageKind;

    const OK: Result<i64, Code> = Ok(7);

    fn messages(sizes: &[(&str, Option<&[u8]>, usize)]) -> Vec<Message> {
        let message =
            |(ending, (topic, key, size)): (usize, &(&str, Option<&[u8]>, usize))| Message {
                ending,
                key: key.map(<[u8]>::to_vec),
                value: Some(vec![b'x'; *size]),
                ..Message::new(
                    MessageKind::Outcome,
                    "updates/0/1".parse().unwrap(),
                    (*topic).to_owned(),
                )
            };
        sizes.iter().enumerate().map(message).collect()
    }

    fn three(key: Option<&'static [u8]>) -> Vec<Message> {
        messages(&[("a", key, 100); 3])
    }

    fn reports(results: &[Result<i64, Code>]) -> Vec<Report> {
        (0..)
            .zip(results)
            .map(|(number, result)| Report {
                number,
                partition: 0,
                result: *result,
            })
            .collect()
    }

    const KEY: Option<&[u8]> = Some(b"key");

    fn found(messages: &[Message], reports: &[Report]) -> Findings {
        Findings::of(messages, reports, 1_000_000, false)
    }

    #[test]
    fn the_report_that_names_the_guilty_one_acquits_the_others() {
        let other = Err(Code::InvalidDifferentRecord);
        for (code, refusal) in [
            (Code::InvalidRecord, MessageRefusal::Form),
            (Code::InvalidTimestamp, MessageRefusal::Time),
        ] {
            let found = found(&three(KEY), &reports(&[other, Err(code), other]));
            assert_eq!(
                found,
                Findings {
                    guilty: vec![(1, refusal)],
                    ..Findings::default()
                }
            );
        }
    }

    #[test]
    fn a_batch_that_is_too_large_says_nothing_of_its_messages() {
        let large = Err(Code::MessageSizeTooLarge);
        let all = found(&three(KEY), &reports(&[large; 3]));
        let together = 3 * three(KEY)[0].size();
        assert_eq!(
            all,
            Findings {
                narrow: Some(together / 4),
                ..Findings::default()
            }
        );
        // Each was in a batch of its own.
        let each = Findings::of(
            &three(KEY),
            &reports(&[large, OK, large]),
            together / 4,
            false,
        );
        assert_eq!(
            each.guilty,
            [(0, MessageRefusal::Size), (2, MessageRefusal::Size)]
        );
        // The same holds for the only one refused in its partition.
        assert_eq!(
            found(&three(KEY), &reports(&[OK, large, OK])).guilty,
            [(1, MessageRefusal::Size)]
        );
    }

    #[test]
    fn a_broker_that_names_nobody_is_asked_again_with_smaller_batches() {
        let invalid = Err(Code::InvalidRecord);
        assert!(found(&three(KEY), &reports(&[invalid; 3])).narrow.is_some());
        assert_eq!(
            Findings::of(&three(KEY), &reports(&[invalid; 3]), 1, false)
                .guilty
                .len(),
            3
        );
        // The missing key, which they have in common, is the likely cause.
        assert_eq!(found(&three(None), &reports(&[invalid; 3])).guilty.len(), 3);
    }

    #[test]
    fn a_topic_that_refuses_everything_is_told_from_its_messages() {
        let two = messages(&[("a", KEY, 10), ("b", KEY, 10)]);
        let found = found(
            &two,
            &reports(&[Err(Code::PurgeQueue), Err(Code::UnknownTopic)]),
        );
        assert_eq!(
            found,
            Findings {
                topics: BTreeMap::from([("b".to_owned(), Code::UnknownTopic)]),
                ..Findings::default()
            }
        );
    }

    #[test]
    fn time_that_is_too_short_for_some_partitions_only_is_theirs() {
        let (late, purged) = (Err(Code::MessageTimedOut), Err(Code::PurgeQueue));
        let of = |size| messages(&[("a", KEY, size), ("b", KEY, size), ("b", KEY, size)]);
        let much = found(&of(LITTLE), &reports(&[OK, late, purged]));
        assert_eq!((much.stuck, much.late), (vec![1, 2], true));
        let little = found(&of(10), &reports(&[OK, late, purged]));
        assert_eq!((little.stuck, little.late), (vec![1, 2], false));
        assert_eq!(
            found(&of(LITTLE), &reports(&[purged, late, purged])),
            Findings {
                late: true,
                ..Findings::default()
            }
        );
        // A batch this small would have got through.
        assert_eq!(
            found(&of(10), &reports(&[purged, late, purged])).stuck,
            [0, 1, 2]
        );
        assert_eq!(
            found(&of(10), &reports(&[OK, purged, purged])),
            Findings::default()
        );
        // The client was not waited for until it gave up by itself.
        assert_eq!(
            Findings::of(&of(10), &reports(&[OK, purged, purged]), 1_000_000, true).stuck,
            [1, 2]
        );
    }
}
