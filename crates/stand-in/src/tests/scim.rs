//! SCIM, as a client sees it.

use serde_json::json;

use super::*;

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// A PATCH of a user with these operations.
async fn patch(stand_in: &StandIn, user: &str, operations: Value) -> Seen {
    let body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": operations,
    });
    let path = format!("/scim/v2/Users/{user}");
    call(stand_in, Method::PATCH, &path, &body.to_string())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_patch_sets_and_removes_attributes_and_members() {
    let stand_in = stand_in("scim").await;
    let set = json!([
        { "op": "replace", "path": "displayName", "value": "Zoë" },
        { "op": "replace", "path": "name.givenName", "value": "Zoë" },
        { "op": "replace", "path": "name.familyName", "value": "Doe" },
        { "op": "replace", "path": format!("{ENTERPRISE}:department"), "value": "R&D" },
        { "op": "replace", "path": "password", "value": "canary" },
    ]);
    let seen = patch(&stand_in, "a%2Fb", set).await;
    assert_eq!(seen.status, 200);
    assert_eq!(seen.json()["id"], "a/b");
    assert!(!seen.text().contains("canary"));
    let removed = json!([
        { "op": "remove", "path": "displayName" },
        { "op": "remove", "path": "name.givenName" },
        { "op": "remove", "path": format!("{ENTERPRISE}:department") },
    ]);
    assert_eq!(patch(&stand_in, "a%2Fb", removed).await.status, 200);
    let held = Value::Object(stand_in.fields("a/b").unwrap());
    let wanted = json!({ "name": { "familyName": "Doe" }, "password": "canary" });
    assert_eq!(held, wanted);
}

#[tokio::test]
async fn refusals_have_the_shape_of_scim_and_change_nothing() {
    let stand_in = stand_in("scim").await;
    stand_in.set(|settings| settings.users = crate::Users::except(["nobody"]));
    let replace = |path: &str| {
        json!([
            { "op": "replace", "path": "title", "value": "x" },
            { "op": "replace", "path": path, "value": "x" },
        ])
    };
    for (user, path, status, scim_type) in [
        ("jane", "nickname", 400, json!("invalidPath")),
        ("jane", "name.initials", 400, json!("invalidPath")),
        ("nobody", "title", 404, Value::Null),
    ] {
        let seen = patch(&stand_in, user, replace(path)).await;
        assert_eq!(seen.status, status);
        let body = seen.json();
        assert_eq!(
            body["schemas"],
            json!(["urn:ietf:params:scim:api:messages:2.0:Error"])
        );
        assert_eq!(
            (&body["status"], &body["scimType"]),
            (&json!(status.to_string()), &scim_type)
        );
    }
    assert_eq!(stand_in.fields("jane"), None);
    stand_in.expire_tokens();
    assert_eq!(patch(&stand_in, "jane", replace("title")).await.status, 401);
    let elsewhere = call(&stand_in, Method::PATCH, "/Users/jane", "{}")
        .await
        .unwrap();
    assert!(elsewhere.status == 404 && elsewhere.text().contains("<html>"));
}

#[tokio::test]
async fn a_client_is_given_a_token_for_its_credentials() {
    let stand_in = stand_in("scim").await;
    let ask = async |form: &'static str| {
        let sent = call(&stand_in, Method::POST, "/oauth/token", form);
        sent.await.unwrap()
    };
    let form = "grant_type=client_credentials&client_id=courier&client_secret=courier";
    let given = ask(form).await;
    assert_eq!(
        (given.status, &given.json()["token_type"]),
        (200, &json!("Bearer"))
    );
    assert!(given.json()["expires_in"].as_u64() > Some(0));
    let wrong = ask("grant_type=client_credentials&client_id=courier&client_secret=x").await;
    assert_eq!(
        (wrong.status, &wrong.json()["error"]),
        (401, &json!("invalid_client"))
    );
    assert_eq!(ask("grant_type=password").await.status, 400);
}

#[tokio::test]
async fn it_says_that_it_knows_patch() {
    let stand_in = stand_in("scim").await;
    let path = "/scim/v2/ServiceProviderConfig";
    let seen = call(&stand_in, Method::GET, path, "").await.unwrap();
    assert_eq!(
        (seen.status, &seen.json()["patch"]["supported"]),
        (200, &json!(true))
    );
}
