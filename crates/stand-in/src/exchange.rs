//! An exchange: the way of one call from the connection through faults and API to its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_ENCODING, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::bomb::gzip_bomb;
use super::call::{Answer, Purpose, Request};
use super::control;
use super::faults::{Fault, On, Rule};
use super::shared::Shared;
use super::wire::{self, Ending};

/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 16 << 20;

/// What a connection is to do.
pub(super) enum Reply {
    /// Send this answer.
    Answer(Response<Full<Bytes>>),
    /// Send this answer, then end like that.
    AnswerThen(Response<Full<Bytes>>, Ending),
    /// Let go of HTTP and end like that.
    Ending(Ending),
}

/// The connection ends here: on purpose, or since the body did not come whole.
#[derive(Debug, thiserror::Error)]
#[error("the connection was given up")]
pub(super) struct Broken;

/// Answers one call. `kept`: its connection has carried others.
pub(super) async fn exchange(shared: &Arc<Shared>, request: hyper::Request<Incoming>, kept: bool) -> Result<Reply, Broken> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, LONGEST_BODY).collect().await.map_err(|_| Broken)?.to_bytes();
    let request = Request { parts, json: serde_json::from_slice(&body).ok() };
    if let Some(path) = request.path().strip_prefix(control::PREFIX) {
        let (answer, closed_for) = control::answer(shared, &request, path);
        return Ok(match closed_for {
            None => Reply::Answer(response(answer)),
            Some(time) => {
                let mut answer = response(answer);
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                Reply::AnswerThen(answer, Ending::ClosePort(time))
            }
        });
    }
    let (visit, plan) = Visit::begin(shared, &request, kept);
    if !plan.wait.is_zero() {
        tokio::time::sleep(plan.wait).await;
    }
    let substitute = plan.substitute(&visit);
    let fault = plan.rule.as_ref().and_then(|rule| rule.fault);
    let silent = matches!(fault, Some(Fault::Hang | Fault::Reset | Fault::ResetKept));
    let truth = (plan.applied() || !silent && substitute.is_none()).then(|| visit.answer(&request));
    match (substitute.or(truth), fault) {
        (_, Some(Fault::Hang)) => std::future::pending().await,
        (None, _) | (_, Some(Fault::Reset | Fault::ResetKept)) => Ok(Reply::Ending(Ending::Reset)),
        (Some(answer), fault) => {
            visit.answered(answer.status);
            Ok(distorted(answer, fault))
        }
    }
}

/// The answer on its way out, which some faults distort.
fn distorted(answer: Answer, fault: Option<Fault>) -> Reply {
    match fault {
        Some(Fault::HalfClose) => Reply::Ending(Ending::HalfClose(answer)),
        Some(Fault::WrongLength) => Reply::Ending(Ending::WrongLength(answer)),
        Some(Fault::Endless) => Reply::Ending(Ending::Endless(answer)),
        Some(Fault::SlowDrip) => Reply::Ending(Ending::SlowDrip(answer)),
        Some(Fault::Gzip) => {
            let body = wire::gzip(&answer.body);
            Reply::Answer(response(Answer { body, ..answer }.with(CONTENT_ENCODING, "gzip")))
        }
        Some(Fault::Oversized) => {
            let body = wire::oversized(&answer.body);
            Reply::Answer(response(Answer { body, ..answer }))
        }
        _ => Reply::Answer(response(answer)),
    }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// What was decided about a call when it arrived.
struct Plan {
    wait: Duration,
    limited: bool,
    rule: Option<Rule>,
}

impl Plan {
    /// The call takes effect though its answer is replaced.
    fn applied(&self) -> bool {
        self.rule.as_ref().is_some_and(|rule| rule.applied)
    }

    /// The answer that replaces the API's own, if one does.
    fn substitute(&self, visit: &Visit) -> Option<Answer> {
        let kind = visit.shared.kind;
        if self.limited {
            return Some(kind.refusal(StatusCode::TOO_MANY_REQUESTS, None).with(RETRY_AFTER, "1"));
        }
        let rule = self.rule.as_ref()?;
        if let Some(status) = rule.status {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let answer = match &rule.body {
                None => kind.refusal(status, visit.purpose.user()),
                Some(Value::String(text)) if text.starts_with('<') => Answer::text(status, "text/html", text.clone()),
                Some(Value::String(text)) => Answer::text(status, "application/json", text.clone()),
                Some(json) => Answer::json(status, json),
            };
            return Some(match &rule.retry_after {
                Some(value) => answer.with(RETRY_AFTER, value),
                None => answer,
            });
        }
        match rule.fault? {
            Fault::Html => Some(Answer::page(StatusCode::OK)),
            Fault::NotJson => Some(Answer::text(StatusCode::OK, "application/json", "{\"id\": 1, \"data\": {\"id\"")),
            Fault::Redirect => Some(Answer::page(StatusCode::FOUND).with(LOCATION, "/elsewhere")),
            Fault::GzipBomb => {
                let bomb = Answer::text(StatusCode::OK, "application/json", gzip_bomb());
                Some(bomb.with(CONTENT_ENCODING, "gzip"))
            }
            Fault::Hang | Fault::Reset | Fault::ResetKept => None,
            Fault::Gzip | Fault::HalfClose | Fault::WrongLength | Fault::Oversized | Fault::Endless | Fault::SlowDrip => None,
        }
    }
}

/// A call in progress. However it ends, also by a client that goes away, the journal learns of it.
struct Visit {
    shared: Arc<Shared>,
    number: u64,
    purpose: Purpose,
    status: Option<StatusCode>,
}

impl Visit {
    fn begin(shared: &Arc<Shared>, request: &Request, kept: bool) -> (Self, Plan) {
        let purpose = shared.kind.purpose(&request.parts.method, request.path());
        let now = tokio::time::Instant::now();
        let mut core = shared.lock();
        let settings = &core.books.settings;
        let (latency, rate_limit, size) = (settings.latency, settings.rate_limit, settings.journal_size);
        let number = core.journal.arrive(request, purpose, size);
        let on = match purpose {
            Purpose::Update(_) => Some(On::Updates),
            Purpose::Login => Some(On::Logins),
            Purpose::Other => None,
        };
        let limited = on == Some(On::Updates) && !core.window.admits(rate_limit, now);
        let rule = on.filter(|_| !limited).and_then(|on| core.faults.take(on, purpose.user(), kept));
        drop(core);
        shared.changed.notify_waiters();
        let wait = latency + rule.as_ref().and_then(|rule| rule.delay).unwrap_or_default();
        let visit = Visit { shared: Arc::clone(shared), number, purpose, status: None };
        (visit, Plan { wait, limited, rule })
    }

    /// The API's true answer, noted in the journal if it changed something.
    fn answer(&self, request: &Request) -> Answer {
        let mut core = self.shared.lock();
        let answer = self.shared.kind.answer(request, self.purpose, &mut core.books);
        if answer.applied {
            core.journal.apply(self.number);
            drop(core);
            self.shared.changed.notify_waiters();
        }
        answer
    }

    /// Over, with this status. What follows on the wire no longer counts as in progress: the client
    /// may have read enough and be back before the server learns of it.
    fn answered(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let status = self.status.map(|status| status.as_u16());
        self.shared.lock().journal.leave(self.number, self.purpose, status);
        self.shared.changed.notify_waiters();
    }
}
