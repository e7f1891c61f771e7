//! Tests of answers that are not neat, and are read for what they say.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn packed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn with_encoding(status: u16, encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\n{encoding}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn answered(bytes: Vec<u8>) -> (String, String) {
    let attempt = attempt(move || Reply::Bytes(bytes.clone()), TIMEOUT).await;
    (
        statuses(&attempt).join(" "),
        attempt
            .error
            .map_or_else(String::new, |error| error.message),
    )
}

#[tokio::test]
async fn an_answer_that_is_packed_though_nobody_asked_is_unpacked() {
    let gzip = "content-encoding: gzip\r\n";
    let long = format!(r#"{{"x":"{}","id":52}}"#, "canary ".repeat(500_000));
    for (bytes, expected) in [
        (
            with_encoding(200, gzip, &packed(br#"{"id":52}"#)),
            "delivered 200",
        ),
        (
            with_encoding(
                200,
                "Content-Encoding: X-GZIP\r\n",
                &packed(br#"{"id":52}"#),
            ),
            "delivered 200",
        ),
        (
            with_encoding(200, "content-encoding: identity\r\n", br#"{"id":52}"#),
            "delivered 200",
        ),
        (
            with_encoding(200, gzip, &packed(long.as_bytes())),
            "delivered 200",
        ),
        (
            with_encoding(200, gzip, &packed("\u{feff}{\"id\":52}".as_bytes())),
            "delivered 200",
        ),
        // Zeros behind its end.
        (
            with_encoding(200, gzip, &[packed(br#"{"id":52}"#), vec![0; 100]].concat()),
            "delivered 200",
        ),
        (
            with_encoding(422, gzip, &packed(br#"{"message":"m","errors":{}}"#)),
            "rejected 422",
        ),
        (with_encoding(503, gzip, b"no gzip"), "retry 503"),
        (with_encoding(204, gzip, b""), "delivered 204"),
    ] {
        let (status, message) = answered(bytes).await;
        assert_eq!(status, expected, "{message}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_for_its_form_is_told_as_that() {
    let many: String = (0..200)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect();
    for (bytes, expected, words) in [
        (
            with_encoding(200, "content-encoding: br\r\n", br#"{"id":52}"#),
            "fault 200",
            "its Content-Encoding is none that can be read",
        ),
        (
            with_encoding(422, "content-encoding: gzip, br\r\n", b"{}"),
            "fault 422",
            "its Content-Encoding is none that can be read",
        ),
        (
            with_encoding(200, "content-encoding: gzip\r\n", br#"{"id":52}"#),
            "fault 200",
            "it cannot be unpacked",
        ),
        (
            with_encoding(200, &many, br#"{"id":52}"#),
            "fault protocol",
            "more headers than can be read",
        ),
        (
            with_encoding(200, &format!("x: {}\r\n", "y".repeat(1_000_000)), b"{}"),
            "fault protocol",
            "more headers than can be read",
        ),
    ] {
        let (status, message) = answered(bytes).await;
        assert_eq!(status, expected, "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn what_is_packed_into_little_is_unpacked_to_the_cap_only() {
    let zeros = packed(&vec![b'0'; 200 << 20]);
    assert!(zeros.len() < 1 << 20);
    let (status, _) = answered(with_encoding(200, "content-encoding: gzip\r\n", &zeros)).await;
    assert_eq!(status, "fault 200");
    let proof = packed(&[br#"{"id":52,"x":""#.as_slice(), &vec![b'0'; 200 << 20]].concat());
    let (status, _) = answered(with_encoding(200, "content-encoding: gzip\r\n", &proof)).await;
    assert_eq!(status, "delivered 200");
}

#[tokio::test]
async fn a_byte_order_mark_is_skipped() {
    let long = format!("\u{feff}{{\"x\":\"{}\",\"id\":52}}", "x".repeat(100_000));
    for (status, body, expected) in [
        (200, "\u{feff}{\"id\":52}", "delivered 200"),
        (200, &long, "delivered 200"),
        (422, "\u{feff}{\"message\":\"m\"}", "rejected 422"),
        (
            404,
            "\u{feff}{\"message\":\"No query results for model [App\\\\Models\\\\User] 52\"}",
            "rejected 404",
        ),
    ] {
        assert_eq!(answered(json(status, body)).await.0, expected, "{body:.60}");
    }
}
