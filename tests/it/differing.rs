//! An answer that confirms an update and shows other values than were sent.

use serde_json::json;
use stand_in::Rule;

use crate::harness::bench::Bench;
use crate::harness::update::Update;

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_do_not_hold_are_delivered_all_the_same_and_told() {
    let mut bench = Bench::new().await;
    let held = json!({ "id": 7, "permissions": [{ "id": 9, "name": "a-Canary" }] });
    bench
        .aipix
        .fault(Rule::status(200).user(7).body(held).applied());
    let service = bench.start();
    let places = bench.send(&[Update::aipix(7, &[9, 12]), Update::aipix(8, &[9, 12])]);
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    service.wait_for_log("of the permissions sent these do not hold: 12");
    let metrics = service.metrics();
    let differing = |target| metrics.sum("differing_answers_total", &[("target", target)]);
    assert_eq!((differing("aipix"), differing("valt")), (1.0, 0.0));
    assert!(!service.log().contains("Canary"));
}
