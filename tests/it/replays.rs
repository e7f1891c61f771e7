//! Replays that are interrupted, overtaken, or made while updates flow: each dead letter is sent
//! once, and no user is left with what is old.

use std::process::{Child, Stdio};

use serde_json::{Value, json};
use stand_in::Rule;

use crate::dead_letters::{
    changes, command, ended, lines, refusing, replay, replays, run, settled, text,
};
use crate::harness::api::calls_by_user;
use crate::harness::bench::{Bench, PARTITIONS};
use crate::harness::kafka::{self, Message};
use crate::harness::update::Update;

/// Starts a replay, and waits until it has sent something.
fn begin(bench: &Bench, arguments: &[&str], sent: usize) -> Child {
    let child = command(bench, &[&["replay", "--yes"], arguments].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = kafka::Reader::new(&bench.servers, &bench.topic(0));
    let is_replay = |message: &Message| message.header("replay-of").is_some();
    let begun = reader.read_until(kafka::PATIENCE, |reader| {
        reader
            .seen
            .iter()
            .filter(|(_, message)| is_replay(message))
            .count()
            >= sent
    });
    assert!(begun, "the replay sends nothing");
    child
}

/// Every dead letter was replayed exactly once, by the records and by the outcomes.
#[track_caller]
fn check_once(bench: &mut Bench, count: usize) {
    let mut of: Vec<_> = replays(bench).into_iter().map(|(of, ..)| of).collect();
    of.sort_unstable();
    let sent = of.len();
    of.dedup();
    assert_eq!((sent, of.len()), (count, count));
    let outcomes = bench.outcomes_now();
    assert_eq!(ended(&outcomes, "replayed"), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_and_run_again_sends_each_once() {
    let mut bench = refusing(1..=150).await;
    let service = bench.start();
    let places = bench.send(
        &(1..=150)
            .map(|user| Update::valt(user, "Anna"))
            .collect::<Vec<_>>(),
    );
    bench.outcomes_of(&places);
    bench.valt.clear_faults();
    for sent in [20, 60] {
        let mut child = begin(&bench, &["--rate", "100"], sent);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(replays(&bench).len() < 150, "it was killed before its end");
    replay(&bench, &[], 0);
    check_once(&mut bench, 150);
    settled(&mut bench, 450);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replays_at_once_the_later_one_goes_on() {
    let mut bench = refusing(1..=120).await;
    let service = bench.start();
    let places = bench.send(
        &(1..=120)
            .map(|user| Update::valt(user, "Anna"))
            .collect::<Vec<_>>(),
    );
    bench.outcomes_of(&places);
    bench.valt.clear_faults();
    let first = begin(&bench, &["--rate", "10"], 10);
    replay(&bench, &[], 0);
    let first = first.wait_with_output().unwrap();
    // Unless it looked only after the other one had done all, and had nothing more to send.
    let ending = match first.status.code() {
        Some(0) => "had been settled by another replay meanwhile",
        _ => "another replay has taken over",
    };
    assert!(text(&first).contains(ending), "{}", text(&first));
    check_once(&mut bench, 120);
    assert_eq!(service.terminate().code, Some(0));
}

/// The update stands on the topic before the replayed one, but nobody can read it when the replay
/// looks: its transaction is open.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_comes_between_the_look_and_the_sending_is_heeded() {
    let mut bench = refusing([1]).await;
    let service = bench.start();
    let places = bench.send(&[changes(1, json!({ "display_name": "old", "rooms": [1] }))]);
    bench.outcomes_of(&places);
    bench.valt.clear_faults();
    let writer = kafka::Writer::transactional(&bench.servers, &bench.topic(0));
    writer.begin(&[Update::valt(1, "new").message()]);
    let mut child = command(&bench, &["replay", "--yes"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Sent, found wanting, undone, and sent again: it waits for how the other one ends.
    let mut all = kafka::Reader::of_all(&bench.servers, &bench.topic(0));
    let tried = |reader: &kafka::Reader| {
        reader
            .seen
            .iter()
            .filter(|(_, message)| message.header("replay-of").is_some())
            .count()
            >= 2
    };
    assert!(all.read_until(kafka::PATIENCE, tried), "it is not undone");
    writer.commit();
    assert!(child.wait().unwrap().success());
    bench.outcomes(1 + 1 + 2);
    let fields = bench.valt.fields(1).unwrap();
    assert_eq!(
        (&fields["display_name"], &fields["rooms"]),
        (&json!("new"), &json!([1]))
    );
    let sent = replays(&bench);
    let event: Value = serde_json::from_slice(sent[0].2.value.as_deref().unwrap()).unwrap();
    assert_eq!(
        (sent.len(), &event["data"]["changes"]),
        (1, &json!({ "rooms": [1] }))
    );
    assert_eq!(service.terminate().code, Some(0));
}

/// Live updates of the same users flow while their dead letters are replayed.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_amid_live_updates_leaves_every_user_as_the_original_order_would() {
    const USERS: u64 = 20;
    let mut bench = refusing(1..=USERS).await;
    let service = bench.start();
    let old = json!({ "display_name": "old", "name": "old", "rooms": [0] });
    let places = bench.send(
        &(1..=USERS)
            .map(|user| changes(user, old.clone()))
            .collect::<Vec<_>>(),
    );
    bench.outcomes_of(&places);
    bench.valt.clear_faults();
    let mut child = command(&bench, &["replay", "--yes", "--rate", "10"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut rounds = 0;
    while child.try_wait().unwrap().is_none() {
        // In each round other fields, so that what is still to be replayed loses them one by one.
        let round = json!(if rounds % 2 == 0 {
            json!({ "display_name": rounds.to_string() })
        } else {
            json!({ "rooms": [rounds] })
        });
        bench.send(
            &(1..=USERS)
                .map(|user| changes(user, round.clone()))
                .collect::<Vec<_>>(),
        );
        rounds += 1;
        bench.outcomes(places.len() * (rounds + 1));
    }
    assert!(child.wait().unwrap().success());
    assert!(rounds >= 2, "updates came meanwhile");
    let sent = replays(&bench).len();
    let outcomes = settled(&mut bench, places.len() * 2 + sent + rounds * places.len());
    assert_eq!(
        ended(&outcomes, "replayed") + ended(&outcomes, "superseded"),
        places.len()
    );
    let (name, rooms) = ((rounds - 1) / 2 * 2, (rounds - 2) / 2 * 2 + 1);
    for user in 1..=USERS {
        let fields = bench.valt.fields(user).unwrap();
        assert_eq!(
            (&fields["display_name"], &fields["rooms"], &fields["name"]),
            (&json!(name.to_string()), &json!([rooms]), &json!("old"))
        );
    }
    calls_by_user(&bench.valt);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sender_writes_into_the_headers_of_a_replay_is_not_believed() {
    let mut bench = refusing(1..=2).await;
    let _service = bench.start();
    let bogus = Update::valt(2, "counted")
        .header("replay-of", "elsewhere/0/1")
        .header("replay-count", "7");
    let places = bench.send(&[Update::valt(1, "old"), bogus]);
    bench.outcomes_of(&places);
    let letters = lines(&bench, &["list", "--json"], 0);
    let place = letters.iter().find(|letter| letter["user"] == 1).unwrap()["place"]
        .as_str()
        .unwrap()
        .to_owned();
    bench.valt.clear_faults();
    // A newer update that bears the name of the dead letter, as a copied header does.
    let copied = bench.send(&[Update::valt(1, "new")
        .header("replay-of", place)
        .header("replay-count", "1")]);
    bench.outcomes_of(&[places, copied].concat());
    replay(&bench, &["--user", "1"], 0);
    assert_eq!(ended(&bench.outcomes_now(), "superseded"), 1);
    assert_eq!(bench.valt.fields(1).unwrap()["display_name"], "new");
    // It names no dead letter of this service: it was never one.
    assert_eq!(
        lines(&bench, &["replay", "--dry-run", "--json", "--user", "2"], 0)[0]["action"],
        "refuse"
    );
}

/// The actions of the plan, by user.
fn actions(bench: &Bench) -> Vec<(u64, String)> {
    let lines = lines(bench, &["replay", "--dry-run", "--json"], 0);
    let mut actions: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["user"].as_u64().unwrap(),
                line["action"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    actions.sort();
    actions
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_from_before_the_topic_was_made_anew_is_refused_unless_it_is_forced() {
    let mut bench = refusing([1, 2]).await;
    let service = bench.start();
    let old = bench.send(&[Update::valt(1, "old"), Update::valt(2, "old")]);
    bench.outcomes_of(&old);
    kafka::remake_topic(&bench.servers, &bench.topic(0), PARTITIONS).await;
    bench.writer = kafka::Writer::new(&bench.servers, &bench.topic(0));
    // At the very places of the old ones: one is dead too, the other is delivered.
    bench.valt.clear_faults();
    bench.valt.fault(Rule::status(422).user(2));
    let new = bench.send(&[Update::valt(1, "new"), Update::valt(2, "new")]);
    assert_eq!(new, old, "offsets are used anew");
    bench.outcomes(4);
    bench.valt.clear_faults();

    let listed = lines(&bench, &["list", "--json"], 0);
    let before: Vec<_> = listed
        .iter()
        .map(|line| line["from_before"].as_bool().unwrap())
        .collect();
    assert_eq!(
        (
            before.len(),
            before.iter().filter(|before| **before).count()
        ),
        (3, 2)
    );
    let table = text(&run(&bench, &["list"]));
    assert!(
        table.contains("2 of them are from before the update topic was made anew"),
        "{table}"
    );
    let of_one = listed.iter().find(|line| line["user"] == 1).unwrap();
    let shown = text(&run(&bench, &["show", of_one["place"].as_str().unwrap()]));
    assert!(
        shown
            .contains("A replay would refuse it: it is from before the update topic was made anew"),
        "{shown}"
    );
    let action = |action: &str| action.to_owned();
    assert_eq!(
        actions(&bench),
        [
            (1, action("refuse")),
            (2, action("refuse")),
            (2, action("send"))
        ]
    );
    let told = replay(&bench, &[], 1);
    assert!(
        told.contains("from before the update topic was made anew"),
        "{told}"
    );
    // The one of the new topic went.
    bench.outcomes(4 + 2);
    assert_eq!(
        [1, 2].map(|user| bench.valt.fields(user).unwrap()["display_name"].clone()),
        ["new", "new"]
    );
    // By force, what is known is heeded: everything on the new topic is newer.
    replay(&bench, &["--force"], 0);
    let outcomes = settled(&mut bench, 4 + 2 + 2);
    assert_eq!(
        (ended(&outcomes, "replayed"), ended(&outcomes, "superseded")),
        (1, 2)
    );
    assert_eq!(
        [1, 2].map(|user| bench.valt.fields(user).unwrap()["display_name"].clone()),
        ["new", "new"]
    );
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_update_in_a_partition_that_was_added_since_is_heeded() {
    const USERS: u64 = 24;
    let mut bench = refusing([]).await;
    let service = bench.start();
    // Delivered before all else, and in partitions that some users leave: it overwrites nothing.
    let each = |value: Value| {
        (1..=USERS)
            .map(|user| changes(user, value.clone()))
            .collect::<Vec<_>>()
    };
    let oldest = bench.send(&each(json!({ "display_name": "oldest", "name": "oldest" })));
    bench.outcomes_of(&oldest);
    bench.valt.fault(Rule::status(422));
    let first = bench.send(&each(json!({ "display_name": "old", "name": "old" })));
    bench.outcomes(2 * first.len());
    bench.valt.clear_faults();
    kafka::add_partitions(
        &bench.servers,
        &bench.topic(0),
        usize::try_from(2 * PARTITIONS).unwrap(),
    )
    .await;
    bench.writer = kafka::Writer::new(&bench.servers, &bench.topic(0));
    let new = bench.send(&each(json!({ "display_name": "new" })));
    let moved = first
        .iter()
        .zip(&new)
        .filter(|(first, new)| first.partition != new.partition)
        .count();
    assert!(
        (1..USERS as usize).contains(&moved),
        "{moved} users have moved"
    );
    bench.outcomes(3 * first.len());
    // The last update of each of these is dead, and nothing has overwritten it.
    const LATEST: u64 = 8;
    bench.valt.fault(Rule::status(422));
    let latest = bench.send(&each(json!({ "display_name": "latest" }))[..LATEST as usize]);
    bench.outcomes(3 * first.len() + latest.len());
    bench.valt.clear_faults();

    let counts = |wanted: &str| {
        actions(&bench)
            .iter()
            .filter(|(_, action)| action == wanted)
            .count()
    };
    assert_eq!(
        (counts("trim"), counts("send")),
        (first.len(), latest.len())
    );
    replay(&bench, &[], 0);
    let letters = first.len() + latest.len();
    let outcomes = settled(&mut bench, 3 * first.len() + latest.len() + 2 * letters);
    assert_eq!(ended(&outcomes, "replayed"), letters);
    for user in 1..=USERS {
        let fields = bench.valt.fields(user).unwrap();
        let name = if user <= LATEST { "latest" } else { "new" };
        assert_eq!(
            (&fields["display_name"], &fields["name"]),
            (&json!(name), &json!("old")),
            "user {user}"
        );
    }
    for (_, place, message) in replays(&bench) {
        let user: usize = String::from_utf8(message.key.unwrap())
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(
            place.partition,
            new[user - 1].partition,
            "it goes to where the updates of user {user} are now"
        );
    }
    assert_eq!(service.terminate().code, Some(0));
}
