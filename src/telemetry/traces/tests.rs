//! Against a collector that keeps what it is sent: what a trace looks like, and what a collector in
//! trouble does to deliveries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use stand_in::{Rule, StandIn};
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

use super::*;
use crate::api;
use crate::config::secret_file::Secret;
use crate::config::{Credentials, Tls};
use crate::http::attempt::{Caller, Trace};
use crate::kafka::ClaimFilter;
use crate::model::event::TraceContext;
use crate::model::record::{Header, Place, Record};
use crate::subscriber::update::{Claims, Update};
use engine::End;
use engine::verdict::Reason;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const TOKEN: &str = "canary-token";
const PASSWORD: &str = "canary-Password-1";
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the collector was sent: headers and body of each request.
type Sent = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A collector, and where it takes traces.
async fn collector() -> (Sent, Url) {
    let sent = Sent::default();
    let keep = |State(sent): State<Sent>, headers: HeaderMap, body: Bytes| async move {
        sent.lock().unwrap().push((headers, body))
    };
    let router = Router::new()
        .route("/v1/traces", axum::routing::post(keep))
        .with_state(sent.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    (sent, url)
}

fn start(endpoint: Url, sample_ratio: f64, headers: Option<Secret>) -> (TraceSender, IntCounter) {
    let left_out = IntCounter::new("left_out", "Spans.").unwrap();
    let config = config::Traces {
        endpoint: Some(endpoint),
        sample_ratio,
        headers,
    };
    (
        TraceSender::start(&config, "one", left_out.clone())
            .unwrap()
            .unwrap(),
        left_out,
    )
}

fn update(offset: i64, changes: &serde_json::Value, flags: Option<&str>) -> Arc<Update> {
    let event = json!({
        "specversion": "1.0", "id": format!("e-{offset}"), "source": "/tests", "type": "com.example.tests",
        "data": { "target": "valt", "user": 52, "changes": changes },
    });
    let mut headers = vec![Header::text("content-type", "application/cloudevents+json")];
    if let Some(flags) = flags {
        headers.push(Header::text(
            "traceparent",
            format!("00-{TRACE}-{PARENT}-{flags}"),
        ));
        headers.push(Header::text("tracestate", "rojo=1"));
    }
    let record = Record {
        place: Place {
            topic: "user-updates".into(),
            partition: 3,
            offset,
        },
        key: None,
        value: Some(event.to_string().into_bytes()),
        timestamp_ms: None,
        headers,
        verbatim_headers: None,
    };
    let router = Arc::new(crate::model::route::Router::new(
        vec!["valt".to_owned()],
        Vec::new(),
    ));
    let claims = Claims::new(
        "user-courier".to_owned(),
        "valt".to_owned(),
        api::by_name("valt"),
        router,
    );
    claims.claim(record).unwrap().into()
}

/// The update with its span, as the subscriber has it.
fn arrived(traces: &TraceSender, update: Arc<Update>) -> Arc<Update> {
    let span = traces
        .tracer()
        .arrived(update.arrived("user-courier.valt", "valt"));
    assert!(update.span.set(Box::new(span)).is_ok());
    update
}

async fn valt() -> (StandIn, Caller, TempDir) {
    let valt = StandIn::on_loopback("valt").await.unwrap();
    valt.accept_token(TOKEN);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), TOKEN).unwrap();
    let credentials = Credentials::Token(Secret::File(folder.path().join("secret")));
    let api = api::by_name("valt").unwrap();
    let caller = Caller::new(
        api,
        valt.base_url().parse().unwrap(),
        credentials,
        &Tls::default(),
        None,
        TIMEOUT,
        Box::new(|_| ()),
    )
    .unwrap();
    (valt, caller, folder)
}

/// The spans that were sent, after everything was.
async fn exported(traces: TraceSender, sent: &Sent) -> Vec<Span> {
    traces.end().await;
    let sent = sent.lock().unwrap();
    let requests = sent
        .iter()
        .map(|(_, body)| ExportTraceServiceRequest::decode(body.clone()).unwrap());
    let scopes = requests
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text.
fn attribute(span: &Span, name: &str) -> Option<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}

