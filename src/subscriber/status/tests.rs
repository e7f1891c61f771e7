use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn status() -> TargetStatus {
    TargetStatus {
        state: "flowing",
        cause: "none",
        since: Timestamp::now(),
        next_probe_at: None,
        lag: 0,
        in_flight: 0,
        waiting: 0,
        concurrency_limit: 1,
        last_error: None,
        topic_missing: false,
    }
}

/// Without proof of Kafka for so long.
fn silent(seconds: u64, up: bool) -> MembershipView {
    let proven = Instant::now().checked_sub(Duration::from_secs(seconds));
    let report = (!up).then(|| (Instant::now(), format!("silent for {seconds} s")));
    MembershipView {
        up,
        member: true,
        proven,
        report,
    }
}

fn page(board: &Board) -> Value {
    serde_json::from_str(&board.page()).unwrap()
}

#[test]
fn kafka_is_up_when_it_is_for_every_subscriber() {
    let board = Board::new("one", &["aipix".to_owned(), "valt".to_owned()]);
    board.unreachable("no answer");
    let kafka = page(&board)["kafka"].clone();
    assert_eq!(
        (&kafka["state"], &kafka["last_error"]),
        (&"down".into(), &"no answer".into())
    );
    let members: BTreeSet<_> = kafka
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(members, BTreeSet::from(["last_error", "since", "state"]));

    board.show("aipix", status(), silent(1, true), true);
    assert_eq!(
        page(&board)["kafka"]["state"],
        "down",
        "the other one has not joined yet"
    );
    board.show("valt", status(), silent(1, true), true);
    assert_eq!(page(&board)["kafka"]["state"], "up");
    assert_eq!(page(&board)["kafka"]["last_error"], Value::Null);

    board.show("valt", status(), silent(25, false), true);
    let kafka = page(&board)["kafka"].clone();
    assert_eq!(
        (&kafka["state"], &kafka["last_error"]),
        (&"down".into(), &"silent for 25 s".into())
    );
    let since: Timestamp = kafka["since"].as_str().unwrap().parse().unwrap();
    let age = Timestamp::now().duration_since(since).as_secs();
    assert!((24..=26).contains(&age), "since the silence began: {age} s");
}

#[test]
fn it_is_ready_once_all_have_joined_and_until_one_is_without_kafka_for_30_s() {
    let board = Board::new("one", &["aipix".to_owned(), "valt".to_owned()]);
    board.show("valt", status(), silent(1, true), true);
    assert_eq!(board.not_ready(), ["aipix has not joined its group"]);
    board.show("aipix", status(), silent(29, false), true);
    assert!(board.not_ready().is_empty(), "{:?}", board.not_ready());
    board.show("aipix", status(), silent(30, false), true);
    assert_eq!(board.not_ready(), ["aipix is without Kafka for 30 s"]);
    board.show("aipix", status(), silent(0, true), true);
    assert!(board.not_ready().is_empty());
    board.left("valt");
    assert_eq!(board.not_ready(), ["valt has not joined its group"]);
}
