//! What `user-courier explain` tells of a user.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use stand_in::Rule;

use crate::harness::api::wait_for_updates;
use crate::harness::bench::Bench;
use crate::harness::update::Update;

fn explain(bench: &Bench, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_user-courier"));
    command
        .arg("explain")
        .args(arguments)
        .arg("--config")
        .arg(bench.config_file())
        .stdin(Stdio::null());
    command.output().expect("the command can be run")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_what_waits_and_behind_what_what_was_delivered_what_is_dead_and_which_fields_changed()
 {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let first = [
        Update::valt(52, "Anna"),
        Update::new("valt", 52, json!({ "rooms": [1] })),
        Update::new("valt", 52, json!({ "rooms": "none" })),
        Update::new(
            "valt",
            52,
            json!({ "display_name": "Berta", "password": "one-Canary-1" }),
        ),
        Update::valt(53, "somebody else"),
        Update::aipix(52, &[1]),
    ];
    let done = bench.send(&first);
    bench.outcomes_of(&done);
    // The one is tried again and again, the others wait behind it.
    bench.valt.fault(Rule::status(500).user(52));
    let calls = bench.valt.stats().updates;
    let places = bench.send(&[
        Update::new("valt", 52, json!({ "card_number": "5555-Canary" })),
        Update::valt(52, "Clara"),
        Update::valt(53, "other"),
    ]);
    bench.outcomes(done.len() + 1);
    wait_for_updates(&bench.valt, calls + 4).await;
    assert_eq!(service.terminate().code, Some(0));

    let output = explain(&bench, &["valt", "52", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let fields: Vec<_> = told["waiting"]["first"]
        .as_array()
        .unwrap()
        .iter()
        .map(|update| update["fields"].clone())
        .collect();
    assert_eq!(
        (told["waiting"]["count"].clone(), fields),
        (
            json!(2),
            vec![json!(["card_number"]), json!(["display_name"])]
        )
    );
    let attempts = told["waiting"]["first"][0]["attempts"].as_u64().unwrap();
    assert!(
        attempts > 1,
        "its calls are known from what was committed: {attempts}"
    );
    assert_eq!(told["delivered"]["count"], 3);
    assert_eq!(
        (
            told["dead"].as_array().unwrap().len(),
            &told["dead"][0]["reason"]
        ),
        (1, &json!("invalid_changes"))
    );
    let offset = |field: &str| told["fields"][field]["record"]["offset"].as_i64();
    assert_eq!(
        [offset("display_name"), offset("rooms")],
        [Some(done[3].offset), Some(done[1].offset)]
    );
    assert_eq!(offset("card_number"), None, "it was not delivered");

    let output = explain(&bench, &["valt", "52"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for wanted in [
        "2 updates, called in this order",
        "behind the first",
        "invalid_changes",
        "no instance answers",
        &places[1].offset.to_string(),
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in\n{text}");
    }
    assert!(!text.contains("Canary"), "{text}");
    let wrong = explain(&bench, &["vault", "52"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("the configuration has aipix, valt"));
}
