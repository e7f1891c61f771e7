//! Traces, from the record to the call and on to the outcome, without a collector and with one.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use stand_in::Users;
use tokio::net::TcpListener;

use crate::harness::bench::Bench;
use crate::harness::update::Update;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACESTATE: &str = "rojo=00f067aa0ba902b7";

/// One that is delivered and one that is not, of one trace.
fn updates() -> [Update; 2] {
    [52, 404].map(|user| {
        Update::valt(user, "Anna")
            .header("traceparent", TRACEPARENT)
            .header("tracestate", TRACESTATE)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_a_records_trace_is_passed_on_as_it_is() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let places = bench.send(&updates()[..1]);
    let outcomes = bench.outcomes_of(&places);
    assert_eq!(outcomes[0].traceparent.as_deref(), Some(TRACEPARENT));
    assert_eq!(outcomes[0].tracestate.as_deref(), Some(TRACESTATE));
    assert_eq!(
        bench.valt.calls()[0].traceparent.as_deref(),
        Some(TRACEPARENT)
    );
    service.wait_for_log(&format!(
        r#""trace_id":"{TRACE}","span_id":"b7ad6b7169203331""#
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_collector_record_call_and_outcome_are_one_trace_with_our_spans_between_them() {
    let (bodies, url) = collector().await;
    let mut bench = Bench::new().await;
    bench
        .valt
        .set(|settings| settings.users = Users::except([404]));
    bench.set("traces.endpoint", url);
    let service = bench.start();
    let places = bench.send(&updates());
    let outcomes = bench.outcomes_of(&places);
    assert_eq!(
        outcomes
            .iter()
            .map(|outcome| outcome.ending())
            .collect::<Vec<_>>(),
        ["delivered", "dead_lettered user_not_found"]
    );
    let letter = &bench.dead_letters(1)[0];
    assert_eq!(
        letter.header("traceparent"),
        Some(TRACEPARENT),
        "a dead letter is its record, byte for byte"
    );
    assert_eq!(service.terminate().code, Some(0));

    let spans = spans(&bodies.lock().unwrap());
    for outcome in &outcomes {
        let user = outcome.user().unwrap();
        assert_eq!(outcome.tracestate.as_deref(), Some(TRACESTATE));
        let deliver = span_of(&spans, outcome.traceparent.as_deref().unwrap());
        assert_eq!(
            (deliver.name.as_str(), hex(&deliver.parent_span_id).as_str()),
            ("deliver", "b7ad6b7169203331"),
            "user {user}"
        );
        let call = bench
            .valt
            .calls()
            .into_iter()
            .find(|call| call.user == Some(user.into()))
            .unwrap();
        let attempt = span_of(&spans, call.traceparent.as_deref().unwrap());
        assert_eq!(
            (attempt.name.as_str(), &attempt.parent_span_id),
            ("attempt", &deliver.span_id),
            "user {user}"
        );
        assert!(
            deliver.start_time_unix_nano <= attempt.start_time_unix_nano
                && attempt.end_time_unix_nano <= deliver.end_time_unix_nano
        );
    }
}

/// The sampled span that a `traceparent` of our trace names.
fn span_of<'a>(spans: &'a [Span], traceparent: &str) -> &'a Span {
    let id = traceparent
        .strip_prefix(&format!("00-{TRACE}-"))
        .and_then(|rest| rest.strip_suffix("-01"));
    let found = spans
        .iter()
        .find(|span| Some(hex(&span.span_id).as_str()) == id && hex(&span.trace_id) == TRACE);
    found.unwrap_or_else(|| panic!("no span of {traceparent} was sent"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A collector that keeps what it is sent, and its address.
async fn collector() -> (Arc<Mutex<Vec<Bytes>>>, String) {
    let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
    let keep = |State(bodies): State<Arc<Mutex<Vec<Bytes>>>>, body: Bytes| async move {
        bodies.lock().unwrap().push(body)
    };
    let router = Router::new()
        .route("/v1/traces", axum::routing::post(keep))
        .with_state(bodies.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    (bodies, url)
}

fn spans(bodies: &[Bytes]) -> Vec<Span> {
    let requests = bodies
        .iter()
        .map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
    let scopes = requests
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}
