//! Records as they come, from the bytes to the claimed update, and from the ending to the messages
//! of its transaction. One round is one record.

use std::hint::black_box;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine::verdict::{Reason, Verdict};
use engine::{Batch, End, Ending, Spent};
use serde_json::{Value, json};
use user_courier::api;
use user_courier::config::Topics;
use user_courier::http::attempt::{Attempt, Call};
use user_courier::http::lost::Status;
use user_courier::kafka::ClaimFilter;
use user_courier::model::event;
use user_courier::model::record::{Header, Place, Record};
use user_courier::model::route::Router;
use user_courier::subscriber::settle::Settler;
use user_courier::subscriber::update::{Claims, Update};

use super::{Load, ROUNDS, Round};

pub const LOADS: &[Load] = &[
    Load {
        name: "decode, structured",
        make: || decoded(structured("valt", 0)),
        rounds: ROUNDS,
    },
    Load {
        name: "decode, structured, 10 more headers",
        make: || decoded(structured("valt", 10)),
        rounds: ROUNDS,
    },
    Load {
        name: "decode, binary",
        make: || decoded(binary("valt", 0)),
        rounds: ROUNDS,
    },
    Load {
        name: "decode, binary, 10 more headers",
        make: || decoded(binary("valt", 10)),
        rounds: ROUNDS,
    },
    Load {
        name: "claim, structured",
        make: || claimed(structured("valt", 0)),
        rounds: ROUNDS,
    },
    Load {
        name: "claim, binary",
        make: || claimed(binary("valt", 0)),
        rounds: ROUNDS,
    },
    Load {
        name: "claim, structured, another target's",
        make: || claimed(structured("aipix", 0)),
        rounds: ROUNDS,
    },
    Load {
        name: "claim, binary, another target's",
        make: || claimed(binary("aipix", 0)),
        rounds: ROUNDS,
    },
    Load {
        name: "outcome, delivered",
        make: || settled(End::Delivered),
        rounds: ROUNDS,
    },
    Load {
        name: "outcome and dead letter",
        make: || settled(End::Dead(Reason::Rejected)),
        rounds: ROUNDS,
    },
];

fn data(target: &str) -> Value {
    json!({ "target": target, "user": 52, "changes": { "display_name": "John Doe", "rooms": [37, 39] } })
}

fn record(value: &Value, headers: Vec<Header>, more: usize) -> Record {
    let more =
        (0..more).map(|number| Header::text(format!("x-header-{number}"), "0123456789abcdef"));
    Record {
        place: Place {
            topic: "user-updates".into(),
            partition: 3,
            offset: 4711,
        },
        key: Some(b"valt/52".to_vec()),
        value: Some(value.to_string().into_bytes()),
        timestamp_ms: Some(1_795_341_600_123),
        headers: headers.into_iter().chain(more).collect(),
        verbatim_headers: None,
    }
}

/// A record in structured mode, of about 250 bytes.
pub fn structured(target: &str, more_headers: usize) -> Record {
    let event = json!({
        "specversion": "1.0", "id": "0b5a5e0c-6f0e-4f3c-9d3a-2a6f0f1f7a11", "source": "/billing/accounts", "type": "com.example.user.changed",
        "time": "2026-11-22T09:00:00Z", "data": data(target),
    });
    record(
        &event,
        vec![Header::text("content-type", "application/cloudevents+json")],
        more_headers,
    )
}

/// The same in binary mode.
pub fn binary(target: &str, more_headers: usize) -> Record {
    let headers = [
        ("content-type", "application/json"),
        ("ce_specversion", "1.0"),
        ("ce_id", "0b5a5e0c-6f0e-4f3c-9d3a-2a6f0f1f7a11"),
        ("ce_source", "/billing/accounts"),
        ("ce_type", "com.example.user.changed"),
        ("ce_time", "2026-11-22T09:00:00Z"),
    ];
    record(
        &data(target),
        headers
            .map(|(name, value)| Header::text(name, value))
            .into(),
        more_headers,
    )
}

/// What decides whose a record is, for the target `valt`.
pub fn claims() -> Claims {
    let router = Router::new(vec!["aipix".to_owned(), "valt".to_owned()], Vec::new());
    Claims::new(
        "user-courier".to_owned(),
        "valt".to_owned(),
        api::by_name("valt"),
        Arc::new(router),
    )
}

fn decoded(record: Record) -> Round {
    assert!(event::decode(&record).is_ok());
    Box::new(move || drop(black_box(event::decode(black_box(&record)))))
}

/// With a copy of the record, as is made of the client's buffers.
fn claimed(record: Record) -> Round {
    let claims = claims();
    Box::new(move || drop(black_box(claims.claim(black_box(&record).clone()))))
}

fn settled(end: End) -> Round {
    let (group_id, subscriber) = ("user-courier".to_owned(), "valt".to_owned());
    let settler = Settler {
        group_id,
        subscriber,
        topics: Topics::default(),
        topic_id: OnceLock::new(),
    };
    let update: Arc<Update> = claims()
        .claim(structured("valt", 0))
        .map(Arc::from)
        .unwrap();
    let call = Call {
        verdict: Verdict::Delivered,
        status: Status::Http(200),
        duration: Duration::ZERO,
    };
    let attempt = Arc::new(Attempt {
        calls: vec![call],
        ..Attempt::unknown()
    });
    Box::new(move || {
        let ending = Ending {
            update: update.clone(),
            end,
            spent: Spent {
                calls: 1,
                failures: 0,
            },
            facts: Some(attempt.clone()),
        };
        let batch = Batch {
            id: 1,
            endings: vec![ending],
            commits: Vec::new(),
        };
        drop(black_box(settler.settlement(&batch)));
    })
}