fn attributes<'a>(span: &'a Span, names: &[&'a str]) -> Vec<String> {
    names
        .iter()
        .map(|name| attribute(span, name).unwrap_or_default())
        .collect()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one trace, looked at span by span")]
async fn a_record_is_a_span_from_arrival_to_commit_with_each_call_below_it_and_no_secret_leaves() {
    let (sent, url) = collector().await;
    let (traces, left_out) = start(url, 0.0, None);
    let (valt, caller, _folder) = valt().await;
    valt.fault(Rule::status(503).times(1));
    let changes = json!({ "display_name": "Anna", "password": PASSWORD });
    let earlier = arrived(&traces, update(4711, &json!({ "rooms": [7] }), None));
    let earlier_sampled = arrived(&traces, update(4712, &json!({ "rooms": [8] }), Some("01")));
    let last = arrived(&traces, update(4713, &changes, Some("01")));
    let span = last.span.get().unwrap();
    let merged = [earlier.clone(), earlier_sampled.clone()];
    for _ in 0..2 {
        span.carries(merged.iter().map(|update| &**update.span.get().unwrap()));
        let call = last.call_with(&merged).unwrap();
        caller
            .attempt(&call, Trace::Span(span), TIMEOUT, || Some(TIMEOUT))
            .await;
    }
    let outcome = last.trace().unwrap().into_owned();
    span.settled(End::Delivered, 2);
    for update in &merged {
        update
            .span
            .get()
            .unwrap()
            .settled(End::Merged { into: 4713 }, 2);
    }
    let carried: Vec<_> = valt
        .calls()
        .iter()
        .map(|call| call.traceparent.clone().unwrap())
        .collect();
    let spans = exported(traces, &sent).await;

    let of = |name: &str, offset: &str| {
        let deliver = spans.iter().find(|span| {
            span.name == "deliver"
                && attribute(span, "messaging.kafka.offset").as_deref() == Some(offset)
        });
        let deliver = deliver.unwrap();
        let found: Vec<_> = spans
            .iter()
            .filter(|span| span.name == name && span.parent_span_id == deliver.span_id)
            .collect();
        (deliver, found)
    };
    let (deliver, attempts) = of("attempt", "4713");
    assert_eq!(
        (
            hex(&deliver.trace_id),
            hex(&deliver.parent_span_id),
            deliver.kind
        ),
        (TRACE.to_owned(), PARENT.to_owned(), 5)
    );
    let names = [
        "messaging.system",
        "messaging.destination.name",
        "messaging.destination.partition.id",
        "user_courier.target",
    ];
    assert_eq!(
        attributes(deliver, &names),
        ["kafka", "user-updates", "3", "valt"]
    );
    let names = [
        "user_courier.user",
        "user_courier.outcome",
        "user_courier.attempts",
        "messaging.consumer.group.name",
    ];
    assert_eq!(
        attributes(deliver, &names),
        ["52", "delivered", "2", "user-courier.valt"]
    );
    let expected = TraceContext {
        traceparent: format!("00-{TRACE}-{}-01", hex(&deliver.span_id)),
        tracestate: Some("rojo=1".into()),
    };
    assert_eq!(
        outcome, expected,
        "the outcome belongs to the record's span"
    );

    assert_eq!(attempts.len(), 2);
    let (_, merged_into) = of("lane", "4712");
    assert!(merged_into.is_empty(), "it was never called itself");
    assert_eq!(of("lane", "4713").1.len(), 1);
    let (merged, _) = of("attempt", "4712");
    for ((attempt, carried), (status, verdict)) in attempts
        .iter()
        .zip(&carried)
        .zip([("503", "retry"), ("200", "delivered")])
    {
        assert_eq!(
            (hex(&attempt.trace_id), attempt.kind),
            (TRACE.to_owned(), 3)
        );
        assert_eq!(
            *carried,
            format!("00-{TRACE}-{}-01", hex(&attempt.span_id)),
            "the call names its own span as parent"
        );
        let names = [
            "http.request.method",
            "http.response.status_code",
            "user_courier.verdict",
            "url.full",
        ];
        let url = format!(
            "{}/api/v3/admin/users/52/edit",
            valt.base_url().trim_end_matches('/')
        );
        assert_eq!(attributes(attempt, &names), ["POST", status, verdict, &url]);
        let links: Vec<_> = attempt.links.iter().map(|link| &link.span_id).collect();
        assert_eq!(
            links,
            [&merged.span_id],
            "of those sent with it, those that are sampled"
        );
    }
    assert_eq!(
        attributes(merged, &["user_courier.outcome", "user_courier.into"]),
        ["merged", "4713"]
    );
    assert_eq!(
        merged
            .links
            .iter()
            .map(|link| &link.span_id)
            .collect::<Vec<_>>(),
        [&deliver.span_id]
    );
    assert!(
        !spans
            .iter()
            .any(|span| attribute(span, "messaging.kafka.offset").as_deref() == Some("4711")),
        "a ratio of 0 begins no trace"
    );
    assert_eq!(left_out.get(), 0);
    for (_, body) in sent.lock().unwrap().iter() {
        let text = String::from_utf8_lossy(body);
        for secret in [TOKEN, PASSWORD, "canary", "access_token", "Anna"] {
            assert!(!text.contains(secret), "{secret} was sent to the collector");
        }
    }
}

#[tokio::test]
async fn what_is_not_sampled_is_passed_on_so_and_not_sent() {
    let (sent, url) = collector().await;
    let (traces, _) = start(url, 1.0, None);
    let (valt, caller, _folder) = valt().await;
    let quiet = arrived(&traces, update(1, &json!({ "rooms": [7] }), Some("00")));
    let span = quiet.span.get().unwrap();
    caller
        .attempt(
            quiet.call.as_ref().unwrap(),
            Trace::Span(span),
            TIMEOUT,
            || Some(TIMEOUT),
        )
        .await;
    span.settled(End::Delivered, 1);
    let carried = valt.calls()[0].traceparent.clone().unwrap();
    assert!(
        carried.starts_with(&format!("00-{TRACE}-"))
            && carried.ends_with("-00")
            && !carried.contains(PARENT),
        "{carried}"
    );
    // One without a trace begins its own.
    let own = arrived(&traces, update(2, &json!({ "rooms": [7] }), None));
    own.span
        .get()
        .unwrap()
        .settled(End::Dead(Reason::Expired), 0);
    let spans = exported(traces, &sent).await;
    assert_eq!(spans.len(), 1);
    assert_eq!(
        attributes(&spans[0], &["user_courier.outcome", "error.type"]),
        ["dead_lettered", "expired"]
    );
    assert_eq!(spans[0].status.as_ref().unwrap().code, 2);
    assert_ne!(hex(&spans[0].trace_id), TRACE);
}

#[tokio::test]
async fn the_collector_is_told_who_we_are_and_is_given_its_headers() {
    let (sent, url) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("headers"),
        "authorization=Basic Y2FuYXJ5=, x-tenant = valt\n",
    )
    .unwrap();
    let (traces, _) = start(url, 1.0, Some(Secret::File(folder.path().join("headers"))));
    arrived(&traces, update(1, &json!({ "rooms": [7] }), None))
        .span
        .get()
        .unwrap()
        .settled(End::Delivered, 1);
    traces.end().await;
    let sent = sent.lock().unwrap();
    let (headers, body) = &sent[0];
    assert_eq!(
        (&headers["authorization"], &headers["x-tenant"]),
        (
            &"Basic Y2FuYXJ5=".parse().unwrap(),
            &"valt".parse().unwrap()
        )
    );
    let resource = ExportTraceServiceRequest::decode(body.clone())
        .unwrap()
        .resource_spans[0]
        .resource
        .clone()
        .unwrap();
    let names: HashMap<_, _> = resource
        .attributes
        .iter()
        .map(|attribute| (attribute.key.as_str(), format!("{:?}", attribute.value)))
        .collect();
    assert!(
        names["service.name"].contains("user-courier")
            && names["service.instance.id"].contains("one"),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_nobody_and_what_is_lost_is_counted() {
    // Connections are accepted by the system, and never served.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (traces, left_out) = start(
        format!("http://{}/v1/traces", silent.local_addr().unwrap())
            .parse()
            .unwrap(),
        1.0,
        None,
    );
    let spans = 6000;
    let all = update(1, &json!({ "rooms": [7] }), None);
    for _ in 0..spans {
        traces
            .tracer()
            .arrived(all.arrived("user-courier.valt", "valt"))
            .settled(End::Delivered, 1);
        // The exporter has its turn in between.
        tokio::task::yield_now().await;
    }
    let counted = left_out.get();
    assert!(
        (1..spans).contains(&counted),
        "{counted} of {spans} for which there was no room"
    );
}

#[tokio::test]
async fn a_collector_that_refuses_or_is_down_is_told_of_once_and_the_end_is_not_held_up() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = refusing.local_addr().unwrap();
    let refuse = Router::new().fallback(|| async { axum::http::StatusCode::BAD_REQUEST });
    tokio::spawn(async { axum::serve(refusing, refuse).await });
    let all = update(1, &json!({ "rooms": [7] }), None);
    for address in [address, gone] {
        let log = crate::telemetry::logging::Captured::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let (traces, left_out) = start(
            format!("http://{address}/v1/traces").parse().unwrap(),
            1.0,
            None,
        );
        for _ in 0..1500 {
            traces
                .tracer()
                .arrived(all.arrived("user-courier.valt", "valt"))
                .settled(End::Delivered, 1);
        }
        traces.end().await;
        assert_eq!(left_out.get(), 1500);
        let log = log.text();
        assert_eq!(
            log.matches("does not take them. Deliveries go on").count(),
            1,
            "{log}"
        );
        assert_eq!(log.lines().count(), 1, "{log}");
    }
}

