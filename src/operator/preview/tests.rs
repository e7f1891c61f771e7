//! Tests of what a preview says and keeps.

use serde_json::json;

use super::*;
use crate::config::Needed;

fn previewer() -> Previewer {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("user-courier.toml");
    let text = "[kafka]\nbootstrap_servers = \"localhost:9092\"\n\
        [targets.directory]\napi = \"scim\"\nbase_url = \"https://id.example.com/scim/v2/\"\n\
        token_file = \"/nowhere/token\"\n\
        [targets.directory.guard]\nmax_users = 1\nalso = [\"title\"]\n";
    std::fs::write(&file, text).unwrap();
    let config = Config::load_with(Needed::Nothing, &file, std::iter::empty(), &[]);
    Previewer::new(&config.unwrap())
}

fn event(source: &str, data: Value) -> Vec<u8> {
    let event =
        json!({ "specversion": "1.0", "id": "1", "source": source, "type": "t", "data": data });
    event.to_string().into_bytes()
}

#[test]
fn a_call_is_the_apis_own_below_the_base_url_with_its_secrets_masked() {
    let changes =
        json!({ "password": "hunter22", "nickName": null, "name": { "familyName": "Doe" } });
    let data = json!({ "target": "directory", "user": "a/b", "changes": changes });
    let preview = previewer().event(1, event("/s", data));
    let Fate::Call(sent) = &preview.fate else {
        panic!("{}", preview.json());
    };
    let call = sent.call();
    assert_eq!(
        (&*call.method, call.url.as_str()),
        ("PATCH", "https://id.example.com/scim/v2/Users/a%2Fb")
    );
    let body = call.body.get();
    for wanted in [
        r#"{"op":"replace","path":"password","value":"***"}"#,
        r#"{"op":"remove","path":"nickName"}"#,
        r#"{"op":"replace","path":"name.familyName","value":"Doe"}"#,
    ] {
        assert!(body.contains(wanted), "{body}");
    }
    assert!(!lines(&preview).contains("hunter22"));
    assert!(!preview.json().to_string().contains("hunter22"));
}

#[test]
fn of_many_kinds_so_many_are_kept_and_all_are_counted() {
    let (previewer, mut tally) = (previewer(), PreviewTally::default());
    for line in 0..2_000 {
        let data = json!({ "target": format!("t{line}"), "user": 1, "changes": {} });
        tally.add(&previewer.event(line, event(&format!("/s/{line}"), data)));
    }
    let kinds = tally.letters.values().next().unwrap();
    assert_eq!((kinds.count, kinds.kept.len()), (2_000, 8));
    assert_eq!(
        (tally.unroutable.count, tally.unroutable.kept.len()),
        (2_000, 1_000)
    );
    let shown = sheet(&tally, "event", "a file", true).to_string();
    for wanted in [
        "2,000 events of a file: 0 called for, 2,000 dead letters",
        "and 1,992 more for other causes",
        "and 1,980 more of other sources and types",
    ] {
        assert!(shown.contains(wanted), "{shown}");
    }
    assert!(shown.len() < 10_000, "{shown}");
}

#[test]
fn the_first_of_a_kind_is_the_earliest_in_whatever_order_they_come() {
    let (previewer, mut tally) = (previewer(), PreviewTally::default());
    let good = json!({ "target": "directory", "user": "u", "changes": { "title": "x" } });
    for line in [7, 3, 9] {
        tally.add(&previewer.event(line, event("/s", json!({}))));
        tally.add(&previewer.event(line + 1, event("/s", good.clone())));
    }
    let kinds = tally.letters.values().next().unwrap();
    assert_eq!(kinds.first(), Some(&At::Line(3)));
    let (count, first) = &tally.calls["directory"];
    assert_eq!((*count, &first.at), (3, &At::Line(4)));
}

#[test]
fn it_says_whether_a_guard_would_hold_its_target() {
    let (previewer, mut tally) = (previewer(), PreviewTally::default());
    let mut strip = |user: &str, changes: Value| {
        let data = json!({ "target": "directory", "user": user, "changes": changes });
        let preview = previewer.event(1, event("/s", data));
        tally.add(&preview);
        let would = sheet(&tally, "event", "a file", false).to_string();
        (preview.json()["takes_away"].clone(), would)
    };
    let (nothing, would) = strip("a", json!({ "active": true }));
    assert_eq!(nothing, json!([]));
    assert!(!would.contains("take away"), "{would}");
    strip("b", json!({ "active": false }));
    let (both, would) = strip(
        "b",
        json!({ "active": false, "title": "x", "nickName": "y" }),
    );
    assert_eq!(both, json!(["active", "title"]));
    let line = "directory: 1 user would lose something (active, title): no more than its guard \
        lets through (1 within 1h)";
    assert!(would.contains(line), "{would}");
    let (_, would) = strip("c", json!({ "emails": [] }));
    let line = "directory: 2 users would lose something (active, emails, title): more than its \
        guard lets through, so the target would hold (1 within 1h)";
    assert!(would.contains(line), "{would}");
}
