//! The spans: `deliver` for a record, below it `lane` for its wait and `attempt` for each call.
//!
//! They bear names, numbers and places. No value of `changes`, no token, no query of a URL, and
//! nothing of an answer's body comes here.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hyper::Method;
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt,
    TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use url::Url;

use crate::model::event::{Identity, TraceContext};
use crate::model::outcome::Kind;
use crate::model::record::Place;
use crate::model::text;
use crate::model::user::UserValue;
use crate::telemetry::traces::Tracer;
use engine::End;
use engine::verdict::{Reason, Verdict};

/// The bytes of a text in an attribute: senders choose the ids of their events.
const MAX_TEXT_BYTES: usize = 256;

/// The span of one record, from its arrival until its outcome is committed. One that is dropped
/// before, since the record is left to the next owner of its partition, ends without an outcome.
#[derive(Debug)]
pub struct DeliverSpan {
    tracer: SdkTracer,
    context: SpanContext,
    received_at: SystemTime,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    span: Span,
    waits: bool,
    /// The spans of the updates that are sent in the next call, too.
    merged: Vec<SpanContext>,
    /// The span of the update in whose call this one is sent.
    carrier: Option<SpanContext>,
}

/// A record that has arrived.
#[derive(Clone, Debug)]
pub struct Arrived<'a> {
    /// The subscriber's consumer group.
    pub group: &'a str,
    /// The subscriber's name.
    pub target: &'a str,
    /// The record's position.
    pub place: &'a Place,
    /// The event's sender and type.
    pub identity: &'a Identity,
    /// The user of the update.
    pub user: Option<UserValue>,
    /// Its trace context from the sender.
    pub trace: Option<&'a TraceContext>,
    /// When it arrived.
    pub received_at: SystemTime,
}

impl Tracer {
    /// A record of ours has arrived.
    pub fn arrived(&self, record: Arrived<'_>) -> DeliverSpan {
        let Arrived {
            group,
            target,
            place,
            identity,
            user,
            trace,
            received_at,
        } = record;
        let parent = trace.and_then(remote).map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent)
        });
        let builder = SpanBuilder::from_name("deliver")
            .with_kind(SpanKind::Consumer)
            .with_start_time(received_at);
        let mut span = self.0.build_with_context(builder, &parent);
        if span.is_recording() {
            span.set_attributes([
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.operation.name", "deliver"),
                KeyValue::new("messaging.destination.name", place.topic.to_string()),
                KeyValue::new(
                    "messaging.destination.partition.id",
                    place.partition.to_string(),
                ),
                KeyValue::new("messaging.kafka.offset", place.offset),
                KeyValue::new("messaging.consumer.group.name", group.to_owned()),
                KeyValue::new("user_courier.target", target.to_owned()),
            ]);
            let texts = [
                ("cloudevents.event_id", &identity.id),
                ("cloudevents.event_type", &identity.event_type),
            ];
            let texts = texts
                .into_iter()
                .filter_map(|(name, text)| Some((name, text.as_deref()?)));
            span.set_attributes(texts.map(|(name, text)| {
                KeyValue::new(name, text::cut(text, MAX_TEXT_BYTES).into_owned())
            }));
            span.set_attributes(user.map(|user| KeyValue::new("user_courier.user", value(user))));
        }
        let context = span.span_context().clone();
        let open = Mutex::new(Open {
            span,
            waits: true,
            merged: Vec::new(),
            carrier: None,
        });
        DeliverSpan {
            tracer: self.0.clone(),
            context,
            received_at,
            open,
        }
    }
}

impl DeliverSpan {
    /// The trace context for the record's outcome.
    pub fn context(&self) -> TraceContext {
        written(&self.context)
    }

