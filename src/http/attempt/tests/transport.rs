//! Tests of an attempt whose answer is late, cut, endless, no HTTP, or none at all.

use super::*;

#[tokio::test]
async fn silence_and_drips_end_with_the_timeout() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{\"id\":52,".to_vec();
    for number in 0..2 {
        let head = head.clone();
        let reply = move || {
            if number == 0 {
                Reply::Silence
            } else {
                Reply::Drip(head.clone(), vec![b' '; 100_000])
            }
        };
        let attempt = attempt(reply, SHORT).await;
        assert_eq!(
            (attempt.verdict, attempt.ambiguous, attempt.http_status()),
            (RETRY, true, None)
        );
        assert_eq!(statuses(&attempt), ["retry timeout"]);
        assert!(attempt.calls[0].duration >= SHORT && attempt.calls[0].duration < TIMEOUT);
    }
}

#[tokio::test]
async fn a_connection_lost_after_the_request_is_ambiguous() {
    let replies: [fn() -> Reply; 5] = [
        || Reply::Reset,
        || Reply::Last(Vec::new()),
        || Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-".to_vec()),
        || Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"id\":52}".to_vec()),
        || {
            Reply::Last(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n".to_vec(),
            )
        },
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let attempt = attempt(reply, TIMEOUT).await;
        assert_eq!(
            (attempt.verdict, attempt.ambiguous),
            (RETRY, true),
            "{number}"
        );
        assert_eq!(statuses(&attempt), ["retry protocol"], "{number}");
    }
}

#[tokio::test]
async fn what_speaks_no_http_is_a_fault() {
    for bytes in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\u{16}\u{3}\u{1}garbage\r\n\r\n",
        "220 mail ready\r\n",
    ] {
        let attempt = attempt(|| Reply::Last(bytes.as_bytes().to_vec()), TIMEOUT).await;
        assert_eq!(statuses(&attempt), ["fault protocol"], "{bytes}");
    }
}

#[tokio::test]
async fn where_nothing_listens_is_unreachable() {
    let attempt = attempt_at(
        "aipix",
        nowhere().await,
        &Tls::default(),
        &permissions(),
        TIMEOUT,
    )
    .await;
    assert_eq!((attempt.verdict, attempt.ambiguous), (UNREACHABLE, false));
    assert_eq!(statuses(&attempt), ["retry connect"]);
    assert_eq!(
        attempt.error.unwrap().message,
        "could not connect: connection refused"
    );
    let attempt = attempt_at(
        "aipix",
        "http://no-such-host.invalid".parse().unwrap(),
        &Tls::default(),
        &permissions(),
        TIMEOUT,
    )
    .await;
    assert_eq!(
        (attempt.verdict, statuses(&attempt)[0].as_str()),
        (UNREACHABLE, "retry connect")
    );
}

#[tokio::test]
async fn connections_are_used_again() {
    let body = format!(r#"{{"id":52,"x":"{}"}}"#, "x".repeat(60_000));
    let server = Server::start(move |_| Reply::Bytes(json(200, &body))).await;
    let (caller, _folder) = caller("aipix", server.url.clone(), &Tls::default(), false);
    for _ in 0..10 {
        assert_eq!(
            caller
                .attempt(&permissions(), Trace::Passed(None), TIMEOUT, || Some(
                    TIMEOUT
                ))
                .await
                .verdict,
            Verdict::Delivered
        );
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_success_is_proven_wherever_its_proof_stands() {
    let filler = "canary ".repeat(750_000);
    for body in [
        format!(r#"{{"id":52,"cameras":[{{"id":9,"x":"{filler}"}}]}}"#),
        format!(r#"{{"cameras":[{{"id":9,"x":"{filler}"}}],"id":52}}"#),
    ] {
        assert!(body.len() > 5_000_000);
        let attempt = attempt(move || Reply::Bytes(json(200, &body)), TIMEOUT).await;
        assert_eq!(
            (attempt.verdict, attempt.other_user),
            (Verdict::Delivered, false)
        );
    }
    let without = format!(r#"{{"cameras":[{{"id":52,"x":"{filler}"}}]}}"#);
    assert_eq!(
        attempt(move || Reply::Bytes(json(200, &without)), TIMEOUT)
            .await
            .verdict,
        Verdict::Fault
    );
    let error = format!(r#"{{"x":"{filler}","error":{{"code":503}}}}"#);
    assert_eq!(
        attempt(move || Reply::Bytes(json(200, &error)), TIMEOUT)
            .await
            .verdict,
        RETRY
    );
}

#[tokio::test]
async fn an_endless_body_is_cut() {
    let cases = [
        (200, r#"{"id":52,"x":""#, Verdict::Delivered),
        (200, "<html>", Verdict::Fault),
        (200, r#"{"x":""#, Verdict::Fault),
        (
            422,
            r#"{"message":"m","errors":{"a":["b"],"x":[""#,
            Verdict::Rejected {
                user_not_found: false,
            },
        ),
        (422, "<html>", Verdict::Fault),
        (500, "", RETRY),
    ];
    for (status, first, verdict) in cases {
        let head = format!(
            "HTTP/1.1 {status} X\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n",
            first.len().max(1)
        );
        let head = if first.is_empty() {
            head.replace("1\r\n\r\n", "1\r\n{\r\n")
        } else {
            head
        };
        let again = format!(
            "{:x}\r\n{}\r\n",
            10_000,
            "canary ".repeat(2000).get(..10_000).unwrap()
        );
        let reply = move || Reply::Endless(head.clone().into_bytes(), again.clone().into_bytes());
        let attempt = attempt(reply, TIMEOUT).await;
        assert_eq!(
            (attempt.verdict, attempt.http_status()),
            (verdict, Some(status)),
            "{status} {first}"
        );
    }
}
