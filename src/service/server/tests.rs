//! Tests of the server over raw connections: each of its limits.

use axum::body::Bytes;
use axum::routing::post;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::subscriber::stop::{self, Stopper};

/// A limit that no test reaches.
const NEVER: Duration = Duration::from_secs(600);
/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(200);
const LIMITS: Limits = Limits {
    connections: 2,
    lifetime: NEVER,
    last: SHORT,
    idle: NEVER,
    keep_alive: true,
    head: 8 * 1024,
    body: 1000,
};

const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi";

struct Served {
    address: SocketAddr,
    stopper: Stopper,
    ended: tokio::task::JoinHandle<()>,
    /// Lets one answer of `/slow` go.
    go: Arc<Notify>,
}

async fn start(limits: Limits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let go = Arc::new(Notify::new());
    let wait = go.clone();
    let router = Router::new()
        .route(
            "/",
            post(
                async |Extension(Peer(peer)): Extension<Peer>, body: Bytes| {
                    format!("{} bytes from {}", body.len(), peer.ip())
                },
            ),
        )
        .route(
            "/slow",
            post(async move || {
                wait.notified().await;
                "at last"
            }),
        );
    let (stopper, stop) = stop::channel();
    let ended = tokio::spawn(serve("test", listener, router, limits, stop));
    Served {
        address,
        stopper,
        ended,
        go,
    }
}

async fn connect(served: &Served, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Everything until the other side closes, which it does soon.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    let closed = timeout(SHORT * 50, stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the connection is still open");
    String::from_utf8_lossy(&rest).into_owned()
}

/// One answer of a connection that stays.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).ends_with(end) {
        answer.push(stream.read_u8().await.expect("the connection is closed"));
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another_until_it_is_idle_for_too_long() {
    let served = start(Limits {
        idle: SHORT,
        ..LIMITS
    })
    .await;
    let mut stream = connect(&served, POST).await;
    for _ in 0..3 {
        answer(&mut stream, "2 bytes from 127.0.0.1").await;
        stream.write_all(POST).await.unwrap();
    }
    answer(&mut stream, "2 bytes from 127.0.0.1").await;
    let began = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(began.elapsed() >= SHORT / 2, "closed at once");
    // The same goes for a head that does not end.
    let mut slow = connect(&served, b"POST / HTTP/1.1\r\nhost: ").await;
    rest(&mut slow).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let served = start(LIMITS).await;
    for (length, status) in [(1000, "200"), (1001, "413")] {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut stream = connect(&served, &[head.as_bytes(), &vec![b'x'; length]].concat()).await;
        let answer = rest(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let served = start(LIMITS).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(LIMITS.head));
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = rest(&mut stream).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_connection_ends_with_its_lifetime_whatever_it_does() {
    let served = start(Limits {
        lifetime: SHORT,
        ..LIMITS
    })
    .await;
    // One that stays busy, one whose body never ends, and one that has to wait for their places.
    let mut busy = connect(&served, POST).await;
    let mut slow = connect(
        &served,
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n",
    )
    .await;
    let mut third = connect(&served, POST).await;
    let began = Instant::now();
    let mut answers = 0;
    let mut buffer = [0; 1024];
    while let Ok(1..) = busy.read(&mut buffer).await {
        answers += 1;
        let _ = busy.write_all(POST).await;
    }
    assert!(answers > 1, "{answers}");
    assert!(began.elapsed() >= SHORT / 2);
    answer(&mut third, "2 bytes from 127.0.0.1").await;
    let _ = slow.write_all(b"more").await;
    rest(&mut slow).await;
    assert!(
        began.elapsed() >= SHORT * 3 / 2,
        "its time for the last request is over first"
    );
}

#[tokio::test]
async fn the_server_ends_when_the_requests_under_way_have_ended() {
    let served = start(Limits {
        last: NEVER,
        ..LIMITS
    })
    .await;
    let mut idle = connect(&served, POST).await;
    answer(&mut idle, "2 bytes from 127.0.0.1").await;
    let head = b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let mut slow = connect(&served, head).await;
    // The request has to be under way.
    tokio::time::timeout(SHORT, slow.read_u8())
        .await
        .unwrap_err();
    served.stopper.stop();
    assert_eq!(
        rest(&mut idle).await,
        "",
        "nothing is under way on this one"
    );
    assert!(!served.ended.is_finished());
    served.go.notify_one();
    assert!(rest(&mut slow).await.ends_with("at last"));
    served.ended.await.unwrap();
}

#[tokio::test]
async fn the_server_does_not_wait_for_a_request_without_an_end() {
    let served = start(LIMITS).await;
    let head = b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let mut slow = connect(&served, head).await;
    tokio::time::timeout(SHORT, slow.read_u8())
        .await
        .unwrap_err();
    served.stopper.stop();
    served.ended.await.unwrap();
    assert_eq!(rest(&mut slow).await, "");
}
