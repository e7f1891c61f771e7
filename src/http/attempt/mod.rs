//! An attempt: one update sent to its API once, with whatever login that takes, and judged.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::api::{Answer, Api, Changes, Judgement};
use crate::config::{Credentials, Proxy, Tls};
use crate::http::client::Http;
use crate::http::lost::{Lost, Status};
use crate::http::mask::mask;
use crate::http::session::{NoToken, OnLogin, Session, Token};
use crate::model::error::ApiError;
use crate::model::event::{TraceContext, UserId};
use crate::telemetry::traces::DeliverSpan;
use engine::verdict::{Finding, Verdict};

/// An update to send.
#[derive(Clone, Debug)]
pub struct Update {
    /// The user to update.
    pub user: UserId,
    /// The changes to send, validated by the API.
    pub changes: Changes,
    /// The `Idempotency-Key`: the id of the delivered record's outcome; for several records in one
    /// call, a key derived from their outcomes' ids.
    pub idempotency_key: Uuid,
}

/// The trace context of an attempt's calls.
#[derive(Clone, Copy)]
pub enum Trace<'a> {
    /// The record's own, if it has one. One that no HTTP header can carry is left out.
    Passed(Option<&'a TraceContext>),
    /// Below this span.
    Span(&'a DeliverSpan),
}

/// One call of the update, for metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    /// How it was judged.
    pub verdict: Verdict,
    /// The status of the answer, or why there was none.
    pub status: Status,
    /// How long it took.
    pub duration: Duration,
}

impl Call {
    /// No HTTP came back, in a way that stays so until somebody acts.
    fn is_no_answer(&self) -> bool {
        !matches!(self.status, Status::Http(_))
            && matches!(self.verdict, Verdict::Fault | Verdict::Unauthorized)
    }
}

/// How an attempt ended. It is put together once, from the last answer or from what stood in place
/// of one, and is carried as it is to the outcome.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// How it is judged as a whole.
    pub verdict: Verdict,
    /// The calls made, without logins: none if there was no token, two if a 401 was followed by a
    /// new one.
    pub calls: Vec<Call>,
    /// The error, with secrets masked; `None` if it was delivered.
    pub error: Option<ApiError>,
    /// The answer named another user than the one updated.
    pub other_user: bool,
    /// The answer's deviation from the values sent, in words.
    pub differing: Option<String>,
    /// The update may have been made although no answer says so.
    pub ambiguous: bool,
    /// The verdict speaks of the account or the connection, not of this update.
    pub of_all: bool,
    /// When it ended.
    pub finished_at: Timestamp,
}

impl Attempt {
    /// The HTTP status of the last answer, if there was one.
    pub fn http_status(&self) -> Option<u16> {
        self.calls.iter().rev().find_map(|call| call.status.code())
    }

    /// As far as the engine decides by it.
    pub fn finding(&self) -> Finding {
        let calls = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        Finding {
            verdict: self.verdict,
            calls,
            of_all: self.of_all,
        }
    }

    /// One whose task panicked: nothing is known of it.
    pub fn unknown() -> Self {
        Attempt {
            error: None,
            of_all: false,
            ..Attempt::without_call(Vec::new(), Verdict::Retry { unreachable: false }, None)
        }
    }

    /// One that ended before a call, or before another one.
    fn without_call(calls: Vec<Call>, verdict: Verdict, error: Option<ApiError>) -> Self {
        Attempt {
            verdict,
            calls,
            error,
            other_user: false,
            differing: None,
            ambiguous: false,
            of_all: true,
            finished_at: Timestamp::now(),
        }
    }

    fn without_token(calls: Vec<Call>, why: NoToken) -> Self {
        Attempt::without_call(calls, why.verdict, Some(why.error))
    }

    /// One whose last call brought no whole answer.
    fn lost(calls: Vec<Call>, lost: Lost) -> Self {
        Attempt {
            ambiguous: lost.ambiguous,
            of_all: calls.last().is_some_and(Call::is_no_answer),
            ..Attempt::without_call(calls, lost.verdict, Some(ApiError::new(lost.message)))
        }
    }

    /// One whose last answer the API judges so.
    fn judged(calls: Vec<Call>, judgement: Judgement) -> Self {
        Attempt {
            other_user: judgement.other_user,
            differing: judgement.differing,
            of_all: judgement.token_refused,
            ..Attempt::without_call(calls, judgement.verdict, judgement.error)
        }
    }
}

/// Makes the calls to one target.
pub struct Caller {
    api: &'static Api,
    http: Http,
    session: Session,
}

