//! Tests of connections: one that is dead, old, or leads to an address where nobody answers, is not
//! the API.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use stand_in::scripted::{Request, serve};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::http::names::AddressSource;

fn fine() -> Reply {
    Reply::Bytes(json(200, r#"{"id":52}"#))
}

/// A server whose connections answer once, and then do this. And a caller with `count` connections
/// to it that were used once.
async fn kept(
    count: usize,
    then: impl Fn() -> Reply + Send + Sync + 'static,
) -> (Server, Caller, TempDir) {
    let all_are_there = Arc::new(tokio::sync::Barrier::new(count));
    let server =
        Server::start(move |request| if request.number == 0 { fine() } else { then() }).await;
    let (caller, folder) = caller("aipix", server.url.clone(), &Tls::default(), false);
    let first = (0..count).map(|_| async {
        all_are_there.wait().await;
        call(&caller).await
    });
    assert!(
        futures::future::join_all(first)
            .await
            .iter()
            .all(|attempt| attempt.verdict == Verdict::Delivered)
    );
    (server, caller, folder)
}

#[tokio::test]
async fn a_kept_connection_that_is_dead_is_replaced_at_once_and_at_no_cost() {
    // A head that is cut short is not told from none by reqwest.
    let cut = || Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-".to_vec());
    for dead in [|| Reply::Reset, || Reply::Last(Vec::new()), cut] {
        // Several, so that there is another dead one to take.
        let (server, caller, _folder) = kept(3, dead).await;
        let attempt = call(&caller).await;
        assert_eq!(
            (attempt.verdict, attempt.ambiguous, attempt.error.clone()),
            (Verdict::Delivered, false, None)
        );
        assert_eq!(statuses(&attempt), ["delivered 200"]);
        let seen = server.seen();
        assert_eq!(seen.len(), 3 + 2);
        assert_eq!(
            (seen[3].head(), &seen[3].body),
            (seen[4].head(), &seen[4].body),
            "the same request"
        );
    }
}

#[tokio::test]
async fn a_hundred_dead_connections_cost_nobody_anything() {
    let (server, caller, _folder) = kept(100, || Reply::Reset).await;
    let before = server.seen().len();
    let attempts = futures::future::join_all((0..100).map(|_| call(&caller))).await;
    assert!(
        attempts
            .iter()
            .all(|attempt| statuses(attempt) == ["delivered 200"])
    );
    assert!(server.seen().len() > before + 100, "some of them were dead");
}

#[tokio::test]
async fn a_connection_that_is_new_or_has_begun_to_answer_gets_no_second_request() {
    /// The reply on a kept connection, how it is judged, and whether it is ambiguous.
    type Begun = (fn() -> Reply, &'static str, bool);
    let begun: [Begun; 3] = [
        (
            || Reply::Last(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"id\":52}".to_vec()),
            "retry protocol",
            true,
        ),
        (
            || Reply::Last(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
            "fault protocol",
            false,
        ),
        (|| Reply::Last(json(503, "")), "retry 503", false),
    ];
    for (then, expected, ambiguous) in begun {
        let (server, caller, _folder) = kept(1, then).await;
        let attempt = call(&caller).await;
        assert_eq!(
            (statuses(&attempt), attempt.ambiguous),
            (vec![expected.to_owned()], ambiguous)
        );
        assert_eq!(server.seen().len(), 2, "{expected}");
    }
    let server = Server::start(|_| Reply::Reset).await;
    let attempt = attempt_at(
        "aipix",
        server.url.clone(),
        &Tls::default(),
        &permissions(),
        TIMEOUT,
    )
    .await;
    assert_eq!(
        (statuses(&attempt), attempt.ambiguous, server.seen().len()),
        (vec!["retry protocol".to_owned()], true, 1)
    );
}

#[tokio::test]
async fn a_request_is_repeated_once_and_on_a_new_connection() {
    // All connections that the first calls made are dead, and so is the new one.
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let server = Server::start(move |_| {
        if over.load(Ordering::SeqCst) {
            Reply::Reset
        } else {
            fine()
        }
    })
    .await;
    let (caller, _folder) = caller("aipix", server.url.clone(), &Tls::default(), false);
    futures::future::join_all((0..5).map(|_| call(&caller))).await;
    is_over.store(true, Ordering::SeqCst);
    let before = server.seen().len();
    let attempt = call(&caller).await;
    assert_eq!(
        (statuses(&attempt), attempt.ambiguous),
        (vec!["retry protocol".to_owned()], true)
    );
    assert_eq!(server.seen().len() - before, 2);
}

#[tokio::test]
async fn what_was_sent_on_a_dead_connection_may_have_taken_effect_though_none_could_be_had_afterwards()
 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let listener = Mutex::new(Some(listener));
        let reply = |request: &Request| match request.number {
            0 => fine(),
            _ => {
                // Nothing listens any more, then the connection ends.
                listener.lock().unwrap().take();
                Reply::Last(Vec::new())
            }
        };
        serve(stream, reply).await;
    });
    let (caller, _folder) = caller("aipix", url, &Tls::default(), false);
    call(&caller).await;
    let attempt = call(&caller).await;
    assert_eq!((attempt.verdict, attempt.ambiguous), (UNREACHABLE, true));
    assert_eq!(statuses(&attempt), ["retry connect"]);
}

/// The connections of which a server has seen requests.
type Connections = Arc<Mutex<Vec<u64>>>;

async fn counted() -> (Server, Connections) {
    let connections = Connections::default();
    let seen = connections.clone();
    let server = Server::start(move |request| {
        seen.lock().unwrap().push(request.connection);
        fine()
    });
    (server.await, connections)
}

#[tokio::test]
async fn no_connection_is_used_for_longer_than_five_minutes_however_busy_it_is() {
    let (server, connections) = counted().await;
    let (caller, _folder) = caller("aipix", server.url.clone(), &Tls::default(), false);
    let mut since = HashMap::new();
    for seconds in (0..1200).step_by(20) {
        assert_eq!(call(&caller).await.verdict, Verdict::Delivered);
        let connection = *connections.lock().unwrap().last().unwrap();
        let age = seconds - *since.entry(connection).or_insert(seconds);
        assert!(age <= 300, "used after {age} s");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(20)).await;
        tokio::time::resume();
    }
    assert!(
        (4..=6).contains(&since.len()),
        "and none is given up early: {}",
        since.len()
    );
}

