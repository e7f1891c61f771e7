use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use super::*;
use crate::api::{self};
use crate::http::attempt::Call;
use crate::http::lost::Status;
use crate::kafka::ClaimFilter;
use crate::model::error::ApiError;
use crate::model::record::{Header, Record};
use crate::model::route::Router;
use crate::subscriber::update::Claims;
use crate::telemetry::logging::Captured;
use engine::Spent;
use engine::verdict::Verdict;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// An update of user 52 that ended so.
fn ending(end: End, headers: &[(&str, &str)]) -> Ending<Update, Attempt> {
    let event = json!({
        "specversion": "1.0", "id": "e-1", "source": "/tests", "type": "com.example.tests",
        "data": { "target": "valt", "user": 52, "changes": { "display_name": "Anna", "password": "a-Canary-1" } },
    });
    let headers = headers
        .iter()
        .chain(&[("content-type", "application/cloudevents+json")]);
    let record = Record {
        place: Place {
            topic: "user-updates".into(),
            partition: 3,
            offset: 4711,
        },
        key: None,
        value: Some(event.to_string().into_bytes()),
        timestamp_ms: None,
        headers: headers
            .map(|(name, value)| Header::text(name.to_string(), *value))
            .collect(),
        verbatim_headers: None,
    };
    let router = Arc::new(Router::new(vec!["valt".to_owned()], Vec::new()));
    let claims = Claims::new(
        "user-courier".to_owned(),
        "valt".to_owned(),
        api::by_name("valt"),
        router,
    );
    let refused =
        matches!(end, End::Dead(_)).then(|| ApiError::new("the API refused it (422): too long"));
    let call = Call {
        verdict: Verdict::Delivered,
        status: Status::Http(if refused.is_some() { 422 } else { 200 }),
        duration: Duration::ZERO,
    };
    let attempt = Attempt {
        calls: vec![call],
        error: refused,
        ..Attempt::unknown()
    };
    let spent = Spent {
        calls: 2,
        failures: 1,
    };
    Ending {
        update: claims.claim(record).unwrap().into(),
        end,
        spent,
        facts: Some(Arc::new(attempt)),
    }
}

/// What is logged of these at these levels.
fn logged(endings: &[Ending<Update, Attempt>], levels: &str) -> Vec<Value> {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter(EnvFilter::new(levels))
        .with_writer(captured.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        endings.iter().for_each(|ending| log("valt", ending))
    });
    captured
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_line_says_what_the_outcome_says_and_quotes_no_value() {
    let endings = [
        ending(End::Delivered, &[("traceparent", TRACEPARENT)]),
        ending(End::Merged { into: 4713 }, &[]),
        ending(End::Dead(Reason::Rejected), &[]),
    ];
    let lines = logged(&endings, "info");
    let common = json!({ "message": "settled", "target": "valt", "user": 52, "event.id": "e-1", "record": "user-updates/3/4711", "attempts": 2 });
    let expected = [
        json!({ "outcome": "delivered", "http_status": 200, "trace_id": &TRACEPARENT[3..35], "span_id": &TRACEPARENT[36..52] }),
        json!({ "outcome": "merged", "http_status": 200, "into": "user-updates/3/4713" }),
        json!({ "outcome": "dead_lettered", "reason": "rejected", "http_status": 422, "error": "the API refused it (422): too long" }),
    ];
    for ((line, expected), level) in lines.iter().zip(expected).zip(["INFO", "INFO", "WARN"]) {
        let mut fields = line["fields"].as_object().unwrap().clone();
        assert!(
            fields
                .remove("duration_ms")
                .is_some_and(|taken| taken.is_u64() || taken.is_i64()),
            "{line}"
        );
        let mut all = common.as_object().unwrap().clone();
        all.extend(expected.as_object().unwrap().clone());
        assert_eq!(
            (fields, line["level"].as_str(), line["target"].as_str()),
            (all, Some(level), Some("user_courier::subscriber::ending"))
        );
        assert!(!line.to_string().contains("Canary"), "{line}");
    }
}

#[test]
fn these_lines_can_be_turned_down_alone() {
    let endings = [
        ending(End::Delivered, &[]),
        ending(End::Dead(Reason::Rejected), &[]),
    ];
    let outcomes = |levels| {
        logged(&endings, levels)
            .iter()
            .map(|line| line["fields"]["outcome"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        outcomes("info,user_courier::subscriber::ending=warn"),
        ["dead_lettered"]
    );
    assert!(outcomes("info,user_courier::subscriber::ending=off").is_empty());
}

#[test]
fn every_key_of_the_documentation_is_in_some_line_and_no_other() {
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/logs-and-traces.md"
    ))
    .unwrap();
    let table = page
        .split("### One line for each ending")
        .nth(1)
        .unwrap()
        .split("\n#")
        .next()
        .unwrap();
    let keys_of = |row: &str| {
        row.split('|')
            .nth(1)
            .unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let documented: BTreeSet<_> = table
        .lines()
        .filter(|row| row.starts_with("| `"))
        .flat_map(keys_of)
        .collect();
    let examples = table
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let endings = [
        ending(End::Delivered, &[("traceparent", TRACEPARENT)]),
        ending(End::Merged { into: 4713 }, &[]),
        ending(End::Dead(Reason::Rejected), &[]),
    ];
    let keys = |line: &Value| {
        line["fields"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let printed: BTreeSet<_> = logged(&endings, "info").iter().flat_map(keys).collect();
    assert_eq!(printed, documented);
    assert_eq!(
        examples
            .flat_map(|line| keys(&line))
            .collect::<BTreeSet<_>>(),
        documented
    );
}

/// Prints what a line costs the loop: `cargo test --release --lib ending -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_a_line_costs() {
    const LINES: u32 = 200_000;
    let queue = crate::telemetry::logging::queue_to(io::sink());
    let delivered = ending(End::Delivered, &[("traceparent", TRACEPARENT)]);
    for levels in ["info", "info,user_courier::subscriber::ending=warn"] {
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_env_filter(EnvFilter::new(levels))
            .with_writer(queue.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let began = Instant::now();
            (0..LINES).for_each(|_| log("valt", &delivered));
            println!("{levels}: {:?} a line", began.elapsed() / LINES);
        });
    }
}
