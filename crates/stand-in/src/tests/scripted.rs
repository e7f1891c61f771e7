//! The scripted server: each reply as a client meets it.

use std::io::ErrorKind;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::rest;
use crate::scripted::{Reply, Server, answer, json, nowhere, serve};

/// A connection with a request for this path already sent.
async fn ask(server: &Server, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.url.port().unwrap()))
        .await
        .unwrap();
    send(&mut stream, path).await;
    stream
}

async fn send(stream: &mut TcpStream, path: &str) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nX-Name: \u{e9}\r\nContent-Length: 7\r\n\r\n{{\"a\":1}}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Exactly these bytes come next.
async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&read),
        String::from_utf8_lossy(bytes)
    );
}

#[tokio::test]
async fn bytes_come_as_they_are_and_the_connection_goes_on() {
    let server = Server::start(|request| match request.number {
        0 => Reply::Bytes(answer(299, "x-odd: \u{e9}\r\n", "one")),
        1 => Reply::Bytes(json(200, "{}")),
        _ => Reply::Last(b"no HTTP".to_vec()),
    })
    .await;
    let mut stream = ask(&server, "/a?b=c%20d").await;
    expect(
        &mut stream,
        "HTTP/1.1 299 X\r\nx-odd: \u{e9}\r\ncontent-length: 3\r\n\r\none".as_bytes(),
    )
    .await;
    send(&mut stream, "/b").await;
    expect(
        &mut stream,
        b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    )
    .await;
    send(&mut stream, "/c").await;
    assert_eq!(rest(&mut stream).await.unwrap(), "no HTTP");
    expect(&mut ask(&server, "/b").await, b"HTTP/1.1 299 X").await;

    assert_eq!(
        (
            server.connections(),
            server.count("POST /b "),
            server.count("/d")
        ),
        (2, 2, 0)
    );
    let first = &server.seen()[0];
    let numbers: Vec<_> = server
        .seen()
        .iter()
        .map(|request| (request.connection, request.number))
        .collect();
    assert_eq!(numbers, [(0, 0), (0, 1), (0, 2), (1, 0)]);
    assert_eq!(
        (first.line().as_str(), first.path()),
        ("POST /a?b=c%20d HTTP/1.1", "/a")
    );
    assert_eq!(
        (first.query("b").as_deref(), first.query("c")),
        (Some("c d"), None)
    );
    assert_eq!(
        (first.body.as_str(), &first.json.as_ref().unwrap()["a"]),
        ("{\"a\":1}", &1.into())
    );
    assert_eq!(
        (first.header("HOST"), first.header("x-name")),
        (Some("x"), None)
    );
    assert!(
        first
            .head()
            .starts_with("POST /a?b=c%20d HTTP/1.1\r\nhost: x\r\nx-name: \u{e9}\r\n"),
        "{}",
        first.head()
    );
    assert_eq!(
        format!("{first:?}"),
        "Request { method: POST, path: \"/a\", .. }"
    );
}

#[tokio::test]
async fn connections_are_cut_in_every_way() {
    let server = Server::start(|request| match request.path() {
        "/reset" => Reply::Reset,
        "/half" => Reply::HalfClose(b"half".to_vec()),
        "/drip" => Reply::Drip(b"drip ".to_vec(), b"drop".to_vec()),
        "/endless" => Reply::Endless(b"first ".to_vec(), b"again ".to_vec()),
        _ => Reply::Last(Vec::new()),
    })
    .await;
    assert_eq!(rest(&mut ask(&server, "/").await).await.unwrap(), "");
    assert_eq!(
        rest(&mut ask(&server, "/reset").await)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(
        rest(&mut ask(&server, "/drip").await).await.unwrap(),
        "drip drop"
    );
    expect(
        &mut ask(&server, "/endless").await,
        b"first again again again again ",
    )
    .await;
    let mut half = ask(&server, "/half").await;
    assert_eq!(rest(&mut half).await.unwrap(), "half");
    // The other half of the connection still works: writing is no error.
    for _ in 0..10 {
        half.write_all(b"more").await.unwrap();
    }
}

#[tokio::test]
async fn silence_lasts_as_long_as_the_client() {
    let server = Server::start(|_| Reply::Silence).await;
    let mut stream = ask(&server, "/").await;
    while server.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    stream.shutdown().await.unwrap();
    assert_eq!(
        rest(&mut stream).await.unwrap(),
        "",
        "it ends with its client, and not before"
    );
}

#[tokio::test]
async fn a_greeting_comes_before_anything_is_read() {
    let server = Server::greeting(Reply::Bytes(b"220 mail ready\r\n".to_vec())).await;
    let mut stream = TcpStream::connect(("127.0.0.1", server.url.port().unwrap()))
        .await
        .unwrap();
    expect(&mut stream, b"220 mail ready\r\n").await;
    send(&mut stream, "/").await;
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await.unwrap(), "", "it says nothing more");
    assert!(server.seen().is_empty());
    let refused = TcpStream::connect(("127.0.0.1", nowhere().await.port().unwrap()))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_listener_of_ones_own_is_gone_before_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let listener = Mutex::new(Some(listener));
        serve(stream, |_| {
            drop(listener.lock().unwrap().take());
            Reply::Last(b"over".to_vec())
        })
        .await;
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    send(&mut stream, "/").await;
    assert_eq!(rest(&mut stream).await.unwrap(), "over");
    assert_eq!(
        TcpStream::connect(address).await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    let server = Server::on(TcpListener::bind(address).await.unwrap(), |_| {
        Reply::Last(b"anew".to_vec())
    });
    assert_eq!(server.url.port(), Some(address.port()));
    assert_eq!(rest(&mut ask(&server, "/").await).await.unwrap(), "anew");
}