#[tokio::test]
async fn starting_anew_leaves_kept_connections_behind() {
    let (server, connections) = counted().await;
    let (caller, _folder) = caller("aipix", server.url.clone(), &Tls::default(), false);
    for _ in 0..3 {
        call(&caller).await;
        call(&caller).await;
        caller.start_anew();
    }
    assert_eq!(*connections.lock().unwrap(), [0, 0, 1, 1, 2, 2]);
}

/// A port at which each of these addresses of the machine can be given a listener.
pub(super) async fn port_of(addresses: &[&str]) -> Vec<SocketAddr> {
    'ports: loop {
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let all: Vec<SocketAddr> = addresses
            .iter()
            .map(|address| SocketAddr::new(address.parse().unwrap(), port))
            .collect();
        for address in &all {
            if TcpListener::bind(address).await.is_err() {
                continue 'ports;
            }
        }
        return all;
    }
}

/// A listener that takes no connection any more: the packets of further ones get lost, as at an
/// address where nothing is.
async fn silent(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        waiting.push(stream);
    }
    (listener, waiting)
}

/// A caller for a name that has these addresses, and the addresses, which may change.
pub(super) fn caller_of(
    tls: Option<&Tls>,
    addresses: &[SocketAddr],
    timeout: Duration,
) -> (Caller, Arc<Mutex<Vec<SocketAddr>>>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "canary-token").unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://api.example:{}", addresses[0].port())
        .parse()
        .unwrap();
    let addresses = Arc::new(Mutex::new(addresses.to_vec()));
    let plain = Tls::default();
    let tls = tls.unwrap_or(&plain);
    let http = Http::with_names(
        &url,
        tls,
        None,
        timeout,
        AddressSource::Given(addresses.clone()),
    )
    .unwrap();
    let credentials = Credentials::Token(Secret::File(folder.path().join("secret")));
    let api = by_name("aipix").unwrap();
    let session = Session::new(&http, tls, None, timeout, credentials, Box::new(|_| ())).unwrap();
    (Caller { api, http, session }, addresses, folder)
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    let addresses = port_of(&["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"]).await;
    // Two that say nothing, one that refuses, and one that answers.
    let (_first, _second) = (silent(addresses[0]).await, silent(addresses[1]).await);
    let server = Server::on(TcpListener::bind(addresses[3]).await.unwrap(), |_| fine());
    for timeout in [TIMEOUT, Duration::from_secs(2)] {
        let (caller, _, _folder) = caller_of(None, &addresses, timeout);
        let attempt = caller
            .attempt(&permissions(), Trace::Passed(None), timeout, || {
                Some(TIMEOUT)
            })
            .await;
        assert_eq!(statuses(&attempt), ["delivered 200"], "{timeout:?}");
        assert!(
            attempt.calls[0].duration < Duration::from_secs(2),
            "{:?}",
            attempt.calls[0].duration
        );
    }
    let host = server.seen()[0].header("host").unwrap().to_owned();
    assert_eq!(
        host,
        format!("api.example:{}", addresses[0].port()),
        "the name, and not the address"
    );
    // Nobody answers at any of them.
    let (caller, _, _folder) = caller_of(None, &addresses[..3], Duration::from_secs(1));
    let attempt = caller
        .attempt(
            &permissions(),
            Trace::Passed(None),
            Duration::from_secs(1),
            || Some(TIMEOUT),
        )
        .await;
    assert_eq!(
        (attempt.verdict, attempt.ambiguous, statuses(&attempt)),
        (UNREACHABLE, false, vec!["retry connect".to_owned()])
    );
    let (caller, names, _folder) = caller_of(None, &addresses[..1], TIMEOUT);
    names.lock().unwrap().clear();
    let attempt = call(&caller).await;
    assert_eq!(
        (
            attempt.verdict,
            attempt
                .error
                .unwrap()
                .message
                .contains("name was not found")
        ),
        (UNREACHABLE, true)
    );
}

