//! Tests of what SCIM takes, sends and answers.

use super::requests::{sent, validated};
use super::*;

const OPERATIONS: &str =
    r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":["#;
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

#[test]
fn a_request_is_a_patch_with_an_operation_for_each_attribute() {
    let scim = by_name("scim").unwrap();
    let changes = validated("scim", r#"{"displayName":"Zoë \ud83d\ude00"}"#).unwrap();
    for (user, path) in [
        ("2819c223-7f76", "/Users/2819c223-7f76"),
        ("52", "/Users/52"),
        ("a/../b?x#ü %", "/Users/a%2F..%2Fb%3Fx%23%C3%BC%20%25"),
    ] {
        let request = scim.update(&UserId::text(user).unwrap(), &changes);
        assert_eq!((request.method.as_str(), &*request.path), ("PATCH", path));
        assert_eq!(request.token, TokenPlace::Bearer);
        let types = [request.content_type, request.accept];
        assert_eq!(types, ["application/scim+json"; 2]);
        let operation = r#"{"op":"replace","path":"displayName","value":"Zoë \ud83d\ude00"}"#;
        assert_eq!(request.body, format!("{OPERATIONS}{operation}]}}"));
    }
    for (changes, operations) in [
        (r#"{"title":null}"#, r#"{"op":"remove","path":"title"}"#),
        (
            r#"{"active":false,"emails":[{"value":"j@x","primary":true}],"roles":[]}"#,
            concat!(
                r#"{"op":"replace","path":"active","value":false},"#,
                r#"{"op":"replace","path":"emails","value":[{"value":"j@x","primary":true}]},"#,
                r#"{"op":"replace","path":"roles","value":[]}"#
            ),
        ),
        (
            r#"{"name":{"familyName":"Doe","middleName":null}}"#,
            concat!(
                r#"{"op":"replace","path":"name.familyName","value":"Doe"},"#,
                r#"{"op":"remove","path":"name.middleName"}"#
            ),
        ),
        (r#"{"name":null}"#, r#"{"op":"remove","path":"name"}"#),
    ] {
        assert_eq!(
            sent("scim", changes),
            format!("{OPERATIONS}{operations}]}}")
        );
    }
    let enterprise =
        format!(r#"{{"{ENTERPRISE}":{{"department":"R&D","manager":{{"value":"7"}}}}}}"#);
    let replace = |name: &str, value: &str| {
        format!(r#"{{"op":"replace","path":"{ENTERPRISE}:{name}","value":{value}}}"#)
    };
    let department = replace("department", r#""R&D""#);
    let operations = format!("{department},{}", replace("manager", r#"{"value":"7"}"#));
    assert_eq!(
        sent("scim", &enterprise),
        format!("{OPERATIONS}{operations}]}}")
    );
}

#[test]
fn the_members_of_a_name_are_merged_one_by_one() {
    let changes = |text| validated("scim", text).unwrap();
    let given = changes(r#"{"name":{"givenName":"Jo","middleName":"Q"},"title":"a"}"#);
    let family = changes(r#"{"name":{"familyName":"Doe","middleName":null},"title":null}"#);
    let nothing = changes(r#"{"name":null}"#);
    let scim = by_name("scim").unwrap();
    assert!(scim.may_merge(&given, &family) && scim.may_merge(&given, &nothing));
    assert!(!scim.may_merge(&nothing, &given), "no one value says both");
    assert_eq!(
        Changes::merged([&given, &family]).body(),
        r#"{"name":{"givenName":"Jo","middleName":null,"familyName":"Doe"},"title":null}"#
    );
    assert_eq!(
        Changes::merged([&given, &nothing]).body(),
        r#"{"name":null,"title":"a"}"#
    );
}

#[test]
fn a_replay_leaves_out_members_one_by_one() {
    let scim = by_name("scim").unwrap();
    let parts = |text: &str| scim.parts(&serde_json::from_str::<Box<RawValue>>(text).unwrap());
    assert_eq!(parts(r#"{"name":{"givenName":"Jo"}}"#), ["name.givenName"]);
    assert_eq!(parts(r#"{"name":null}"#).len(), 6, "it removes each member");
    assert_eq!(parts(r#"{"emails":[{"value":"a"}]}"#), ["emails"]);
    let overwritten = ["name.givenName".to_owned()];
    let left = scim.without(r#"{"name":null,"title":"a"}"#, &overwritten);
    assert!(
        !left.contains("givenName") && left.contains(r#""familyName":null"#),
        "{left}"
    );
    let enterprise = format!(r#"{{"{ENTERPRISE}":{{"department":"a","division":"b"}}}}"#);
    let overwritten = [format!("{ENTERPRISE}.division")];
    assert_eq!(parts(&enterprise)[1], overwritten[0]);
    assert_eq!(
        scim.without(&enterprise, &overwritten),
        format!(r#"{{"{ENTERPRISE}":{{"department":"a"}}}}"#)
    );
}

#[test]
fn an_answer_is_judged_by_the_table() {
    let error = |status: u16, more: &str| {
        let urn = "urn:ietf:params:scim:api:messages:2.0:Error";
        format!(r#"{{"schemas":["{urn}"],"status":"{status}"{more}}}"#)
    };
    let bare = r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"]}"#;
    let user = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"x"}"#;
    rows(
        "scim",
        &[
            (204, "", Verdict::Delivered),
            (200, r#"{"id":"52"}"#, Verdict::Delivered),
            (200, r#"{"id":52,"x":[]}"#, Verdict::Delivered),
            (200, user, Verdict::Delivered),
            (200, "", Verdict::Fault),
            (200, "<html>", Verdict::Fault),
            (200, r#"{"id":""}"#, Verdict::Fault),
            (200, r#"{"schemas":["x"]}"#, Verdict::Fault),
            (200, &error(400, ""), Verdict::Fault),
            (201, r#"{"id":"52"}"#, Verdict::Fault),
            (400, &error(400, r#","scimType":"invalidPath""#), REJECTED),
            (400, bare, REJECTED),
            (409, &error(409, r#","scimType":"uniqueness""#), REJECTED),
            (412, &error(412, ""), REJECTED),
            (413, &error(413, ""), REJECTED),
            (400, r#"{"detail":"m"}"#, Verdict::Fault),
            (400, "<html>", Verdict::Fault),
            (409, r#"{"schemas":"x"}"#, Verdict::Fault),
            (412, "", Verdict::Fault),
            (413, "<html>", Verdict::Fault),
            (413, "", Verdict::Fault),
            (
                404,
                &error(404, r#","detail":"no such resource""#),
                NOT_FOUND,
            ),
            (404, bare, NOT_FOUND),
            (404, "<html>", Verdict::Fault),
            (404, r#"{"error":{"code":404}}"#, Verdict::Fault),
            (404, "", Verdict::Fault),
            (501, &error(501, ""), Verdict::Fault),
            (501, "", Verdict::Fault),
            (500, &error(500, ""), RETRY),
            (502, "<html>", RETRY),
            (503, "", RETRY),
            (403, bare, Verdict::Unauthorized),
            (405, bare, Verdict::Fault),
            (429, bare, NO_PAUSE),
            (302, "", Verdict::Fault),
        ],
    );
    assert_eq!(judged("scim", 401, bare).verdict, Verdict::Unauthorized);
    assert!(judged("scim", 401, bare).token_refused);
    assert!(judged("scim", 200, r#"{"id":"53"}"#).other_user);
    assert!(!judged("scim", 200, r#"{"id":"52"}"#).other_user);
    assert!(!judged("scim", 200, user).other_user);
    let words = |body: &str| judged("scim", 400, body).error.unwrap().message;
    assert_eq!(
        words(&error(
            400,
            r#","scimType":"mutability","detail":"read only""#
        )),
        "mutability: read only"
    );
    assert_eq!(
        words(bare),
        "the API refused the update and gave no message"
    );
    assert!(judged("scim", 400, bare).quotes_api);
}

#[test]
fn a_check_asks_whether_patch_is_supported() {
    let check = &by_name("scim").unwrap().check;
    let request = (check.request)();
    assert_eq!(
        (request.method.as_str(), &*request.path),
        ("GET", "/ServiceProviderConfig")
    );
    let judged = |status, body: &str| {
        (check.judge)(&Answer {
            status,
            body: body.into(),
            ..Answer::default()
        })
        .map(|found| found.is_ok())
    };
    for (status, body, found) in [
        (200, r#"{"patch":{"supported":true}}"#, Some(true)),
        (200, r#"{"patch":{"supported":false}}"#, Some(false)),
        (200, r#"{"schemas":["x"]}"#, Some(true)),
        (200, r#"{"patch":{}}"#, Some(true)),
        (200, "{}", None),
        (200, "<html>", None),
        (401, r#"{"patch":{"supported":true}}"#, None),
        (404, "", None),
    ] {
        assert_eq!(judged(status, body), found, "{status} {body}");
    }
}
