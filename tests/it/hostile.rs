//! Hostile records: what their words do to whoever looks at them in a terminal, and their numbers
//! to a replay.

use serde_json::{Value, json};
use stand_in::Rule;

use crate::dead_letters::{changes, lines, refusing, replay, replays, run, text};
use crate::harness::bench::Bench;
use crate::harness::update::Update;

/// Turns the line around, hides, moves the cursor, rings, clears the screen, and looks like lines
/// of somebody else's.
const HOSTILE: &str =
    "a\u{202e}b\u{2066}\u{200b}\u{feff}\u{61c}\u{e0041}\u{9b}2J\u{1b}[2J\u{7}\r\u{2028}\u{3164}z";

/// Whether a terminal would show the text as it is.
fn is_plain(text: &str) -> bool {
    let odd = |character: &char| {
        HOSTILE.contains(*character) && !character.is_ascii_alphanumeric() && *character != '['
    };
    !text.chars().any(|character| odd(&character))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_comes_from_outside_can_hide_on_a_terminal() {
    let mut bench = Bench::new().await;
    bench.set("log.format", "text");
    bench.set("log.level", "debug");
    bench.valt.fault(
        Rule::status(422)
            .user(1)
            .body(json!({ "error": { "code": 422, "message": HOSTILE } })),
    );
    bench.aipix.fault(
        Rule::status(422)
            .user(1)
            .body(json!({ "message": HOSTILE, "errors": { HOSTILE: [HOSTILE] } })),
    );
    let hostile = |update: Update| {
        let update = update
            .with("id", HOSTILE)
            .with("source", HOSTILE)
            .with("type", HOSTILE);
        update.header(HOSTILE, HOSTILE).header("x", HOSTILE)
    };
    let places = bench.send(&[
        hostile(Update::aipix(1, &[1])),
        hostile(Update::valt(1, HOSTILE)),
        hostile(Update::new("valt", 2, json!({ HOSTILE: HOSTILE }))),
        hostile(Update::new(HOSTILE, 3, json!({ "name": HOSTILE }))),
        hostile(Update::valt(4, HOSTILE)),
    ]);
    // Its log is text, in which the address is looked for in vain.
    let config = bench.config_file();
    let service =
        crate::harness::service::Service::spawn(["run", "--config", config.to_str().unwrap()]);
    bench.outcomes_of(&places);
    let ended = service.terminate();
    assert!(
        ended.code == Some(0) && is_plain(&ended.errors),
        "{:?}",
        ended.errors
    );

    let letters = lines(&bench, &["list", "--json"], 0);
    assert_eq!(letters.len(), 4);
    // JSON is what it was, though it can be looked at.
    assert!(
        letters.iter().any(|line| line["error"]
            .as_str()
            .is_some_and(|error| error.contains("a\u{202e}b"))),
        "{letters:?}"
    );
    let exported = lines(&bench, &["export"], 0);
    assert!(
        exported
            .iter()
            .any(|line| line["event"]["data"]["changes"]["display_name"] == json!(HOSTILE)),
        "{exported:?}"
    );
    let mut shown: Vec<Vec<&str>> = vec![
        vec!["list"],
        vec!["list", "--json"],
        vec!["export"],
        vec!["replay", "--dry-run", "--json"],
    ];
    shown.push(vec!["replay", "--dry-run"]);
    for letter in &letters {
        let place = letter["place"].as_str().unwrap();
        shown.extend([vec!["show", place], vec!["show", place, "--reveal"]]);
    }
    for arguments in shown {
        let output = text(&run(&bench, &arguments));
        assert!(is_plain(&output), "{arguments:?}: {output:?}");
    }
    for arguments in [
        &["explain", "valt", "1"][..],
        &["explain", "valt", "4", "--json"],
        &["explain", "aipix", "1"],
        &["check"],
    ] {
        let (_, output) = bench.command(arguments);
        assert!(is_plain(&output), "{arguments:?}: {output:?}");
    }
    let (_, whole) = bench.command(&["explain", "valt", "1"]);
    assert!(whole.contains("user 1 at valt"), "{whole}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_does_not_warn_of_what_it_does_not_send_and_a_count_of_replays_has_an_end() {
    let mut bench = refusing([2]).await;
    let service = bench.start();
    let most = u32::MAX.to_string();
    let places = bench.send(&[
        changes(1, json!({ "rooms": "none" })),
        Update::valt(2, "Anna")
            .header("replay-of", "letters/0/0")
            .header("replay-count", most.as_str()),
    ]);
    bench.outcomes_of(&places);
    let newer = bench.send(&[changes(1, json!({ "rooms": [1] }))]);
    bench.outcomes_of(&[places, newer].concat());
    bench.valt.clear_faults();

    let plan = |flags: &[&str]| {
        lines(
            &bench,
            &[&["replay", "--dry-run", "--json"], flags].concat(),
            0,
        )
    };
    let [superseded] = &plan(&["--user", "1"])[..] else {
        panic!("one letter")
    };
    assert_eq!(
        (&superseded["action"], &superseded["why"]),
        (&json!("supersede"), &Value::Null),
        "{superseded}"
    );
    let [often] = &plan(&["--user", "2"])[..] else {
        panic!("one letter")
    };
    assert_eq!(often["action"], json!("refuse"), "{often}");
    replay(&bench, &["--force"], 0);
    let sent = replays(&bench);
    // The one that only says that it is a replay, and the one that is.
    assert_eq!(
        sent.iter()
            .filter(|(.., message)| message.header("replay-count") == Some(most.as_str()))
            .count(),
        2
    );
    assert_eq!(service.terminate().code, Some(0));
}
