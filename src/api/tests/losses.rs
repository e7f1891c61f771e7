//! What takes something away, of all APIs.

use serde_json::json;
use serde_json::value::to_raw_value;

use crate::api::{Changes, by_name, taking};

fn changes(api: &str, changes: &serde_json::Value) -> Changes {
    let raw = to_raw_value(changes).unwrap();
    by_name(api).unwrap().validate(&raw).unwrap()
}

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

#[test]
fn the_tables_mark_what_takes_something_away() {
    for (api, set, taken) in [
        ("aipix", json!({ "permissions": [] }), &["permissions"][..]),
        ("aipix", json!({ "permissions": [1] }), &[]),
        (
            "valt",
            json!({ "rooms": [ ], "display_name": "" }),
            &["rooms"],
        ),
        ("valt", json!({ "rooms": [0], "user_group": 0 }), &[]),
        (
            "valt",
            json!({ "video_access": { "users": [], "user_groups": [1] } }),
            &["video_access.users"],
        ),
        ("valt", json!({ "video_access": { "users": [1] } }), &[]),
        ("scim", json!({ "active": false }), &["active"]),
        ("scim", json!({ "active": null }), &["active"]),
        ("scim", json!({ "active": true, "title": "a" }), &[]),
        (
            "scim",
            json!({ "title": null, "roles": [] }),
            &["title", "roles"],
        ),
        ("scim", json!({ "addresses": [] }), &["addresses"]),
        (
            "scim",
            json!({ "name": { "givenName": null, "familyName": "a" } }),
            &["name.givenName"],
        ),
        ("scim", json!({ "name": null }), &["name"]),
    ] {
        assert_eq!(changes(api, &set).taken_away(&[]), taken, "{set}");
    }
    let manager = json!({ ENTERPRISE: { "department": null } });
    assert_eq!(
        changes("scim", &manager).taken_away(&[]),
        [format!("{ENTERPRISE}.department")]
    );
}

#[test]
fn fields_may_be_added_of_which_any_value_counts() {
    let also = ["password".to_owned(), "user_group".to_owned()];
    let set = json!({ "password": "correct horse", "display_name": "a" });
    assert_eq!(changes("valt", &set).taken_away(&also), ["password"]);
    assert!(
        changes("valt", &json!({ "name": "a" }))
            .taken_away(&also)
            .is_empty()
    );
}

#[test]
fn what_a_later_update_of_the_call_gives_back_is_not_taken_away() {
    let none: &[&str] = &[];
    for (api, run, also, expected) in [
        (
            "valt",
            vec![json!({ "rooms": [] }), json!({ "rooms": [1] })],
            none,
            &[][..],
        ),
        (
            "valt",
            vec![json!({ "rooms": [] }), json!({ "name": "a" })],
            none,
            &[0],
        ),
        (
            "valt",
            vec![json!({ "rooms": [1] }), json!({ "rooms": [] })],
            none,
            &[1],
        ),
        (
            "valt",
            vec![json!({ "rooms": [] }), json!({ "rooms": [] })],
            none,
            &[1],
        ),
        (
            "valt",
            vec![json!({ "password": "a" }), json!({ "name": "a" })],
            &["password"],
            &[0],
        ),
        (
            "scim",
            vec![
                json!({ "name": { "givenName": null } }),
                json!({ "name": { "familyName": "a" } }),
            ],
            none,
            &[0],
        ),
        (
            "scim",
            vec![
                json!({ "name": { "givenName": null } }),
                json!({ "name": { "givenName": "a" } }),
            ],
            none,
            &[],
        ),
        (
            "scim",
            vec![
                json!({ "active": false }),
                json!({ "active": true }),
                json!({ "title": null }),
            ],
            none,
            &[2],
        ),
    ] {
        let also: Vec<String> = also.iter().map(|&name| name.to_owned()).collect();
        let all: Vec<Changes> = run.iter().map(|one| changes(api, one)).collect();
        let all: Vec<&Changes> = all.iter().collect();
        assert_eq!(taking(&all, &also), expected, "{run:?}");
        // It is the call that counts: the merged changes take something away, or do not.
        let merged = Changes::merged(all);
        assert_eq!(
            merged.taken_away(&also).is_empty(),
            expected.is_empty(),
            "{run:?}"
        );
    }
}
