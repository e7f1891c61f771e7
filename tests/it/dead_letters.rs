//! Dead letters: what an operator's commands show of them, and what a replay does to users.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use stand_in::Rule;

use crate::harness::bench::Bench;
use crate::harness::kafka::{self, Message, Place};
use crate::harness::outcome::Outcome;
use crate::harness::update::Update;

/// Runs `user-courier dead-letters` with these arguments and the bench's configuration.
pub(crate) fn command(bench: &Bench, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_user-courier"));
    command
        .arg("dead-letters")
        .args(arguments)
        .arg("--config")
        .arg(bench.config_file())
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(bench: &Bench, arguments: &[&str]) -> Output {
    command(bench, arguments)
        .output()
        .expect("the command can be run")
}

pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs it, expects this exit code, and reads the JSON lines.
#[track_caller]
pub(crate) fn lines(bench: &Bench, arguments: &[&str], code: i32) -> Vec<Value> {
    let output = run(bench, arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}",
        text(&output)
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Replays, and expects this exit code.
#[track_caller]
pub(crate) fn replay(bench: &Bench, arguments: &[&str], code: i32) -> String {
    let output = run(bench, &[&["replay", "--yes"], arguments].concat());
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}",
        text(&output)
    );
    text(&output)
}

/// The plan: for each dead letter its action, what is sent and what is left out.
#[track_caller]
pub(crate) fn plan(bench: &Bench, arguments: &[&str]) -> Vec<(String, Value, Value)> {
    let lines = lines(
        bench,
        &[&["replay", "--dry-run", "--json"], arguments].concat(),
        0,
    );
    lines
        .into_iter()
        .map(|line| {
            (
                line["action"].as_str().unwrap().to_owned(),
                line["fields"].clone(),
                line["left_out"].clone(),
            )
        })
        .collect()
}

/// The records of the update topic that are replays: of which dead letter, and the record.
pub(crate) fn replays(bench: &Bench) -> Vec<(String, Place, Message)> {
    let of = |(place, message): (Place, Message)| {
        Some((message.header("replay-of")?.to_owned(), place, message))
    };
    bench.updates().into_iter().filter_map(of).collect()
}

/// Waits until so many records have an outcome, and says how each ended, apart from the dead
/// letters.
pub(crate) fn settled(bench: &mut Bench, count: usize) -> Vec<Outcome> {
    bench.outcomes(count);
    bench.outcomes_now()
}

pub(crate) fn ended(outcomes: &[Outcome], kind: &str) -> usize {
    outcomes
        .iter()
        .filter(|outcome| outcome.data.outcome == kind)
        .count()
}

/// A bench whose VALT refuses updates of these users.
pub(crate) async fn refusing(users: impl IntoIterator<Item = u64>) -> Bench {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.merge", false);
    for user in users {
        bench.valt.fault(Rule::status(422).user(user));
    }
    bench
}

