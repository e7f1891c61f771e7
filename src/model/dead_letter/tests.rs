use super::*;

fn dead_letter() -> DeadLetter {
    DeadLetter {
        origin: Place {
            topic: "user-updates".into(),
            partition: 3,
            offset: 4711,
        },
        reason: Reason::Rejected,
        message: "the API refused it".into(),
        target: "valt".into(),
        user: UserId::number(52),
        attempts: 2,
        http_status: Some(422),
        first_attempt_at: Some("2026-11-22T09:00:00.1Z".parse().unwrap()),
        failed_at: "2026-11-22T09:00:01Z".parse().unwrap(),
        replays: 1,
        topic_id: TopicId([7; 16]),
        timestamp_ms: Some(1_795_337_999_870),
    }
}

fn record(headers: &[(&str, &str)]) -> Record {
    Record {
        place: Place {
            topic: "user-updates".into(),
            partition: 3,
            offset: 4711,
        },
        key: None,
        value: None,
        timestamp_ms: None,
        headers: headers
            .iter()
            .map(|(name, value)| Header::text(name.to_string(), *value))
            .collect(),
        verbatim_headers: None,
    }
}

#[test]
fn the_added_headers_are_as_documented() {
    let wanted = [
        ("__connect.errors.topic", "user-updates"),
        ("__connect.errors.partition", "3"),
        ("__connect.errors.offset", "4711"),
        ("__connect.errors.stage", "TASK_PUT"),
        ("__connect.errors.exception.message", "the API refused it"),
        ("dlq.reason", "rejected"),
        ("dlq.target", "valt"),
        ("dlq.user", "52"),
        ("dlq.attempts", "2"),
        ("dlq.http_status", "422"),
        ("dlq.first_attempt_at", "2026-11-22T09:00:00.100Z"),
        ("dlq.failed_at", "2026-11-22T09:00:01.000Z"),
        ("dlq.replays", "1"),
        ("dlq.topic_id", "BwcHBwcHBwcHBwcHBwcHBw"),
        ("dlq.timestamp", "1795337999870"),
    ];
    assert_eq!(
        dead_letter().headers(),
        wanted.map(|(name, value)| Header::text(name, value))
    );
}

#[test]
fn what_has_no_value_is_left_out() {
    let bare = DeadLetter {
        reason: Reason::Undecodable,
        target: "unclaimed".into(),
        user: None,
        attempts: 0,
        http_status: None,
        first_attempt_at: None,
        replays: 0,
        topic_id: TopicId::UNKNOWN,
        timestamp_ms: None,
        ..dead_letter()
    };
    let headers = bare.headers();
    let text = |name: &str| {
        headers
            .iter()
            .find(|header| header.name == name)
            .and_then(|header| header.value.as_deref())
    };
    for name in [
        "dlq.user",
        "dlq.http_status",
        "dlq.first_attempt_at",
        "dlq.timestamp",
    ] {
        assert_eq!(text(name), None, "{name}");
    }
    assert_eq!(text("dlq.attempts"), Some(&b"0"[..]));
    assert_eq!(text("dlq.replays"), Some(&b"0"[..]));
    assert_eq!(
        text("__connect.errors.stage"),
        Some(&b"VALUE_CONVERTER"[..])
    );
    assert_eq!(DeadLetter::read(&headers), Some(bare));
}

#[test]
fn what_was_written_is_read_back() {
    for reason in Reason::ALL {
        let dead_letter = DeadLetter {
            reason,
            ..dead_letter()
        };
        let mut headers = vec![Header {
            name: "own".into(),
            value: None,
        }];
        headers.extend(dead_letter.headers());
        assert_eq!(DeadLetter::read(&headers), Some(dead_letter));
    }
}

#[test]
fn a_strangers_dead_letter_is_not_ours() {
    assert_eq!(DeadLetter::read(&[]), None);
    for (name, wrong) in [
        ("dlq.reason", "bad luck"),
        ("dlq.replays", "many"),
        ("dlq.failed_at", "yesterday"),
        ("__connect.errors.offset", "x"),
    ] {
        let mut headers = dead_letter().headers();
        headers
            .iter_mut()
            .filter(|header| header.name == name)
            .for_each(|header| *header = Header::text(name, wrong));
        assert_eq!(DeadLetter::read(&headers), None, "{name}");
        headers.retain(|header| header.name != name);
        assert_eq!(DeadLetter::read(&headers), None, "{name}");
    }
}

#[test]
fn the_headers_of_an_earlier_failure_give_way() {
    for added in dead_letter().headers() {
        assert!(!kept(&added), "{}", added.name);
    }
    assert!(!kept(&Header::text(
        "__connect.errors.exception.stacktrace",
        "of another tool"
    )));
    for own in [
        "ce_id",
        "content-type",
        "dlq",
        "replay-of",
        "replay-count",
        "",
        "DLQ.reason",
    ] {
        assert!(
            kept(&Header {
                name: own.into(),
                value: None
            }),
            "{own}"
        );
    }
}

#[test]
fn replays_are_counted_by_the_records_header() {
    assert_eq!(replays(&record(&[])), 0);
    assert_eq!(
        replays(&record(&[("replay-of", "dead/0/1"), ("replay-count", "2")])),
        2
    );
    for nonsense in ["", "-1", "two", "99999999999999999999"] {
        assert_eq!(
            replays(&record(&[
                ("replay-of", "dead/0/1"),
                ("replay-count", nonsense)
            ])),
            0,
            "{nonsense}"
        );
    }
    assert_eq!(
        replays(&record(&[("replay-count", "2")])),
        0,
        "of no dead letter"
    );
    assert_eq!(
        replays(&record(&[("replay-of", "nowhere"), ("replay-count", "2")])),
        0,
        "of no place"
    );
}

#[test]
fn the_message_tells_the_fields_and_has_an_end() {
    let mut error = ApiError {
        message: "The data was invalid.".into(),
        ..ApiError::default()
    };
    error
        .fields
        .insert("rooms".into(), vec!["no such room".into(), "twice".into()]);
    assert_eq!(
        describe(&error),
        "The data was invalid.; rooms: no such room, twice"
    );
    error.fields.insert("a".into(), vec!["ä".repeat(100_000)]);
    assert!(describe(&error).len() <= MAX_MESSAGE_BYTES);
    let endless = DeadLetter {
        message: "ä".repeat(100_000),
        ..dead_letter()
    };
    let written = DeadLetter::read(&endless.headers()).unwrap();
    assert!(written.message.len() <= MAX_MESSAGE_BYTES && written.message.ends_with('…'));
}
