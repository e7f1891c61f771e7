use serde_json::{Value, json};

use super::*;

fn place(offset: i64) -> Place {
    Place {
        topic: "user-updates".into(),
        partition: 3,
        offset,
    }
}

fn facts<'a>(place: &'a Place, identity: &'a Identity) -> Facts<'a> {
    Facts {
        id: outcome_id("user-courier", "valt", place),
        group_id: "user-courier",
        target: "valt",
        place,
        kind: Kind::Delivered,
        reason: None,
        user: None,
        id_form: None,
        fields: None,
        identity,
        attempts: 0,
        http_status: None,
        into: None,
        error: None,
        received_at: "2026-11-22T09:00:00.1239Z".parse().unwrap(),
        finished_at: "2026-11-22T10:00:01+01:00".parse().unwrap(),
        trace: None,
    }
}

fn read(facts: Facts<'_>) -> (Vec<(String, String)>, Value) {
    let (headers, payload) = message(facts);
    let text = |header: Header| {
        (
            header.name.into_owned(),
            String::from_utf8(header.value.unwrap()).unwrap(),
        )
    };
    (
        headers.into_iter().map(text).collect(),
        serde_json::from_slice(&payload).unwrap(),
    )
}

#[test]
fn an_outcome_is_as_documented() {
    let identity = Identity {
        id: Some("e-1".into()),
        source: Some("/billing".into()),
        event_type: Some("changed".into()),
    };
    let (place, later) = (place(4711), place(4712));
    let (headers, data) = read(Facts {
        kind: Kind::Merged,
        user: UserId::number(52).as_ref(),
        fields: Some(vec!["rooms".into(), "display_name".into()]),
        attempts: 2,
        http_status: Some(200),
        into: Some(&later),
        trace: Some(&TraceContext {
            traceparent: "00-trace".into(),
            tracestate: Some("a=b".into()),
        }),
        ..facts(&place, &identity)
    });
    let wanted = json!({
        "outcome": "merged", "reason": null, "target": "valt", "user": 52, "fields": ["rooms", "display_name"],
        "event": { "id": "e-1", "source": "/billing", "type": "changed" },
        "record": { "topic": "user-updates", "partition": 3, "offset": 4711 },
        "attempts": 2, "http_status": 200, "into": { "topic": "user-updates", "partition": 3, "offset": 4712 },
        "error": null, "received_at": "2026-11-22T09:00:00.123Z", "finished_at": "2026-11-22T09:00:01.000Z",
    });
    assert_eq!(data, wanted);
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&data), names(&wanted), "in the documented order");
    // Computed with Python: uuid.uuid5(uuid.NAMESPACE_URL,
    // "user-courier:user-courier.valt/user-updates/3/4711").
    let wanted = [
        ("ce_specversion", "1.0"),
        ("ce_id", "0186f0e6-d07f-58c8-83b3-2771427797a0"),
        ("ce_source", "/user-courier/user-courier/valt"),
        ("ce_type", "user-courier.update.merged"),
        ("ce_time", "2026-11-22T09:00:01.000Z"),
        ("content-type", "application/json"),
        ("ce_subject", "valt/users/52"),
        ("traceparent", "00-trace"),
        ("tracestate", "a=b"),
    ];
    assert_eq!(
        headers,
        wanted.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[test]
fn a_user_is_written_as_the_api_has_it_and_is_one_segment_of_the_subject() {
    let (identity, place) = (Identity::default(), place(0));
    for (user, form, data_has, subject_has) in [
        ("52", Some(IdForm::Number), json!(52), "52"),
        ("52", Some(IdForm::Text), json!("52"), "52"),
        ("52", None, json!(52), "52"),
        (
            "a/b ü",
            Some(IdForm::Text),
            json!("a/b ü"),
            "a%2Fb%20%C3%BC",
        ),
    ] {
        let user = UserId::text(user);
        let (headers, data) = read(Facts {
            user: user.as_ref(),
            id_form: form,
            ..facts(&place, &identity)
        });
        assert_eq!(data["user"], data_has);
        let subject = headers.iter().find(|(name, _)| name == "ce_subject");
        let (_, subject) = subject.unwrap();
        assert_eq!(*subject, format!("valt/users/{subject_has}"));
        let (target, read) = of_subject(subject).unwrap();
        assert_eq!((target, Some(read)), ("valt", user));
    }
}

#[test]
fn what_is_not_known_is_null_or_left_out() {
    let identity = Identity::default();
    let place = place(0);
    let (headers, data) = read(Facts {
        target: "unclaimed",
        kind: Kind::DeadLettered,
        reason: Some(Reason::Undecodable),
        error: Some(ApiError {
            message: "the value is empty".into(),
            ..ApiError::default()
        }),
        ..facts(&place, &identity)
    });
    assert!(
        !headers
            .iter()
            .any(|(name, _)| name == "ce_subject" || name == "traceparent")
    );
    let wanted = json!({
        "outcome": "dead_lettered", "reason": "undecodable", "target": "unclaimed", "user": null, "fields": null,
        "event": { "id": null, "source": null, "type": null },
        "record": { "topic": "user-updates", "partition": 3, "offset": 0 },
        "attempts": 0, "http_status": null, "into": null, "error": { "message": "the value is empty", "fields": {} },
        "received_at": "2026-11-22T09:00:00.123Z", "finished_at": "2026-11-22T09:00:01.000Z",
    });
    assert_eq!(data, wanted);
}

#[test]
fn the_id_depends_on_group_target_and_place_alone() {
    let id = outcome_id("user-courier", "valt", &place(4711));
    assert_eq!(id, outcome_id("user-courier", "valt", &place(4711)));
    assert_ne!(id, outcome_id("user-courier", "aipix", &place(4711)));
    assert_ne!(id, outcome_id("courier", "valt", &place(4711)));
    assert_ne!(id, outcome_id("user-courier", "valt", &place(4712)));
}

#[test]
fn a_name_is_the_same_in_text_and_json() {
    for kind in Kind::ALL {
        assert_eq!(json!(kind), json!(kind.as_str()));
    }
    for reason in Reason::ALL {
        let (_, mut json) = read(facts(&place(1), &Identity::default()));
        json["reason"] = json!(reason.as_str());
        let data: OutcomeData = serde_json::from_value(json.clone()).unwrap();
        assert_eq!((data.reason, json!(data)), (Some(reason), json));
    }
}

#[test]
fn an_endless_error_takes_two_kib() {
    let (place, identity) = (place(1), Identity::default());
    let error = ApiError {
        message: "\"".repeat(5_000),
        fields: [("rooms".to_owned(), vec!["x".repeat(5_000)])].into(),
    };
    let (_, data) = read(Facts {
        error: Some(error),
        ..facts(&place, &identity)
    });
    let length = data["error"].to_string().len();
    assert!((500..=2048).contains(&length), "{length}");
    assert!(
        data["error"]["fields"]["rooms"][0]
            .as_str()
            .unwrap()
            .ends_with('…')
    );
}

#[test]
fn an_endless_identity_does_not_make_an_endless_outcome() {
    let endless = Some("\u{1}".repeat(900_000));
    let identity = Identity {
        id: endless.clone(),
        source: endless.clone(),
        event_type: endless,
    };
    let place = place(1);
    assert!(message(facts(&place, &identity)).1.len() < 200_000);
}