#[tokio::test]
async fn a_name_is_looked_up_for_each_connection_and_a_new_start_begins_with_its_next_address() {
    let addresses = port_of(&["127.0.0.2", "127.0.0.3", "127.0.0.4"]).await;
    let mut servers = Vec::new();
    for address in &addresses {
        servers.push(Server::on(
            TcpListener::bind(address).await.unwrap(),
            |_| fine(),
        ));
    }
    let seen = || -> Vec<usize> { servers.iter().map(|server| server.seen().len()).collect() };
    let (caller, names, _folder) = caller_of(None, &addresses[..2], TIMEOUT);
    call(&caller).await;
    assert_eq!(seen(), [1, 0, 0]);
    caller.start_anew();
    call(&caller).await;
    assert_eq!(seen(), [1, 1, 0]);
    caller.start_anew();
    call(&caller).await;
    assert_eq!(seen(), [2, 1, 0]);
    *names.lock().unwrap() = addresses[2..].to_vec();
    call(&caller).await;
    assert_eq!(seen(), [3, 1, 0], "a kept connection is used on");
    caller.start_anew();
    call(&caller).await;
    assert_eq!(seen(), [3, 1, 1]);
}

#[tokio::test]
async fn nothing_was_sent_where_time_ran_out_before_there_was_a_connection() {
    let addresses = port_of(&["127.0.0.2"]).await;
    let _silent = silent(addresses[0]).await;
    let (caller, _, _folder) = caller_of(None, &addresses, TIMEOUT);
    // The lease ends before the time for connecting does.
    let attempt = caller
        .attempt(&permissions(), Trace::Passed(None), TIMEOUT, || Some(SHORT))
        .await;
    assert_eq!(
        (attempt.verdict, attempt.ambiguous, statuses(&attempt)),
        (UNREACHABLE, false, vec!["retry connect".to_owned()])
    );
    assert!(attempt.calls[0].duration < TIMEOUT);
}
