//! Tests of the admin endpoint over raw connections: what it serves, what it refuses, and what
//! nobody can take of it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// Short, so that a test need not wait.
const SHORT: Limits = Limits {
    connections: 2,
    lifetime: Duration::from_millis(200),
    last: Duration::ZERO,
    ..LIMITS
};
/// Never reached by a test that passes.
const LONG: Limits = Limits {
    lifetime: Duration::from_secs(600),
    ..LIMITS
};

async fn start(limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_on(
        listener,
        routes(
            Metrics::new().unwrap(),
            Board::new("one", &["valt".to_owned()]),
        ),
        limits,
    ));
    address
}

/// Sends these bytes and reads until the other side closes.
async fn answer(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn status(address: SocketAddr, method: &str, path: &str) -> u16 {
    let answer = answer(
        address,
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes(),
    )
    .await;
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no answer to {method} {path}: {answer}"))
}

#[tokio::test]
async fn four_pages_can_be_read_and_nothing_else_is_there() {
    let address = start(LONG).await;
    let pages = ["/metrics", "/livez", "/readyz", "/status"];
    for page in pages {
        // Not joined to its group yet.
        let expected = if page == "/readyz" { 503 } else { 200 };
        for method in ["GET", "HEAD"] {
            assert_eq!(
                status(address, method, page).await,
                expected,
                "{method} {page}"
            );
        }
        assert_eq!(
            status(address, "GET", &format!("{page}?x=1")).await,
            expected,
            "a query changes nothing"
        );
        for method in [
            "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND",
        ] {
            assert_eq!(status(address, method, page).await, 405, "{method} {page}");
        }
    }
    for path in [
        "/",
        "/metrics/",
        "/metricsx",
        "/METRICS",
        "/x/../metrics",
        "/%6detrics",
        "/admin",
        "/reload",
        "/shutdown",
        "/debug/pprof",
        "//",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(status(address, method, path).await, 404, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_without_being_kept() {
    let address = start(LONG).await;
    for large in [
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(100_000)),
        format!(
            "GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
            "x".repeat(100_000)
        ),
        format!(
            "GET /livez HTTP/1.1\r\nhost: x\r\n{}\r\n",
            "x: y\r\n".repeat(10_000)
        ),
        // Without an end.
        "x".repeat(1_000_000),
    ] {
        let answer = answer(address, large.as_bytes()).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // A body is not read: the answer comes before it does.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[tokio::test]
async fn connections_are_bounded_in_number_and_in_time() {
    let address = start(SHORT).await;
    // One that says nothing, and one that never comes to an end.
    let silent = TcpStream::connect(address).await.unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: ")
        .await
        .unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(
        status(address, "GET", "/livez").await,
        200,
        "it is served once there is room"
    );
    assert!(
        began.elapsed() >= SHORT.lifetime / 2,
        "two may be served at once, and both places were taken"
    );
    for mut stream in [silent, slow] {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "closed without an answer");
    }
}
