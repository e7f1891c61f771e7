//! Values that are broken, odd or large.

use super::*;

#[test]
fn data_must_be_an_object() {
    for (with, wanted) in [
        ("", "`data` is missing"),
        (r#","data":null"#, "`data` must be an object, and is null"),
        (
            r#","data":"hunter2""#,
            "`data` must be an object, and is a string",
        ),
        (
            r#","data":{"target":["hunter2"]}"#,
            "`data.target` must be a string, and is an array",
        ),
        (r#","data_base64":5"#, "`data_base64` must be a string"),
        (
            r#","data_base64":"hunter2!""#,
            "`data_base64` is not Base64",
        ),
        (
            r#","data_base64":"WzFd""#,
            "`data_base64`, once decoded, is an array, not an object",
        ),
        (
            r#","data_base64":"""#,
            "`data_base64`, once decoded, is empty",
        ),
    ] {
        let undecodable = refused(&structured(envelope(with)), wanted);
        assert_eq!(undecodable.identity, expected().identity);
    }
    for (value, wanted) in [
        (
            &b"[\"hunter2\"]"[..],
            "the value is an array, not an object",
        ),
        (b"\"hunter2\"", "the value is a string, not an object"),
        (b" -12", "the value is a number, not an object"),
        (b"null", "the value is null, not an object"),
        (b"true", "the value is a boolean, not an object"),
        (b"", "the value is empty"),
        (b" \n", "the value is empty"),
    ] {
        assert_eq!(
            refused(&record(&BINARY, value), wanted).identity,
            expected().identity
        );
        assert_eq!(
            refused(&structured(value), wanted).identity,
            Identity::default()
        );
    }
    for mut record in [record(&BINARY, DATA), structured(DATA), record(&[], DATA)] {
        record.value = None;
        refused(&record, "the record has no value");
    }
}

#[test]
fn a_member_twice_is_refused_with_its_path() {
    for (text, wanted) in [
        (r#","id":"hunter2","data":{}"#, "has `id` twice"),
        (r#","x":1,"x":2,"data":{}"#, "has `x` twice"),
        (r#","data":{},"data":{}"#, "has `data` twice"),
        (r#","data":{"user":1,"user":1}"#, "has `data.user` twice"),
        (r#","data":{"x":1,"x":1}"#, "has `data.x` twice"),
        (
            r#","data":{"x":[[0],{"y":1,"\u0079":1}]}"#,
            "has `data.x[1].y` twice",
        ),
        (
            r#","data":{"changes":{"video_access":{"users":[],"users":[]}}}"#,
            "has `data.changes.video_access.users` twice",
        ),
    ] {
        assert_eq!(
            refused(&structured(envelope(text)), wanted).identity,
            expected().identity
        );
    }
    for (text, wanted) in [
        (r#"{"user":1,"user":2}"#.to_owned(), "has `data.user` twice"),
        (
            r#"{"x":{"a\n":1,"a\n":2}}"#.to_owned(),
            r"has `data.x.a\n` twice",
        ),
        (
            format!(r#"{{"{0}":{{"{0}":1,"{0}":1}}}}"#, "n".repeat(100_000)),
            "…",
        ),
    ] {
        refused(&record(&BINARY, text), wanted);
    }
}

#[test]
fn broken_json_says_where_and_shows_nothing() {
    let whole = envelope(&format!(r#","data":{DATA}"#));
    for end in 1..whole.len() {
        let undecodable = refused(
            &structured(&whole.as_bytes()[..end]),
            &format!("is cut off: it ends inside the JSON, at line 1, byte {end}"),
        );
        let told = ["e-1\"", "/billing\"", "changed\""].map(|part| whole[..end].contains(part));
        let identity = undecodable.identity;
        assert_eq!(
            told,
            [
                identity.id.is_some(),
                identity.source.is_some(),
                identity.event_type.is_some()
            ],
            "{end}"
        );
    }
    let deep = |open: &str, close: &str| {
        format!(
            r#"{{"a":{}1{}}}"#,
            open.repeat(10_000),
            close.repeat(10_000)
        )
    };
    for (value, wanted) in [
        (
            b"{\"user\":1,}".to_vec(),
            "is not readable JSON: trailing comma at line 1, byte 11",
        ),
        (
            b"{\"user\":\"hunter2\" 1}".to_vec(),
            "is not readable JSON: expected `,` or `}` at line 1, byte 19",
        ),
        (
            b"{}hunter2".to_vec(),
            "is not readable JSON: trailing characters",
        ),
        (
            b"{hunter2:1}".to_vec(),
            "is not readable JSON: key must be a string",
        ),
        (
            b"{\"a\":\"\xc3\x28\"}".to_vec(),
            "is not UTF-8 from byte 7 on",
        ),
        (b"{}\xff".to_vec(), "is not UTF-8 from byte 3 on"),
        (b"\xef\xbb\xbf{}".to_vec(), "begins with a byte order mark"),
        (
            b"{\"a\":\"hunter2\\ud800\"}".to_vec(),
            "is not readable JSON",
        ),
        (
            b"{\"a\":\"hunter2\\udc00\"}".to_vec(),
            "is not readable JSON",
        ),
        (b"\x00".to_vec(), "is not readable JSON: expected value"),
        (b"{\"a\":\"hunter2\x00\"}".to_vec(), "control character"),
        (
            b"{\"a\":NaN}".to_vec(),
            "is not readable JSON: expected value",
        ),
        (deep("[", "]").into_bytes(), "recursion limit exceeded"),
        (
            deep(r#"{"a":"#, "}").into_bytes(),
            "recursion limit exceeded",
        ),
        (vec![b'['; 900_000], "is an array, not an object"),
        (
            [&b"{\"a\":\""[..], &vec![b'x'; 900_000]].concat(),
            "is cut off",
        ),
    ] {
        refused(&record(&BINARY, value.clone()), wanted);
        refused(&structured(value), wanted);
    }
}

#[test]
fn large_values_are_read() {
    let rooms = vec!["37"; 300_000].join(",");
    let value = format!(r#"{{"user":1,"changes":{{"rooms":[{rooms}]}}}}"#);
    assert!(value.len() > 900_000);
    let event = decode(&record(&BINARY, value)).unwrap();
    assert_eq!(
        event.changes().unwrap().get(),
        format!(r#"{{"rooms":[{rooms}]}}"#)
    );
}