pub(crate) fn changes(user: u64, changes: Value) -> Update {
    Update::new("valt", user, changes)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told step by step")]
async fn a_morning_of_dead_letters_ends_with_every_one_delivered() {
    let mut bench = refusing([1, 2, 3]).await;
    let service = bench.start();
    let updates = [
        Update::valt(1, "Anna"),
        Update::valt(2, "Björn").binary(),
        Update::valt(3, "Cleo"),
        Update::valt(4, "Dora"),
    ];
    let places = bench.send(&updates);
    bench.outcomes_of(&places);

    let listed = lines(&bench, &["list", "--json"], 0);
    assert_eq!(listed.len(), 3);
    for line in &listed {
        let user = line["user"].as_u64().unwrap();
        let of = &places[usize::try_from(user - 1).unwrap()];
        assert_eq!(
            line["record"],
            format!("{}/{}/{}", of.topic, of.partition, of.offset)
        );
        assert_eq!(
            (&line["target"], &line["reason"], &line["http_status"]),
            (&json!("valt"), &json!("rejected"), &json!(422))
        );
        assert_eq!(
            (&line["attempts"], &line["fields"], &line["open"]),
            (&json!(1), &json!(["display_name"]), &json!(true))
        );
    }
    assert_eq!(
        lines(&bench, &["list", "--json", "--user", "2"], 0).len(),
        1
    );
    assert_eq!(
        lines(&bench, &["list", "--json", "--target", "aipix"], 0).len(),
        0
    );
    assert_eq!(
        lines(&bench, &["list", "--json", "--reason", "expired"], 0).len(),
        0
    );
    assert_eq!(
        lines(&bench, &["list", "--json", "--since", "1h"], 0).len(),
        3
    );
    assert_eq!(
        lines(&bench, &["list", "--json", "--until", "1h"], 0).len(),
        0
    );
    let table = text(&run(&bench, &["list"]));
    assert!(
        table.contains("3 open dead letters") && table.contains("rejected"),
        "{table}"
    );
    let place = listed[0]["place"].as_str().unwrap();
    let shown = text(&run(&bench, &["show", place]));
    assert!(
        shown.contains("the API refused this very update")
            && shown.contains("A replay would send all of it"),
        "{shown}"
    );

    bench.valt.clear_faults();
    let before = bench.dead_letters(3);
    replay(&bench, &[], 0);
    let outcomes = settled(&mut bench, 4 + 3 + 3);
    assert_eq!(
        (ended(&outcomes, "replayed"), ended(&outcomes, "delivered")),
        (3, 4)
    );
    let sent = replays(&bench);
    for outcome in outcomes
        .iter()
        .filter(|outcome| outcome.data.outcome == "replayed")
    {
        let Place {
            topic,
            partition,
            offset,
        } = &outcome.data.record;
        let (_, place, message) = sent
            .iter()
            .find(|(of, ..)| *of == format!("{topic}/{partition}/{offset}"))
            .unwrap();
        assert_eq!(outcome.data.into.as_ref(), Some(place));
        assert_eq!(
            (outcome.data.attempts, outcome.data.http_status),
            (1, Some(422))
        );
        assert_eq!(outcome.data.fields, Some(vec!["display_name".to_owned()]));
        let letter = before
            .iter()
            .find(|letter| letter.key == message.key)
            .unwrap();
        assert_eq!(
            (&message.value, message.header("replay-count")),
            (&letter.value, Some("1"))
        );
        let own = |name: &str| !name.starts_with("dlq.") && !name.starts_with("__connect.errors.");
        let kept: Vec<_> = letter
            .headers
            .iter()
            .filter(|(name, _)| own(name))
            .cloned()
            .collect();
        assert_eq!(message.headers[..kept.len()], kept);
        assert_eq!(message.headers.len(), kept.len() + 2);
    }
    for (user, name) in [(1, "Anna"), (2, "Björn"), (3, "Cleo"), (4, "Dora")] {
        assert_eq!(
            bench.valt.fields(user).unwrap()["display_name"],
            json!(name)
        );
    }

    // Nothing is left, and nothing is sent twice.
    assert!(lines(&bench, &["list", "--json"], 0).is_empty());
    assert_eq!(
        lines(&bench, &["list", "--json", "--all"], 0)
            .iter()
            .filter(|line| line["open"] == json!(false))
            .count(),
        3
    );
    replay(&bench, &[], 0);
    replay(&bench, &["--all"], 1);
    assert_eq!(replays(&bench).len(), 3);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_newer_updates_have_overwritten_is_left_out() {
    let mut bench = refusing([]).await;
    // Each of the first updates is refused, and so is one of the later ones, which overwrites
    // nothing for that.
    for user in 1..=4 {
        bench.valt.fault(Rule::status(422).user(user).times(1));
    }
    let service = bench.start();
    let everything = json!({
        "name": "old", "display_name": "old", "rooms": [1], "card_number": "0001", "video_access": { "users": [1], "user_groups": [1] },
    });
    let first = bench.send(&[1, 2, 3, 4].map(|user| changes(user, everything.clone())));
    bench.outcomes_of(&first);
    bench.valt.fault(Rule::status(422).user(4).times(1));
    let newer = bench.send(&[
        changes(1, json!({ "display_name": "new" })),
        changes(1, json!({ "rooms": [2], "video_access": { "users": [2] } })),
        changes(2, everything.clone()),
        changes(4, json!({ "display_name": "dead" })),
    ]);
    let all: Vec<_> = first.into_iter().chain(newer).collect();
    bench.outcomes_of(&all);

    let user = |user: &'static str| plan(&bench, &["--user", user]);
    let kept = json!(["name", "card_number"]);
    assert_eq!(
        user("1"),
        [(
            "trim".to_owned(),
            kept,
            json!(["display_name", "rooms", "video_access"])
        )]
    );
    assert_eq!(
        user("2"),
        [(
            "supersede".to_owned(),
            json!([]),
            json!([
                "name",
                "display_name",
                "rooms",
                "card_number",
                "video_access"
            ])
        )]
    );
    assert_eq!(user("3")[0].0, "send");
    assert_eq!(
        user("4")
            .iter()
            .map(|(action, ..)| action.as_str())
            .collect::<Vec<_>>(),
        ["send", "send"]
    );

    replay(&bench, &[], 0);
    let outcomes = settled(&mut bench, 8 + 5 + 4);
    assert_eq!(
        (
            ended(&outcomes, "replayed"),
            ended(&outcomes, "superseded"),
            ended(&outcomes, "delivered")
        ),
        (4, 1, 3 + 4)
    );
    let superseded = outcomes
        .iter()
        .find(|outcome| outcome.data.outcome == "superseded")
        .unwrap();
    assert_eq!(
        (
            superseded.user(),
            superseded.data.fields.as_ref().map(Vec::len)
        ),
        (Some(2), Some(5))
    );
    let sent: Vec<_> = replays(&bench)
        .into_iter()
        .filter(|(.., message)| message.key.as_deref() == Some(b"1"))
        .collect();
    let [(.., message)] = &sent[..] else {
        panic!("{} replays of user 1", sent.len())
    };
    let event: Value = serde_json::from_slice(message.value.as_deref().unwrap()).unwrap();
    assert_eq!(
        event["data"]["changes"],
        json!({ "name": "old", "card_number": "0001" }),
        "whether VALT keeps the groups that the newer access leaves out, nobody says"
    );
    let fields = bench.valt.fields(1).unwrap();
    assert_eq!(
        (&fields["display_name"], &fields["rooms"], &fields["name"]),
        (&json!("new"), &json!([2]), &json!("old"))
    );
    assert_eq!(
        bench.valt.fields(4).unwrap()["display_name"],
        json!("dead"),
        "sent after the older one"
    );
    assert_eq!(service.terminate().code, Some(0));
}

/// A later replay of a newer dead letter wins over that of an older one, whichever is replayed
/// first.
#[tokio::test(flavor = "multi_thread")]
async fn replayed_updates_keep_their_original_order() {
    let mut bench = refusing([1, 2]).await;
    let _service = bench.start();
    let updates = [1, 2].map(|user| {
        [
            changes(user, json!({ "display_name": "x", "rooms": [1] })),
            changes(user, json!({ "display_name": "y" })),
        ]
    });
    let places = bench.send(updates.iter().flatten());
    bench.outcomes_of(&places);
    bench.valt.clear_faults();
    let only = |bench: &Bench, user: u64, name: &str| {
        let lines = lines(bench, &["export", "--user", &user.to_string()], 0);
        let line = lines
            .iter()
            .find(|line| line["event"]["data"]["changes"]["display_name"] == json!(name))
            .unwrap();
        let file = bench.config_file().with_file_name("one.jsonl");
        fs::write(&file, line.to_string()).unwrap();
        replay(bench, &["--from", file.to_str().unwrap()], 0)
    };
    // Of user 1 the older first, of user 2 the newer.
    only(&bench, 1, "x");
    only(&bench, 2, "y");
    bench.outcomes(4 + 4);
    only(&bench, 1, "y");
    only(&bench, 2, "x");
    bench.outcomes(4 + 8);
    for user in [1, 2] {
        let fields = bench.valt.fields(user).unwrap();
        assert_eq!(
            (&fields["display_name"], &fields["rooms"]),
            (&json!("y"), &json!([1])),
            "user {user}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_to_fail_again_is_refused_unless_it_is_forced() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    bench.send(&[
        Update::valt(1, "Anna").with("specversion", "7"),
        Update::new("nowhere", 2, json!({ "rooms": [1] })),
        Update::new("valt", 3, json!({ "rooms": "none" })),
        Update::new("valt", 4, json!({ "display_name": 4 })),
    ]);
    bench.dead_letters(4);
    // What is overwritten is not sent, so it cannot fail again.
    bench.send(&[Update::valt(4, "Björn")]);
    bench.outcomes(5);
    let lines = lines(&bench, &["replay", "--dry-run", "--json"], 0);
    let mut planned: Vec<_> = lines
        .iter()
        .map(|line| {
            let why = line["why"].as_str().unwrap_or_default();
            let again = why.starts_with("it will fail again as ");
            (line["reason"].as_str(), line["action"].as_str(), again)
        })
        .collect();
    planned.sort_unstable();
    assert_eq!(
        planned,
        [
            (Some("invalid_changes"), Some("refuse"), true),
            (Some("invalid_changes"), Some("supersede"), false),
            (Some("undecodable"), Some("refuse"), true),
            (Some("unroutable"), Some("refuse"), true),
        ]
    );
    replay(&bench, &[], 1);
    assert!(replays(&bench).is_empty());
    replay(&bench, &["--force"], 0);
    assert_eq!(replays(&bench).len(), 3);
    bench.dead_letters(4 + 3);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_fails_again_is_dead_lettered_afresh_and_refused_after_three_times() {
    let mut bench = refusing([1]).await;
    let service = bench.start();
    let places = bench.send(&[Update::valt(1, "Anna").header("x-own", "1")]);
    bench.outcomes_of(&places);
    let count = bench.dead_letters(1)[0].headers.len();
    for round in 1..=3 {
        replay(&bench, &[], 0);
        let letters = bench.dead_letters(usize::try_from(round).unwrap() + 1);
        let newest = letters
            .iter()
            .find(|letter| letter.header("dlq.replays") == Some(round.to_string().as_str()))
            .unwrap();
        assert_eq!(
            newest.headers.len(),
            count + 2,
            "replay-of and replay-count, once each: {:?}",
            newest.headers
        );
        let sent = replays(&bench);
        let (_, place, _) = sent.last().unwrap();
        assert_eq!(
            newest.header("__connect.errors.offset"),
            Some(place.offset.to_string().as_str())
        );
        let listed = lines(&bench, &["list", "--json"], 0);
        assert_eq!(listed.len(), 1, "the earlier ones are settled");
        let shown = text(&run(
            &bench,
            &["show", listed[0]["place"].as_str().unwrap()],
        ));
        let first = format!(
            "first stood at {}/{}/{}",
            places[0].topic, places[0].partition, places[0].offset
        );
        assert!(shown.contains(&first), "{shown}");
    }
    // Another one goes while it is refused.
    bench.valt.clear_faults();
    bench.valt.fault(Rule::status(422).user(2).times(1));
    bench.send(&[Update::valt(2, "Björn")]);
    bench.dead_letters(5);
    let plan = plan(&bench, &["--user", "1"]);
    assert_eq!(plan[0].0, "refuse");
    replay(&bench, &[], 1);
    assert_eq!(replays(&bench).len(), 4);
    replay(&bench, &["--force"], 0);
    let outcomes = settled(&mut bench, 7 + 5);
    assert_eq!(ended(&outcomes, "delivered"), 2);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_know_what_came_after_a_replay_is_refused() {
    let mut bench = refusing([1]).await;
    let service = bench.start();
    let places = bench.send(&[
        changes(1, json!({ "display_name": "x", "rooms": [1] })),
        Update::valt(1, "gone"),
        Update::valt(1, "y"),
    ]);
    bench.outcomes_of(&places);
    let last = &places[2];
    kafka::delete_below(&bench.servers, &last.topic, last.partition, last.offset).await;
    bench.valt.clear_faults();
    let actions: Vec<_> = plan(&bench, &[])
        .into_iter()
        .map(|(action, ..)| action)
        .collect();
    assert_eq!(
        actions,
        ["refuse", "send", "send"],
        "nothing is missing between the last two"
    );
    let told = replay(&bench, &[], 1);
    assert!(told.contains("no longer reaches back"), "{told}");
    assert_eq!(replays(&bench).len(), 2);
    replay(&bench, &["--force"], 0);
    bench.outcomes(3 + 3 + 3);
    assert_eq!(
        bench.valt.fields(1).unwrap()["display_name"],
        json!("y"),
        "what is known is heeded all the same"
    );
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told step by step")]
async fn what_is_exported_and_mended_is_sent_as_mended_and_checked_before() {
    const SECRET: &str = "hunter22-secret";
    let mut bench = refusing([1]).await;
    let service = bench.start();
    let bad = json!({ "rooms": "seven", "password": SECRET });
    let broken = Message {
        key: Some(b"4".to_vec()),
        value: Some(format!("{{\"password\":\"{SECRET}\"").into_bytes()),
        ..Message::default()
    };
    let mut places = bench.send(&[
        changes(1, json!({ "display_name": "Anna", "password": SECRET })),
        changes(2, bad.clone()),
        changes(3, bad.clone()).binary(),
        Update::new("vallt", 5, json!({ "display_name": "Eve" })),
    ]);
    places.extend(bench.writer.write([&broken]));
    bench.outcomes_of(&places);
    bench.valt.clear_faults();

    // Nothing that is shown has the secret, unless it is asked for.
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["export"],
        &["replay", "--dry-run"],
        &["replay", "--dry-run", "--json"],
    ] {
        let output = run(&bench, arguments);
        assert!(
            output.status.success() && !text(&output).contains(SECRET),
            "{arguments:?}: {}",
            text(&output)
        );
    }
    let mut exported = lines(&bench, &["export"], 0);
    for line in &exported {
        let place = line["dead_letter"].as_str().unwrap();
        assert!(!text(&run(&bench, &["show", place])).contains(SECRET));
    }
    assert!(text(&run(&bench, &["export", "--reveal"])).contains(SECRET));
    exported.sort_by_key(|line| line["user"].as_u64());
    let find = |user: u64| {
        exported
            .iter()
            .position(|line| line["user"] == json!(user))
            .unwrap()
    };
    let [first, second, third, fifth] = [1, 2, 3, 5].map(find);
    let fourth = exported
        .iter()
        .position(|line| line["reason"] == json!("undecodable"))
        .unwrap();
    assert_eq!(
        exported[second]["event"]["data"]["changes"]["password"],
        json!("***")
    );

    // As it is, most of it would fail again: nothing is sent, and every line is named.
    let file = bench.config_file().with_file_name("letters.jsonl");
    let write = |lines: &[Value]| {
        let mut out = fs::File::create(&file).unwrap();
        lines
            .iter()
            .for_each(|line| writeln!(out, "{line}").unwrap());
    };
    write(&exported);
    let from = ["--from", file.to_str().unwrap()];
    let refused = replay(&bench, &from, 2);
    for (number, what) in [
        (second, "data.changes.rooms"),
        (third, "data.changes.rooms"),
        (fourth, "undecodable"),
        (fifth, "vallt"),
    ] {
        let line = refused
            .lines()
            .find(|line| line.contains(&format!("line {}:", number + 1)));
        assert!(
            line.is_some_and(|line| line.contains(what)),
            "{what}: {refused}"
        );
    }
    assert!(
        !refused.contains(SECRET) && !refused.contains(&format!("line {}:", first + 1)),
        "{refused}"
    );
    assert!(replays(&bench).is_empty());

    for number in [second, third] {
        exported[number]["event"]["data"]["changes"]["rooms"] = json!([7]);
    }
    exported[fifth]["event"]["data"]["target"] = json!("valt");
    let event = Update::valt(4, "Dora").event();
    exported[fourth] = json!({ "dead_letter": exported[fourth]["dead_letter"], "event": event });
    write(&exported);
    replay(&bench, &from, 0);
    bench.outcomes(5 + 5 + 5);
    for user in [2, 3] {
        let fields = bench.valt.fields(user).unwrap();
        assert_eq!(
            (&fields["rooms"], &fields["password"]),
            (&json!([7]), &json!(SECRET))
        );
    }
    assert_eq!(bench.valt.fields(1).unwrap()["password"], json!(SECRET));
    assert_eq!(bench.valt.fields(4).unwrap()["display_name"], json!("Dora"));
    assert_eq!(bench.valt.fields(5).unwrap()["display_name"], json!("Eve"));
    let binary = replays(&bench)
        .into_iter()
        .find(|(.., message)| message.key.as_deref() == Some(b"3"))
        .unwrap()
        .2;
    assert!(
        binary.header("ce_id").is_some()
            && binary.header("content-type") == Some("application/json")
    );

    // Settled ones are named as such.
    let refused = replay(&bench, &from, 2);
    assert!(
        refused.contains("line 1: ") && refused.contains("is not open"),
        "{refused}"
    );
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_and_missing_topics_have_their_exit_codes() {
    let mut bench = Bench::new().await;
    for (arguments, words) in [
        (&["list", "--reason", "refused"][..], "rejected"),
        (&["list", "--target", "vallt"], "aipix, valt, unclaimed"),
        (&["list", "--since", "yesterday"], "3d"),
        (&["replay"], "--yes"),
        (&["show", "nowhere"], "TOPIC/PARTITION/OFFSET"),
    ] {
        let output = run(&bench, arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            text(&output)
        );
        assert!(text(&output).contains(words), "{}", text(&output));
    }
    let nothing = format!("{}/0/0", bench.topic(2));
    assert_eq!(run(&bench, &["show", &nothing]).status.code(), Some(1));
    assert!(lines(&bench, &["list", "--json"], 0).is_empty());
    bench.set("kafka.topics.dead_letters", format!("{}-none", bench.id));
    let output = run(&bench, &["list"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("--create --topic"));
    let path: PathBuf = bench.config_file();
    assert!(path.exists());
}