    /// These are sent in the next call, too.
    pub fn carries<'a>(&self, merged: impl Iterator<Item = &'a DeliverSpan>) {
        let mut open = self.open();
        open.merged.clear();
        for other in merged.filter(|other| other.context.is_sampled()) {
            open.merged.push(other.context.clone());
            other.open().carrier = Some(self.context.clone());
        }
    }

    /// A call begins. `resent`: how many of the same attempt came before it.
    pub fn attempt(&self, method: &Method, url: &Url, resent: usize) -> AttemptSpan {
        let parent = Context::new().with_remote_span_context(self.context.clone());
        self.called(&parent);
        let links = self
            .open()
            .merged
            .iter()
            .map(|merged| Link::with_context(merged.clone()))
            .collect();
        let builder = SpanBuilder::from_name("attempt")
            .with_kind(SpanKind::Client)
            .with_links(links);
        let mut span = self.tracer.build_with_context(builder, &parent);
        if span.is_recording() {
            // A query may hold a token. None was put in yet; this makes sure.
            let mut url = url.clone();
            url.set_query(None);
            span.set_attributes([
                KeyValue::new("http.request.method", method.as_str().to_owned()),
                KeyValue::new(
                    "server.address",
                    url.host_str().unwrap_or_default().to_owned(),
                ),
                KeyValue::new(
                    "server.port",
                    i64::from(url.port_or_known_default().unwrap_or_default()),
                ),
                KeyValue::new("url.full", String::from(url)),
            ]);
            if let Ok(resent @ 1..) = i64::try_from(resent) {
                span.set_attribute(KeyValue::new("http.request.resend_count", resent));
            }
        }
        AttemptSpan(span)
    }

    /// The record's outcome is committed.
    pub fn settled(&self, end: End, attempts: u32) {
        let mut open = self.open();
        let carrier = open.carrier.take();
        let span = &mut open.span;
        if span.is_recording() {
            let (outcome, reason) = Kind::of(end);
            span.set_attribute(KeyValue::new("user_courier.outcome", outcome.as_str()));
            span.set_attribute(KeyValue::new("user_courier.attempts", i64::from(attempts)));
            if let Some(reason) = reason.map(Reason::as_str) {
                span.set_attribute(KeyValue::new("error.type", reason));
                span.set_status(Status::Error {
                    description: Cow::Borrowed(reason),
                });
            }
            if let (End::Merged { into }, Some(carrier)) = (end, carrier) {
                span.set_attribute(KeyValue::new("user_courier.into", into));
                span.add_link(carrier, Vec::new());
            }
        }
        span.end();
    }

    /// The wait in the lane is over: what comes between two calls can be seen without a span.
    fn called(&self, parent: &Context) {
        let mut open = self.open();
        if std::mem::take(&mut open.waits) && open.span.is_recording() {
            let builder = SpanBuilder::from_name("lane")
                .with_kind(SpanKind::Internal)
                .with_start_time(self.received_at);
            self.tracer.build_with_context(builder, parent).end();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The span of one call.
#[derive(Debug)]
pub struct AttemptSpan(Span);

impl AttemptSpan {
    /// The trace context that the call carries.
    pub fn context(&self) -> TraceContext {
        written(self.0.span_context())
    }

    /// The call was answered with that HTTP status, or lost. `status`: as metrics name either.
    pub fn answered(mut self, http_status: Option<u16>, status: &str, verdict: Verdict) {
        if self.0.is_recording() {
            if let Some(code) = http_status {
                self.0
                    .set_attribute(KeyValue::new("http.response.status_code", i64::from(code)));
            }
            self.0
                .set_attribute(KeyValue::new("user_courier.verdict", verdict.as_str()));
            if verdict != Verdict::Delivered {
                self.0
                    .set_attribute(KeyValue::new("error.type", status.to_owned()));
                self.0.set_status(Status::error(verdict.as_str()));
            }
        }
        self.0.end();
    }
}

fn value(user: UserValue) -> Value {
    match user {
        UserValue::Number(number) => i64::try_from(number).unwrap_or(i64::MAX).into(),
        UserValue::Text(text) => text.into(),
    }
}

/// A place in a trace as OpenTelemetry has it.
fn remote(context: &TraceContext) -> Option<SpanContext> {
    let (trace, span) = context.ids();
    let flags = context
        .traceparent
        .get(53..55)
        .and_then(|flags| u8::from_str_radix(flags, 16).ok())?;
    let state = context
        .tracestate
        .as_deref()
        .and_then(|state| state.parse::<TraceState>().ok())
        .unwrap_or_default();
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(
        trace,
        span,
        TraceFlags::new(flags),
        true,
        state,
    ))
}

/// And as W3C writes it.
fn written(context: &SpanContext) -> TraceContext {
    // Sampled, and drawn at random: the others mean nothing yet.
    let flags = context.trace_flags() & TraceFlags::new(0x03);
    let state = context.trace_state().header();
    TraceContext {
        traceparent: format!(
            "00-{:032x}-{:016x}-{:02x}",
            context.trace_id(),
            context.span_id(),
            flags
        ),
        tracestate: (!state.is_empty()).then_some(state),
    }
}
