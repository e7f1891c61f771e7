//! Tests of the loop without Kafka: what is told to it, and what it does then. Its clients look for
//! brokers that nobody runs.

use std::sync::mpsc::sync_channel;

use serde_json::{Value, json};

use super::*;
use crate::kafka::ClaimFilter;
use crate::subscriber::update::Claims;
use crate::subscriber::update::tests::record;
use crate::telemetry::metrics::Metrics;
use engine::{Commit, TopicId};

const DISTINCT: &str = "
[targets.valt.delivery]
request_timeout = \"7s\"
max_concurrency = 11
rate_limit = 12
max_waiting = 13
merge = false
[targets.valt.retry]
initial_backoff = \"14ms\"
max_backoff = \"15s\"
max_attempts = 16
";

/// A configuration with the target `valt`, and this besides.
fn config(paused: bool, more: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (
        folder.path().join("config.toml"),
        folder.path().join("token"),
    );
    std::fs::write(&token, "t0ken").unwrap();
    let text = format!(
        "[kafka]\nbootstrap_servers = \"127.0.0.1:1\"\n[targets.valt]\napi = \"valt\"\n\
         base_url = \"http://127.0.0.1:1\"\naccess_token_file = {token:?}\npaused = {paused}\n{more}"
    );
    std::fs::write(&file, text).unwrap();
    Config::load(&file, std::iter::empty(), &[]).unwrap()
}

fn router() -> Arc<Router> {
    Arc::new(Router::new(vec!["valt".to_owned()], Vec::new()))
}

/// A subscriber of `valt` that owns partition 0, and has a lease.
fn subscriber(config: &Config) -> Subscriber {
    let metrics = Metrics::new().unwrap();
    let context = Context {
        router: router(),
        metrics: metrics.target("valt"),
        tracer: None,
        told: watch::channel(Told::default()).1,
        board: Board::new("one", &["valt".to_owned()]),
        offsets: Arc::default(),
        outrun: None,
    };
    let mut subscriber = Subscriber::start(config, config.targets.first(), context).unwrap();
    subscriber.lease.renew(Instant::now());
    let assigned = Input::Assigned {
        topic: TopicId::UNKNOWN,
        commits: vec![(0, Commit::none())],
        unknown: Vec::new(),
    };
    assert_eq!(subscriber.take(assigned), None);
    subscriber
}

/// An update of that user, at that offset.
fn update(user: u64, offset: i64) -> Input<Update> {
    let record = record(user, offset, &json!({ "display_name": "Anna" }), None);
    let api = crate::api::by_name("valt");
    let claims = Claims::new("group".to_owned(), "valt".to_owned(), api, router());
    Input::Read(vec![Read::Claimed(claims.claim(record).unwrap())])
}

fn status(subscriber: &Subscriber) -> Value {
    let page: Value = serde_json::from_str(&subscriber.board.page()).unwrap();
    page["targets"]["valt"].clone()
}

#[tokio::test]
async fn a_paused_target_starts_no_call_until_it_is_paused_no_more() {
    let mut paused = subscriber(&config(true, ""));
    paused.take(update(1, 0));
    paused.step();
    assert_eq!((paused.calls.len(), paused.engine.gauges().waiting), (0, 1));
    let shown = status(&paused);
    assert_eq!(
        (&shown["state"], &shown["cause"]),
        (&json!("holding"), &json!("paused"))
    );
    assert_eq!(shown["next_probe_at"], Value::Null);

    paused.take_up(&config(false, ""));
    paused.step();
    assert_eq!((paused.calls.len(), paused.engine.gauges().waiting), (1, 0));
    let shown = status(&paused);
    assert_eq!(
        (&shown["state"], &shown["cause"]),
        (&json!("flowing"), &json!("none"))
    );

    // The call in flight goes on, and no other begins.
    paused.take_up(&config(true, ""));
    paused.take(update(2, 1));
    paused.step();
    assert_eq!((paused.calls.len(), paused.engine.gauges().waiting), (1, 1));
}

#[tokio::test]
async fn a_partition_that_is_lost_is_released_at_once_and_one_that_is_revoked_once_it_is_drained() {
    let revoked = |lost: bool| {
        let (released, told) = sync_channel(1);
        let input = Input::Revoked {
            partitions: vec![0],
            lost,
            give_up_at: Instant::now() + Duration::from_secs(60),
            released,
        };
        (input, told)
    };
    for lost in [true, false] {
        let mut subscriber = subscriber(&config(false, ""));
        subscriber.take(update(1, 0));
        subscriber.take(update(1, 1));
        subscriber.step();
        assert_eq!(subscriber.calls.len(), 1);
        let (input, told) = revoked(lost);
        subscriber.take(input);
        assert_eq!(told.try_recv().is_ok(), lost, "released at once");
        subscriber.step();
        assert!(
            told.try_recv().is_err(),
            "once, and not before its call has ended"
        );
        assert_eq!(subscriber.calls.is_empty(), lost, "its call is given up");
    }
}

#[tokio::test]
async fn what_ends_the_client_ends_the_subscriber_as_that() {
    let mut subscriber = subscriber(&config(false, ""));
    for (input, ended) in [
        (
            Input::Failed(ClientFailure::InstanceTaken),
            Ended::InstanceTaken,
        ),
        (Input::Failed(ClientFailure::Outrun), Ended::Outrun),
        (
            Input::Failed(ClientFailure::Other("why".to_owned())),
            Ended::Broken("why".to_owned()),
        ),
        (Input::Left, Ended::Left),
    ] {
        assert_eq!(subscriber.take(input), Some(ended));
    }
    assert_eq!(subscriber.take(Input::Missing(true)), None);
    subscriber.look_around();
    let error = status(&subscriber)["last_error"].to_string();
    assert!(error.contains("does not exist"), "{error}");
}

#[test]
fn every_setting_reaches_the_engine() {
    let config = config(false, DISTINCT);
    let settings = settings(config.targets.first());
    assert_eq!(
        [
            settings.max_concurrency,
            settings.rate_limit as usize,
            settings.max_waiting,
            settings.max_attempts as usize
        ],
        [11, 12, 13, 16]
    );
    assert_eq!(
        [
            settings.request_timeout,
            settings.initial_backoff,
            settings.max_backoff
        ]
        .map(|time| time.as_millis()),
        [7_000, 14, 15_000]
    );
    assert!(!settings.merge);
    assert_eq!(settings.max_bytes, MAX_BYTES);
    assert!(!is_paused(config.targets.first()) && !is_paused(None));
}
