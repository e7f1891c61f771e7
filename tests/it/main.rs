//! The service, as its users run it, against a real Apache Kafka: a file for each group of
//! promises.
//!
//! Needs `KAFKA_BOOTSTRAP_SERVERS`, or whatever `scripts/kafka up` needs. Every test has topics and
//! a group of its own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends by panicking"
)]

mod harness;

mod link;

mod alerts;
mod bad_input;
mod canary;
mod connections;
mod console;
mod console_headline;
mod console_letters;
mod dead_letters;
mod differing;
mod directory;
mod endings;
mod ends;
mod examples;
mod explain;
mod gauges;
mod guard;
mod hostile;
mod kafka_gone;
mod kills;
mod life_cycle;
mod logs;
mod main_path;
mod memory;
mod merging;
mod million;
mod odd;
mod pausing;
mod preview;
mod proxy;
mod reload;
mod replays;
mod secured_kafka;
mod send;
mod settling;
mod settling_elsewhere;
mod topic_anew;
mod topic_cut;
mod traces;
mod troubles;