#[test]
fn without_a_collector_there_is_nothing() {
    let none = TraceSender::start(
        &config::Traces::default(),
        "one",
        IntCounter::new("left_out", "Spans.").unwrap(),
    )
    .unwrap();
    assert!(none.is_none());
    let update = update(1, &json!({ "rooms": [7] }), Some("00"));
    let passed = update.trace().unwrap().into_owned();
    assert_eq!(
        (passed.traceparent.as_str(), passed.tracestate.as_deref()),
        (&*format!("00-{TRACE}-{PARENT}-00"), Some("rojo=1"))
    );
}

/// Prints what traces cost the loop: `cargo test --release --lib traces -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
async fn what_a_record_costs() {
    const RECORDS: u32 = 100_000;
    let url: Url = "http://127.0.0.1:9/v1/traces".parse().unwrap();
    let plain = update(1, &json!({ "rooms": [7] }), None);
    let began = std::time::Instant::now();
    for _ in 0..RECORDS {
        assert!(
            std::hint::black_box(TraceContext::of(std::hint::black_box(&plain.record))).is_none()
                && plain.trace().is_none()
        );
    }
    println!("no collector: {:?} a record", began.elapsed() / RECORDS);
    for (what, flags) in [("not sampled", "00"), ("sampled", "01")] {
        let (traces, _) = start(url.clone(), 1.0, None);
        let tracer = traces.tracer();
        let traced = update(1, &json!({ "rooms": [7] }), Some(flags));
        let began = std::time::Instant::now();
        for _ in 0..RECORDS {
            let span = tracer.arrived(traced.arrived("user-courier.valt", "valt"));
            let call = span.attempt(&hyper::Method::POST, &url, 0);
            std::hint::black_box(call.context());
            call.answered(Some(200), "200", engine::verdict::Verdict::Delivered);
            std::hint::black_box(span.context());
            span.settled(End::Delivered, 1);
        }
        println!("{what}: {:?} a record", began.elapsed() / RECORDS);
    }
}
