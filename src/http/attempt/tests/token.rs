//! Tests of an attempt whose token is refused.

use super::*;

#[tokio::test]
async fn a_401_leads_to_one_login_and_a_repeated_call() {
    let (server, valid) = valt().await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let update = update(value!({ "rooms": [1] }));
    assert_eq!(
        statuses(
            &caller
                .attempt(&update, Trace::Passed(None), TIMEOUT, || Some(TIMEOUT))
                .await
        ),
        ["delivered 200"]
    );
    valid.fetch_add(1, Ordering::SeqCst);
    let attempt = caller
        .attempt(&update, Trace::Passed(None), TIMEOUT, || Some(TIMEOUT))
        .await;
    assert_eq!(statuses(&attempt), ["unauthorized 401", "delivered 200"]);
    assert_eq!(
        (
            attempt.verdict,
            attempt.error.clone(),
            attempt.http_status()
        ),
        (Verdict::Delivered, None, Some(200))
    );
    assert_eq!(server.count("/login"), 2);
}

#[tokio::test]
async fn two_hundred_401_at_once_lead_to_one_login() {
    let (server, valid) = valt().await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let update = update(value!({ "rooms": [1] }));
    caller
        .attempt(&update, Trace::Passed(None), TIMEOUT, || Some(TIMEOUT))
        .await;
    valid.fetch_add(1, Ordering::SeqCst);
    let caller = Arc::new(caller);
    let tasks = (0..200).map(|_| {
        let (caller, update) = (caller.clone(), update.clone());
        tokio::spawn(async move {
            caller
                .attempt(&update, Trace::Passed(None), TIMEOUT, || Some(TIMEOUT))
                .await
        })
    });
    let attempts = futures::future::try_join_all(tasks).await.unwrap();
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.verdict == Verdict::Delivered)
    );
    assert!(attempts.iter().any(|attempt| attempt.calls.len() == 2));
    assert_eq!(server.count("/login"), 2);
}

#[tokio::test]
async fn a_401_after_a_fresh_login_holds() {
    for body in [
        r#"{"error":{"code":401}}"#,
        r#"{"error":{"code":"401"},"data":{"id":52}}"#,
    ] {
        let status = if body.contains("id") { 200 } else { 401 };
        let server = Server::start(move |seen| {
            Reply::Bytes(match seen.line().contains("/login") {
                true => json(200, r#"{"data":{"access_token":"canary"}}"#),
                false => json(status, body),
            })
        })
        .await;
        let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
        let attempt = caller
            .attempt(
                &update(value!({ "rooms": [1] })),
                Trace::Passed(None),
                TIMEOUT,
                || Some(TIMEOUT),
            )
            .await;
        assert_eq!(
            (attempt.verdict, attempt.calls.len()),
            (Verdict::Unauthorized, 2)
        );
        assert_eq!(server.count("/login"), 2);
        assert!(!format!("{attempt:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a_403_leads_to_no_login() {
    let server = Server::start(|seen| {
        Reply::Bytes(match seen.line().contains("/login") {
            true => json(200, r#"{"data":{"access_token":"canary"}}"#),
            false => json(403, ""),
        })
    })
    .await;
    let (caller, _folder) = caller("valt", server.url.clone(), &Tls::default(), true);
    let attempt = caller
        .attempt(
            &update(value!({ "rooms": [1] })),
            Trace::Passed(None),
            TIMEOUT,
            || Some(TIMEOUT),
        )
        .await;
    assert_eq!(
        (attempt.verdict, statuses(&attempt)[0].as_str()),
        (Verdict::Unauthorized, "unauthorized 403")
    );
    assert_eq!((attempt.calls.len(), server.count("/login")), (1, 1));
}

#[tokio::test]
async fn a_refused_fixed_token_is_called_with_once_until_its_file_changes() {
    let server = Server::start(|seen| {
        let is_new = seen.header("authorization") == Some("Bearer canary-new");
        Reply::Bytes(if is_new {
            json(200, r#"{"id":52}"#)
        } else {
            json(401, r#"{"message":"Unauthenticated."}"#)
        })
    })
    .await;
    let (caller, folder) = caller("aipix", server.url.clone(), &Tls::default(), false);
    let attempt = caller
        .attempt(&permissions(), Trace::Passed(None), TIMEOUT, || {
            Some(TIMEOUT)
        })
        .await;
    assert_eq!(
        (attempt.verdict, statuses(&attempt)),
        (Verdict::Unauthorized, vec!["unauthorized 401".to_owned()])
    );
    assert_eq!(attempt.http_status(), Some(401));
    assert!(!caller.credentials_changed());
    std::fs::write(folder.path().join("secret"), "canary-new\n").unwrap();
    assert!(caller.credentials_changed());
    assert_eq!(
        statuses(
            &caller
                .attempt(&permissions(), Trace::Passed(None), TIMEOUT, || Some(
                    TIMEOUT
                ))
                .await
        ),
        ["delivered 200"]
    );
}
