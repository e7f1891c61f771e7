//! `user-courier send`: one update, and what becomes of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stand_in::Rule;

use crate::console::{Answer, TOKEN, console};
use crate::console_letters::{act, job};
use crate::harness::api::wait_for_updates;
use crate::harness::bench::Bench;
use crate::harness::browser::Browser;
use crate::harness::update::Update;

/// The flags of an update that is given by its fields.
fn fields<'a>(user: &'a str, set: &'a [&'a str]) -> Vec<&'a str> {
    let flags = set.iter().flat_map(|field| ["--set", field]);
    ["send", "--target", "valt", "--user", user]
        .into_iter()
        .chain(flags)
        .collect()
}

/// Runs it with `--yes --json`: the exit code, the object, and what else was said.
fn sent(bench: &Bench, arguments: &[&str], input: &str) -> (Option<i32>, Value, String) {
    sent_beside(bench, "127.0.0.1:0", arguments, input)
}

/// The same beside an instance with that admin endpoint.
fn sent_beside(
    bench: &Bench,
    admin: &str,
    arguments: &[&str],
    input: &str,
) -> (Option<i32>, Value, String) {
    let all = [arguments, &["--yes", "--json"]].concat();
    let admin = [("USER_COURIER__ADMIN__LISTEN", admin)];
    let (code, out, errors) = bench.piped_with(&admin, &all, input);
    let object = serde_json::from_str(&out);
    (
        code,
        object.unwrap_or_else(|_| panic!("{out}{errors}")),
        errors,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_sent_under_its_users_key_and_seen_to_its_end_and_no_secret_is_shown() {
    let bench = Bench::new().await;
    let service = bench.start();
    let event = Update::new(
        "valt",
        52,
        json!({ "display_name": "Anna", "password": "one-Canary-1" }),
    );
    let mut event = event.event();
    let members = event.as_object_mut().unwrap();
    members.remove("id");
    members.remove("source");
    let file = bench.file("event.json", &format!("{event:#}"));
    let (code, shown, errors) = bench.piped(&["send", &file, "--yes"], "");
    assert_eq!(code, Some(0), "{shown}{errors}");
    let updates = bench.updates();
    assert_eq!(updates.len(), 1);
    let (place, message) = &updates[0];
    assert_eq!(message.key.as_deref(), Some(&b"52"[..]));
    let written: Value = serde_json::from_slice(message.value.as_ref().unwrap()).unwrap();
    assert_eq!(written["source"], "/user-courier/send");
    assert_eq!(written["data"]["changes"]["password"], "one-Canary-1");
    assert!(written["time"].is_string() && written["id"].is_string());
    for wanted in ["valt, user 52", "\"password\":\"***\"", "delivered: 1 call"] {
        assert!(shown.contains(wanted), "{wanted} is missing in\n{shown}");
    }
    let at = format!(
        "sent as {}/{}/{}",
        place.topic, place.partition, place.offset
    );
    assert!(errors.contains(&at), "{errors}");
    assert_eq!(bench.valt.fields(52).unwrap()["display_name"], "Anna");

    // The next one by its fields, with a key of its own.
    let flags = fields("53", &["card_number=\"5555-Canary\"", "rooms=[3]"]);
    let flags = [&flags[..], &["--key", "user-53"]].concat();
    let (code, object, words) = sent(&bench, &flags, "");
    assert_eq!(code, Some(0), "{object}{words}");
    assert_eq!(
        (&object["outcome"], &object["key"], &object["http_status"]),
        (&json!("delivered"), &json!("user-53"), &json!(200))
    );
    assert_eq!(
        object["call"]["body"],
        json!({ "card_number": "***", "rooms": [3] })
    );
    let keys: Vec<_> = bench
        .updates()
        .into_iter()
        .map(|(_, message)| message.key)
        .collect();
    assert!(keys.contains(&Some(b"user-53".to_vec())), "{keys:?}");
    let all = format!("{shown}{errors}{object}{words}{}", service.log());
    assert!(!all.contains("Canary"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_a_dead_letter_is_not_sent_and_a_bare_word_is_told_how_to_be_quoted() {
    let bench = Bench::new().await;
    let invalid = fields("52", &["romos=[1]"]);
    let (code, object, words) = sent(&bench, &invalid, "");
    assert_eq!(code, Some(1), "{words}");
    assert_eq!(
        (&object["outcome"], &object["reason"], &object["record"]),
        (&json!("refused"), &json!("invalid_changes"), &Value::Null)
    );
    assert!(
        words.contains("nothing was sent") && words.contains("data.changes.romos"),
        "{words}"
    );
    let unroutable = Update::of_data("5", json!({ "user": 5, "changes": { "rooms": [1] } }));
    let (code, object, _) = sent(&bench, &["send", "-"], &unroutable.event().to_string());
    assert_eq!((code, &object["reason"]), (Some(1), &json!("unroutable")));

    let two = format!("{0}\n{0}\n", Update::valt(5, "x").event());
    let bare = fields("52", &["password=hunter-Canary"]);
    let good = fields("52", &["rooms=[1]"]);
    for (arguments, input, wanted) in [
        (
            &[&bare[..], &["--yes"]].concat(),
            "",
            "--set 'password=\"…\"'",
        ),
        (&good, "", "there is no terminal to ask at: add --yes"),
        (&vec!["send", "-"], "", "add --yes"),
        (&vec!["send", "-", "--yes"], &two, "more than one event"),
        (&vec!["send", "-", "--yes"], "", "holds no event"),
        (&vec!["send", "--yes"], "", "--target"),
        (
            &[&fields("x", &["rooms=[1]"])[..], &["--yes"]].concat(),
            "",
            "--user x",
        ),
    ] {
        let (code, out, errors) = bench.piped(arguments, input);
        assert_eq!((code, &*out), (Some(2), ""), "{arguments:?} {errors}");
        assert!(errors.contains(wanted), "{wanted} is missing in {errors}");
        assert!(!errors.contains("Canary"), "{errors}");
    }
    assert!(bench.updates().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_tells_why_and_an_unreachable_broker_is_told_apart() {
    let mut bench = Bench::new().await;
    let _service = bench.start();
    let refusal = json!({ "error": { "code": 400, "message": "rooms: no such room" } });
    let slow = Duration::from_millis(1500);
    let rule = Rule::status(400).user(52).body(refusal);
    bench.valt.fault(rule.after(slow));
    let flags = fields("52", &["rooms=[9]"]);
    // Others end while it waits, and are not taken for it.
    let has_ended = AtomicBool::new(false);
    let (code, object, words) = std::thread::scope(|scope| {
        scope.spawn(|| {
            for user in (100..10_000).take_while(|_| !has_ended.load(Ordering::Relaxed)) {
                bench.send([&Update::valt(user, "other")]);
            }
        });
        let sent = sent(&bench, &flags, "");
        has_ended.store(true, Ordering::Relaxed);
        sent
    });
    assert_eq!(code, Some(1), "{words}");
    assert_eq!(
        (&object["outcome"], &object["reason"], &object["attempts"]),
        (&json!("dead_lettered"), &json!("rejected"), &json!(1))
    );
    assert!(
        words.contains("rooms: no such room") && words.contains("dead-letters list"),
        "{words}"
    );
    bench.set("kafka.bootstrap_servers", "127.0.0.1:1");
    let (code, out, errors) = bench.piped(&[&flags[..], &["--yes", "--json"]].concat(), "");
    assert_eq!((code, &*out), (Some(3), ""), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_is_told_behind_what_and_stays_queued_when_time_is_up() {
    let mut bench = Bench::new().await;
    let mut service = bench.start();
    let admin = service.address().to_string();
    // The user's first update is tried again and again.
    let fault = bench.valt.fault(Rule::status(500).user(52));
    let first = bench.send([&Update::valt(52, "first")]);
    wait_for_updates(&bench.valt, 2).await;
    bench.set("targets.valt.paused", true);
    bench.config_file();
    service.wait_until("it is paused", |service| {
        service.status()["targets"]["valt"]["cause"] == "paused"
    });
    let flags = fields("52", &["display_name=\"second\""]);
    let flags = [&flags[..], &["--wait", "6s"]].concat();
    let (code, object, words) = sent_beside(&bench, &admin, &flags, "");
    assert_eq!(
        (code, &object["outcome"]),
        (Some(1), &json!("waiting")),
        "{words}"
    );
    let behind = format!(
        "behind {}/{}/{}",
        first[0].topic, first[0].partition, first[0].offset
    );
    for wanted in [
        "valt is paused in its configuration",
        &behind,
        "It has not ended within 6s",
        "It stays queued as",
        "user-courier explain valt 52 --config",
    ] {
        assert!(words.contains(wanted), "{wanted} is missing in\n{words}");
    }
    bench.valt.remove_fault(fault);
    bench.set("targets.valt.paused", false);
    bench.config_file();
    bench.outcomes(2);
    assert_eq!(bench.valt.fields(52).unwrap()["display_name"], "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_merged_into_a_later_update_is_done_when_that_is() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.paused", true);
    let mut service = bench.start();
    let admin = service.address().to_string();
    let flags = fields("52", &["display_name=\"one\""]);
    let ended = std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let flags = [&flags[..], &["--wait", "40s"]].concat();
            sent_beside(&bench, &admin, &flags, "")
        });
        // Once it stands on the topic, a later one joins it.
        let came = (0..400).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            bench.updates().len() == 1
        });
        assert!(came, "the update was sent");
        bench.send([&Update::new("valt", 52, json!({ "rooms": [4] }))]);
        service.wait_until("both wait", |service| {
            service.status()["targets"]["valt"]["waiting"] == 2
        });
        let text = std::fs::read_to_string(bench.path()).unwrap();
        std::fs::write(
            bench.path(),
            text.replace("paused = true", "paused = false"),
        )
        .unwrap();
        waits.join().unwrap()
    });
    let (code, object, words) = ended;
    assert_eq!(
        (code, &object["outcome"]),
        (Some(0), &json!("merged")),
        "{words}"
    );
    assert!(object["into"]["offset"].is_number(), "{object}");
    assert_eq!(bench.outcomes(2).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_shows_the_call_and_sends_it_after_a_yes_with_the_token_only() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let console = console(&mut bench, Some(&service));
    let typed = |changes: &str| json!({ "target": "valt", "user": "52", "changes": changes });
    let begin = |changes: &str| act(&console, "/api/send", None, &typed(changes));
    let broken = begin("{\"password\": hunter-Canary}");
    assert_eq!(broken.0, 400);
    assert!(broken.2.contains("no JSON") && !broken.2.contains("Canary"));
    let id = |answer: Answer| answer.json()["job"].as_str().unwrap().to_owned();
    let refused = job(&console, &id(begin("{\"romos\": [1]}")), "done").await;
    assert_eq!(refused["result"]["outcome"], "refused");
    assert_eq!(refused["result"]["reason"], "invalid_changes");

    let update = "{\"display_name\": \"Anna\", \"password\": \"one-Canary-1\"}";
    let asked = id(begin(update));
    let planned = job(&console, &asked, "planned").await;
    assert_eq!(
        planned["result"]["call"]["body"],
        r#"{"display_name":"Anna","password":"***"}"#
    );
    let yes = format!("/api/jobs/{asked}/yes");
    let who = json!({ "operator": "Olga", "rate": null });
    assert_eq!(act(&console, &yes, None, &who).0, 401);
    assert_eq!(act(&console, &yes, Some("wrong"), &who).0, 401);
    assert!(bench.updates().is_empty());
    assert_eq!(act(&console, &yes, Some(TOKEN), &who).0, 200);
    let done = job(&console, &asked, "done").await;
    assert_eq!(done["result"]["outcome"], "delivered", "{done}");
    assert_eq!(done["result"]["http_status"], 200);
    assert_eq!(bench.updates().len(), 1);
    assert_eq!(bench.valt.fields(52).unwrap()["display_name"], "Anna");
    let told = format!("{refused}{planned}{done}{}", console.log());
    assert!(told.contains("\"operator\":\"Olga\""), "{told}");
    assert!(!told.contains("Canary"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_previews_and_then_sends_an_update() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let console = console(&mut bench, Some(&service));
    let browser = Browser::start().await;
    browser.look(1280, 900, false).await;
    browser
        .open(&format!("http://{}/#send", console.address()))
        .await;
    browser
        .until("document.activeElement.id === 'send-user'")
        .await;
    browser
        .run("document.getElementById('send-target').value = 'valt'; document.getElementById('send-user').value = '52'; document.getElementById('send-changes').value = '{\"rooms\": [4], \"card_number\": \"Canary\"}'")
        .await;
    browser.click("#main form.filter button.main").await;
    browser
        .until_text(".result pre", r#"{"rooms":[4],"card_number":"***"}"#)
        .await;
    browser
        .run(&format!("document.getElementById('operator').value = 'Olga'; document.getElementById('token').value = '{TOKEN}'"))
        .await;
    browser.click("#yes").await;
    browser.until_text(".ending", "delivered").await;
    browser.until_text(".result table", "last answer").await;
    assert_eq!(bench.valt.fields(52).unwrap()["rooms"], json!([4]));
}
