//! Any record has exactly one taker, and nothing that is said of it shows a secret.
//!
//! The input is written as an HTTP message: headers as `name: value`, an empty line, the value. A
//! line without a colon is a header without a value, and without the empty line there is no value.
#![no_main]

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use engine::{Batch, End, Ending, Spent, Work};
use libfuzzer_sys::fuzz_target;
use user_courier::api;
use user_courier::config::Topics;
use user_courier::kafka::ClaimFilter;
use user_courier::model::event;
use user_courier::model::record::{Header, Place, Record};
use user_courier::model::route::Router;
use user_courier::subscriber::settle::Settler;
use user_courier::subscriber::update::{Claims, Update};

/// The secret in the corpus.
const SECRET: &str = "S3cretCanary";
/// The longest that a message may be, in bytes.
const LONGEST: usize = 600;

static CLAIMS: LazyLock<Vec<Claims>> = LazyLock::new(|| {
    let router = Arc::new(Router::new(vec!["aipix".into(), "valt".into()], Vec::new()));
    let apis = api::ALL.iter().map(|api| (api.name, Some(*api)));
    let claims = apis.chain([("unclaimed", None)]);
    claims
        .map(|(name, api)| Claims::new("fuzz".into(), name.into(), api, router.clone()))
        .collect()
});

fuzz_target!(|bytes: &[u8]| {
    let record = record(bytes);
    let keeps_secrets = is_secret(&record);
    let said = |text: &str| assert!(!keeps_secrets || !text.contains(SECRET), "{text}");
    match event::decode(&record) {
        Ok(event) => said(&format!("{event:?}")),
        Err(undecodable) => {
            said(&format!("{undecodable:?}"));
            assert!(
                undecodable.message.len() < LONGEST,
                "{}",
                undecodable.message
            );
        }
    }
    let takers: Vec<_> = CLAIMS
        .iter()
        .filter_map(|claims| Some((claims, claims.claim(record.clone())?)))
        .collect();
    assert_eq!(takers.len(), 1, "each record has one taker");
    assert!(
        takers[0].0.may_claim(record.value.as_deref()),
        "it is not passed over unread"
    );
    for (claims, update) in takers {
        if let Some(problem) = &update.problem {
            said(problem);
            assert!(problem.len() < LONGEST, "{problem}");
        }
        assert!(update.problem.is_some() == matches!(update.work, Work::Dead { .. }));
        settle(claims, *update, said);
    }
});

/// The messages that settle it: only the record's own part of a dead letter may hold what is
/// secret.
fn settle(claims: &Claims, update: Update, said: impl Fn(&str)) {
    let settler = Settler {
        group_id: "fuzz".into(),
        subscriber: claims.subscriber.clone(),
        topics: Topics::default(),
        topic_id: Default::default(),
    };
    let end = match update.work {
        Work::Call { .. } => End::Delivered,
        Work::Dead { reason, .. } => End::Dead(reason),
    };
    let kept: BTreeSet<_> = update
        .record
        .headers
        .iter()
        .map(|header| header.name.clone())
        .collect();
    let ending = Ending {
        update: Arc::new(update),
        end,
        spent: Spent::default(),
        facts: None,
    };
    let settlement = settler.settlement(&Batch {
        id: 0,
        endings: vec![ending],
        commits: Vec::new(),
    });
    for message in settlement.messages {
        let is_letter = message.topic == settler.topics.dead_letters;
        for header in message
            .headers
            .iter()
            .filter(|header| !is_letter || !kept.contains(&header.name))
        {
            said(&String::from_utf8_lossy(
                header.value.as_deref().unwrap_or_default(),
            ));
        }
        let value = message.value.unwrap_or_default();
        if !is_letter {
            said(&String::from_utf8_lossy(&value));
            assert!(
                serde_json::from_slice::<serde_json::Value>(&value).is_ok(),
                "an outcome is JSON"
            );
        }
    }
}

fn record(bytes: &[u8]) -> Record {
    let split = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, value) = split.map_or((bytes, None), |at| {
        (&bytes[..at], Some(bytes[at + 2..].to_vec()))
    });
    let headers = head
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) = colon.map_or((line, None), |at| {
                (&line[..at], Some(line[at + 1..].trim_ascii().to_vec()))
            });
            Header {
                name: String::from_utf8_lossy(name).into_owned().into(),
                value,
            }
        });
    Record {
        place: Place {
            topic: "user-updates".into(),
            partition: 3,
            offset: 4711,
        },
        key: Some(b"52".to_vec()),
        value,
        timestamp_ms: Some(1_795_338_000_000),
        headers: headers.collect(),
        verbatim_headers: None,
    }
}

/// Whether the secret stands nowhere but as a secret field's value. Anywhere else, such as in a
/// name, it may be told.
fn is_secret(record: &Record) -> bool {
    let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
    let packed = value
        .split_once("\"data_base64\":\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(packed, _)| packed);
    let unpacked = packed
        .and_then(|packed| BASE64_STANDARD.decode(packed).ok())
        .unwrap_or_default();
    let secret_in = |text: &str| {
        text.match_indices(SECRET).all(|(at, _)| {
            ["\"password\":\"", "\"card_number\":\""]
                .iter()
                .any(|name| text[..at].ends_with(name))
        })
    };
    let in_headers = |header: &Header| {
        header.name.contains(SECRET)
            || String::from_utf8_lossy(header.value.as_deref().unwrap_or_default()).contains(SECRET)
    };
    secret_in(&value)
        && secret_in(&String::from_utf8_lossy(&unpacked))
        && !record.headers.iter().any(in_headers)
}
