//! The part that is used of the Kafka client's statistics, which come about once a second.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::kafka::LogEnd;
use crate::kafka::lease::BrokerStatistics;

/// The name of the group's coordinator among the brokers. It is one of the others once more.
pub(super) const COORDINATOR: &str = "GroupCoordinator";

/// The part that is used here. Times are microseconds.
#[derive(Debug, Deserialize)]
pub(super) struct Statistics {
    /// Since the client was made.
    pub(super) age: u64,
    pub(super) brokers: HashMap<String, BrokerStatistics>,
    pub(super) topics: HashMap<String, TopicStatistics>,
    pub(super) cgrp: GroupStatistics,
}

/// The group, as the client sees it.
#[derive(Debug, Deserialize)]
pub(super) struct GroupStatistics {
    /// Whether the coordinator is known and connected.
    pub(super) state: String,
    /// How far the client is in joining.
    pub(super) join_state: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct TopicStatistics {
    pub(super) partitions: HashMap<String, PartitionStatistics>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PartitionStatistics {
    fetch_state: String,
    /// The end of the log.
    hi_offset: i64,
    /// The end of what can be read: before the first transaction that is open.
    ls_offset: i64,
    eof_offset: i64,
    next_offset: i64,
    /// Records fetched and not yet polled, of all partitions.
    pub(super) fetchq_cnt: i64,
}

impl PartitionStatistics {
    /// Statistics overtake the records that wait to be polled: the end is reached only if none
    /// wait.
    pub(super) fn end(&self, partition: i32) -> Option<LogEnd> {
        (self.fetch_state == "active" && self.ls_offset >= 0).then_some(LogEnd {
            partition,
            end: self.ls_offset,
            written: self.hi_offset.max(self.ls_offset),
            reached: self.fetchq_cnt == 0
                && self.eof_offset >= self.ls_offset
                && self.next_offset >= self.ls_offset,
        })
    }
}

/// Whether the client tries to reach any broker. Of a cluster that has none for a moment it can
/// forget all that it knows, or that it may connect to them.
#[derive(Debug)]
pub(super) struct Reach {
    /// It was connected to one, or has tried to be, at that time.
    tried: Instant,
    /// Connections made so far, failed ones included.
    connects: i64,
}

impl Reach {
    pub(super) fn new(born: Instant) -> Self {
        Reach {
            tried: born,
            connects: 0,
        }
    }

    /// Takes note of a look made at `at`. For how long the client has not tried by then. The
    /// group's coordinator, which is one of the others under another name, says nothing.
    pub(super) fn look(&mut self, statistics: &Statistics, at: Instant) -> Duration {
        let brokers = statistics.brokers.iter();
        let brokers: Vec<_> = brokers.filter(|(name, _)| *name != COORDINATOR).collect();
        let connects = brokers.iter().map(|(_, broker)| broker.connects).sum();
        let is_idle = |state: &str| matches!(state, "INIT" | "DOWN" | "TRY_CONNECT");
        if connects != self.connects || brokers.iter().any(|(_, broker)| !is_idle(&broker.state)) {
            *self = Reach {
                tried: at,
                connects,
            };
        }
        at.saturating_duration_since(self.tried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_not_connected_and_does_not_try_to_be_reaches_nobody() {
        let statistics = |brokers: &[(&str, &str, i64)]| {
            let of = |(name, state, connects): &(&str, &str, i64)| {
                format!(
                    r#""{name}":{{"state":"{state}","connects":{connects},"req_timeouts":0,"waitresp_cnt":0}}"#
                )
            };
            let brokers = brokers.iter().map(of).collect::<Vec<_>>().join(",");
            let all = format!(
                r#"{{"age":1,"brokers":{{{brokers}}},"topics":{{}},"cgrp":{{"state":"up","join_state":"init"}}}}"#
            );
            serde_json::from_str::<Statistics>(&all).unwrap()
        };
        let start = Instant::now();
        let mut reach = Reach::new(start);
        let mut idle = |second, brokers: &[(&str, &str, i64)]| {
            let at = start + Duration::from_secs(second);
            reach.look(&statistics(brokers), at).as_secs()
        };
        let coordinator = (COORDINATOR, "UP", 7);
        // Connected, or about to be.
        assert_eq!(idle(9, &[coordinator, ("kafka:9092/1", "UP", 1)]), 0);
        assert_eq!(idle(90, &[coordinator, ("kafka:9092/1", "CONNECT", 1)]), 0);
        // An outage: it tries again and again.
        assert_eq!(idle(91, &[("kafka:9092/1", "DOWN", 2)]), 0);
        assert_eq!(idle(92, &[("kafka:9092/1", "TRY_CONNECT", 3)]), 0);
        assert_eq!(idle(95, &[("kafka:9092/1", "TRY_CONNECT", 3)]), 3);
        assert_eq!(idle(96, &[("kafka:9092/1", "TRY_CONNECT", 4)]), 0);
        // It has forgotten them all, or that it may try.
        assert_eq!(idle(97, &[coordinator]), 0);
        assert_eq!(idle(107, &[coordinator]), 10);
        assert_eq!(
            idle(109, &[coordinator, ("kafka:9092/bootstrap", "INIT", 0)]),
            12
        );
    }

    #[test]
    fn an_end_is_reached_only_where_no_record_waits_to_be_polled() {
        let partition = |fetchq_cnt, eof_offset, next_offset| PartitionStatistics {
            hi_offset: 12,
            fetch_state: "active".to_owned(),
            ls_offset: 10,
            eof_offset,
            next_offset,
            fetchq_cnt,
        };
        let reached =
            |partition: PartitionStatistics| partition.end(3).is_some_and(|end| end.reached);
        assert!(reached(partition(0, 10, 10)));
        assert!(
            !reached(partition(1, 10, 10)),
            "what waits to be polled would be passed over"
        );
        assert!(!reached(partition(0, -1001, 10)) && !reached(partition(0, 10, 9)));
    }
}