impl Caller {
    /// A caller for the API below `base_url`. Connects to nothing yet.
    ///
    /// `request_timeout` bounds the time for connecting (two fifths of it, at most 3 s);
    /// `on_login` is told how each login ended: `ok`, `refused` or `failed`.
    ///
    /// # Errors
    /// If a TLS file or the proxy's password cannot be used.
    pub fn new(
        api: &'static Api,
        base_url: Url,
        credentials: Credentials,
        tls: &Tls,
        proxy: Option<&Proxy>,
        request_timeout: Duration,
        on_login: OnLogin,
    ) -> anyhow::Result<Self> {
        let http = Http::new(&base_url, tls, proxy, request_timeout)?;
        let session = Session::new(&http, tls, proxy, request_timeout, credentials, on_login)?;
        Ok(Caller { api, http, session })
    }

    /// Sends the update once and judges the answer; after a 401, once more with a new token if one
    /// can be had. Each call carries its trace context.
    ///
    /// Each call and each login takes `timeout` at most, so an attempt may take four times as long.
    /// Right before each call, `leased` is asked how long the update's partition is certainly ours;
    /// the call takes no longer, and is not made if too little of that is left.
    pub async fn attempt(
        &self,
        update: &Update,
        trace: Trace<'_>,
        timeout: Duration,
        leased: impl Fn() -> Option<Duration> + Send + Sync,
    ) -> Attempt {
        let mut token = match self.session.token(timeout).await {
            Ok(token) => token,
            Err(why) => return Attempt::without_token(Vec::new(), why),
        };
        let mut calls = Vec::with_capacity(1);
        loop {
            // Before the look at the lease: what comes to a stop in between is late.
            let began = Instant::now();
            let Some(timeout) = leased().map(|leased| leased.min(timeout)) else {
                let error = ApiError::new(
                    "the call was not made, as its partition may have been handed over",
                );
                return Attempt::without_call(calls, Verdict::NotCalled, Some(error));
            };
            let (attempt, token_refused) = self
                .call(update, trace, &token, (began, timeout), calls)
                .await;
            if !token_refused || attempt.calls.len() > 1 {
                return attempt;
            }
            calls = attempt.calls;
            token = match self.session.replace(&token, timeout).await {
                Ok(token) => token,
                Err(why) => return Attempt::without_token(calls, why),
            };
        }
    }

    /// Leaves all connections behind: an API that is in trouble may have moved.
    pub fn start_anew(&self) {
        self.http.start_anew();
    }

    /// Whether the secret file has changed since it was last read, so that a held target is worth a
    /// probe at once. Cheap.
    pub fn credentials_changed(&self) -> bool {
        self.session.credentials_changed()
    }

    /// Makes one call after these. Also returns whether its token was refused, so that another one
    /// may help.
    async fn call(
        &self,
        update: &Update,
        trace: Trace<'_>,
        token: &Token,
        (began, timeout): (Instant, Duration),
        mut calls: Vec<Call>,
    ) -> (Attempt, bool) {
        let request = self.api.update(&update.user, &update.changes);
        let (span, headers) = match trace {
            Trace::Passed(passed) => (None, headers(update, passed)),
            Trace::Span(span) => {
                let span =
                    span.attempt(&request.method, &self.http.url(&request.path), calls.len());
                let headers = headers(update, Some(&span.context()));
                (Some(span), headers)
            }
        };
        let judge = |answer: &Answer| self.api.judge(&update.user, &update.changes, answer);
        let confirmed = |answer: &Answer| judge(answer).verdict == Verdict::Delivered;
        let secret = Some(&token.secret);
        let answer = self
            .http
            .exchange(request, secret, headers, began, timeout, confirmed)
            .await;
        let duration = began.elapsed();
        let note = |verdict, status: Status| {
            if let Some(span) = span {
                span.answered(status.code(), &status.to_string(), verdict);
            }
            calls.push(Call {
                verdict,
                status,
                duration,
            });
        };
        match answer {
            Ok(answer) => {
                let mut judgement = judge(&answer);
                note(judgement.verdict, Status::Http(answer.status));
                if judgement.quotes_api {
                    let quoted = judgement.error.take();
                    judgement.error = quoted.map(|error| mask(error, &self.secrets(update, token)));
                }
                let token_refused = judgement.token_refused;
                (Attempt::judged(calls, judgement), token_refused)
            }
            Err(lost) => {
                note(lost.verdict, lost.status);
                (Attempt::lost(calls, lost), false)
            }
        }
    }

    fn secrets(&self, update: &Update, token: &Token) -> Vec<String> {
        let values = update.changes.secrets().into_iter();
        values
            .chain([token.secret.expose_secret().to_owned()])
            .collect()
    }
}

fn headers(update: &Update, trace: Option<&TraceContext>) -> HeaderMap {
    let key = update.idempotency_key.to_string();
    let pairs = [("idempotency-key", key.as_str())]
        .into_iter()
        .chain(trace.into_iter().flat_map(TraceContext::headers));
    let header = |(name, value): (&'static str, &str)| {
        Some((
            HeaderName::from_static(name),
            HeaderValue::from_str(value).ok()?,
        ))
    };
    pairs.filter_map(header).collect()
}

#[cfg(test)]
mod tests;
