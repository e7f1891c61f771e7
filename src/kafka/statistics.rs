//! What is read of the statistics that the Kafka client hands over every second or so.

use std::collections::HashMap;
use std::time::Instant;

use serde::Deserialize;

use crate::kafka::End;
use crate::kafka::lease::Coordinator;

/// The name of the group's coordinator among the brokers. It is one of the others once more.
pub(super) const COORDINATOR: &str = "GroupCoordinator";

/// The part that is used here. Times are microseconds.
#[derive(Debug, Deserialize)]
pub(super) struct Statistics {
    /// Since the client was made.
    pub(super) age: u64,
    pub(super) brokers: HashMap<String, Coordinator>,
    pub(super) topics: HashMap<String, Topic>,
    pub(super) cgrp: Group,
}

/// The group, as the client sees it.
#[derive(Debug, Deserialize)]
pub(super) struct Group {
    /// Whether the coordinator is known and connected.
    pub(super) state: String,
    /// How far the client is in joining.
    pub(super) join_state: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Topic {
    pub(super) partitions: HashMap<String, Partition>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Partition {
    fetch_state: String,
    /// The end of the log.
    hi_offset: i64,
    /// The end of what can be read: before the first transaction that is open.
    ls_offset: i64,
    eof_offset: i64,
    next_offset: i64,
    /// What was fetched and not yet polled, whichever partition it is of.
    pub(super) fetchq_cnt: i64,
}

impl Partition {
    /// Statistics overtake the records that wait to be polled: the end is reached only where none
    /// wait.
    pub(super) fn end(&self, partition: i32) -> Option<End> {
        (self.fetch_state == "active" && self.ls_offset >= 0).then_some(End {
            partition,
            end: self.ls_offset,
            written: self.hi_offset.max(self.ls_offset),
            reached: self.fetchq_cnt == 0
                && self.eof_offset >= self.ls_offset
                && self.next_offset >= self.ls_offset,
        })
    }
}

/// Since when the client knows no broker, as the statistics show: the group's coordinator, which is
/// one of the others under another name, says nothing.
pub(super) fn brokerless_since(
    before: Option<Instant>,
    statistics: &Statistics,
    at: Instant,
) -> Option<Instant> {
    let known = statistics.brokers.keys().any(|name| name != COORDINATOR);
    (!known).then(|| before.unwrap_or(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_knows_its_coordinator_alone_knows_no_broker() {
        let knows = |brokers: &[&str]| {
            let coordinator = r#"{"state":"UP","connects":1,"req_timeouts":0,"waitresp_cnt":0}"#;
            let brokers: Vec<_> = brokers
                .iter()
                .map(|name| format!("\"{name}\":{coordinator}"))
                .collect();
            let statistics = format!(
                r#"{{"age":1,"brokers":{{{}}},"topics":{{}},"cgrp":{{"state":"up","join_state":"init"}}}}"#,
                brokers.join(",")
            );
            serde_json::from_str::<Statistics>(&statistics).unwrap()
        };
        let start = Instant::now();
        let later = start + std::time::Duration::from_secs(60);
        let none = knows(&[COORDINATOR]);
        let since = brokerless_since(None, &none, start);
        assert_eq!(since, Some(start));
        assert_eq!(brokerless_since(since, &none, later), Some(start));
        for one in ["kafka:9092/bootstrap", "kafka:9092/1"] {
            assert_eq!(
                brokerless_since(since, &knows(&[COORDINATOR, one]), later),
                None
            );
        }
    }

    #[test]
    fn an_end_is_reached_only_where_no_record_waits_to_be_polled() {
        let partition = |fetchq_cnt, eof_offset, next_offset| Partition {
            hi_offset: 12,
            fetch_state: "active".to_owned(),
            ls_offset: 10,
            eof_offset,
            next_offset,
            fetchq_cnt,
        };
        let reached = |partition: Partition| partition.end(3).is_some_and(|end| end.reached);
        assert!(reached(partition(0, 10, 10)));
        assert!(
            !reached(partition(1, 10, 10)),
            "what waits to be polled would be passed over"
        );
        assert!(!reached(partition(0, -1001, 10)) && !reached(partition(0, 10, 9)));
    }
}
