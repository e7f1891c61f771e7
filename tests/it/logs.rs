//! The log of a service: what its lines say, and that nobody waits for whoever reads them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use stand_in::{Rule, Users};

use crate::harness::bench::Bench;
use crate::harness::update::Update;

#[tokio::test(flavor = "multi_thread")]
async fn each_line_has_documented_keys_and_each_ending_has_one() {
    let mut bench = Bench::new().await;
    bench
        .valt
        .set(|settings| settings.users = Users::except([404]));
    bench.valt.fault(Rule::status(401).logins().times(1));
    let service = bench.start();
    let places = bench.send(&[
        Update::valt(52, "Anna"),
        Update::valt(404, "Anna"),
        Update::new("unheard-of", 1, serde_json::json!({ "a": 1 })),
    ]);
    let outcomes = bench.outcomes_of(&places);
    let lines: Vec<Value> = service
        .terminate()
        .errors
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();

    let page = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/logs-and-traces.md"),
    )
    .unwrap();
    let documented: BTreeSet<_> = page.split('`').skip(1).step_by(2).collect();
    for line in &lines {
        let names = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(line),
            ["timestamp", "level", "fields", "target"],
            "{line}"
        );
        let unknown: Vec<_> = names(&line["fields"])
            .into_iter()
            .filter(|key| !documented.contains(key.as_str()))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?} of {line}");
    }
    let of = |module: &str| {
        lines
            .iter()
            .filter(|line| line["target"] == module)
            .map(|line| &line["fields"])
            .collect::<Vec<_>>()
    };
    let endings = of("user_courier::subscriber::ending");
    assert_eq!(endings.len(), outcomes.len());
    for outcome in &outcomes {
        let record = format!(
            "{}/{}/{}",
            outcome.data.record.topic, outcome.data.record.partition, outcome.data.record.offset
        );
        let line = endings
            .iter()
            .find(|line| line["record"] == record)
            .expect("a line for the record");
        let expected = (
            Some(&*outcome.data.outcome),
            outcome.data.reason.as_deref(),
            u64::from(outcome.data.attempts),
        );
        assert_eq!(
            (
                line["outcome"].as_str(),
                line["reason"].as_str(),
                line["attempts"].as_u64().unwrap()
            ),
            expected
        );
    }
    let states: Vec<_> = of("user_courier::subscriber::report")
        .iter()
        .filter_map(|line| line["state"].as_str())
        .collect();
    assert_eq!(
        states,
        ["holding", "flowing"],
        "one line for each change of the target's state"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_nothing() {
    let mut bench = Bench::new().await;
    bench.set("log.level", "debug");
    // Much more than a pipe holds.
    let updates: Vec<_> = (1..=2000).map(|user| Update::valt(user, "Anna")).collect();
    let places = bench.send(&updates);
    let service = Command::new(env!("CARGO_BIN_EXE_user-courier"))
        .args(["run", "--config", bench.config_file().to_str().unwrap()])
        .env_remove("RUST_LOG")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut service = Unread(service.unwrap());
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    assert!(
        Command::new("kill")
            .args(["-s", "TERM", &service.0.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(service.0.wait().unwrap().code(), Some(0));
}

/// A process whose standard error nobody reads. Killed when dropped.
struct Unread(Child);

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
