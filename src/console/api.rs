//! The answers to the page: each is one question of it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use crate::config::UNCLAIMED;
use crate::console::asked::{self, Agreed, ToRead, ToReplay, Typed};
use crate::console::gate::GateRefusal;
use crate::console::replaying::Replayer;
use crate::console::sending::{self, ToSend};
use crate::console::work::Yes;
use crate::console::{Desktop, letters};
use crate::model::outcome::timestamp;
use crate::model::text;
use crate::operator::explain::Explanation;
use crate::operator::filter;
use crate::operator::judge::TargetUser;
use crate::operator::story::Story;
use crate::operator::{Desk, ReadFailure};
use crate::operator::{input, letter_sheet, user_sheet};
use crate::service::server::Peer;
use engine::verdict::Reason;

/// The bytes of an operator's name.
const NAME: usize = 64;

/// An answer, or why there is none.
type Answer = Result<Response, GateRefusal>;
type Known = State<Arc<Desktop>>;

/// A route for each question.
pub(super) fn routes(desktop: Arc<Desktop>) -> Router {
    Router::new()
        .route("/api/hello", get(hello))
        .route("/api/now", get(now))
        .route("/api/kafka", get(kafka))
        .route("/api/letters", get(letters))
        .route("/api/read", post(read))
        .route("/api/plan", post(plan))
        .route("/api/send", post(send))
        .route("/api/jobs/{id}", get(job))
        .route("/api/jobs/{id}/yes", post(yes))
        .route("/api/jobs/{id}/cancel", post(cancel))
        .route("/api/unlock", post(unlock))
        .with_state(desktop)
}

/// The facts that a page needs before any other request.
async fn hello(State(desktop): Known) -> Response {
    let Desktop { config, gate, .. } = &*desktop;
    let targets = config
        .targets
        .iter()
        .map(|target| target.name.as_str())
        .chain([UNCLAIMED]);
    json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "form_token": gate.form_token(),
        "locked": gate.is_closed(),
        "replay": gate.has_token(),
        "targets": targets.collect::<Vec<_>>(),
        "reasons": Reason::ALL.map(Reason::as_str),
    }))
}

#[derive(Deserialize)]
struct After {
    after: Option<i64>,
}

async fn now(State(desktop): Known, asked: Result<Query<After>, QueryRejection>) -> Answer {
    Ok(json(
        &desktop
            .now
            .page(asked::query(asked)?.after.unwrap_or(i64::MIN)),
    ))
}

/// What every page tells: whether Kafka is there, as the console itself finds it and as the
/// instances say; which targets do not flow; and how many letters are open.
async fn kafka(State(desktop): Known) -> Response {
    let (stranded, others) = desktop.now.stranded();
    let failure = desktop.tail.shown()["failure"].take();
    let none = stranded.as_array().is_none_or(Vec::is_empty);
    let state = match (failure.is_null(), none, others) {
        (false, ..) => "down",
        (true, true, _) => "up",
        (true, false, true) => "part",
        (true, false, false) => "stranded",
    };
    let kafka = &desktop.config.kafka;
    json(&json!({
        "now": timestamp(Timestamp::now()),
        "state": state,
        "failure": failure,
        "instances": stranded,
        "group": kafka.group_id,
        "brokers": kafka.bootstrap_servers,
        "troubles": desktop.now.troubles(),
        "open_letters": desktop.tail.letters.open(),
    }))
}

/// The dead letters that a filter takes, from the index.
async fn letters(State(desktop): Known, asked: Result<Query<Typed>, QueryRejection>) -> Answer {
    let typed = asked::query(asked)?;
    let (filter, cursor) = (typed.filter(&desktop.config)?, typed.cursor()?);
    let known = desktop.clone();
    // To count a million takes some hundredths of a second.
    let found = tokio::task::spawn_blocking(move || {
        let topic = &known.config.kafka.topics.dead_letters;
        known.tail.letters.page(topic, &filter, cursor, typed.seen)
    });
    let found = found
        .await
        .map_err(|_| asked::wrong("a panic: please report this, it is a fault of this program"))?;
    Ok(json(
        &json!({ "list": found, "reading": desktop.tail.shown(), "rows": letters::ROWS }),
    ))
}

/// Begins to read a letter's story, or what is known of a user.
async fn read(State(desktop): Known, body: Bytes) -> Answer {
    let known = desktop.clone();
    let id = match asked::body(&body)? {
        ToRead::Letter(place) => {
            let place = asked::letter(&desktop.config, &place)?;
            desktop.work.begin(move |job| {
                let desk = Desk::open(&known.config)?;
                let letter = desk.letter(&place)?;
                let letter = letter.ok_or_else(|| {
                    ReadFailure::Other(anyhow::anyhow!(
                        "there is no dead letter at {place} any more"
                    ))
                })?;
                let story = Story::read(&desk, letter, &mut &job.progress)?;
                value(&letter_sheet::sheet(&story, false))
            })?
        }
        ToRead::User {
            target,
            user,
            since,
        } => {
            let config = &desktop.config;
            let target = input::target(config, target.trim()).map_err(asked::wrong)?;
            let user = input::user(config, Some(&target), &user).map_err(asked::wrong)?;
            let lane = TargetUser { target, user };
            let now = Timestamp::now();
            let since = match asked::given(&since) {
                Some(text) => filter::time(text, now).map_err(asked::wrong)?,
                None => now
                    .checked_sub(user_sheet::LATELY)
                    .unwrap_or(Timestamp::MIN),
            };
            desktop.work.begin(move |job| {
                let desk = Desk::open(&known.config)?;
                let state = known.now.state(&lane.target);
                let found = Explanation::read(&desk, lane, since, &mut &job.progress)?;
                value(&user_sheet::sheet(
                    &found,
                    state
                        .as_ref()
                        .map(|(who, state)| (who.as_str(), state.clone())),
                    since,
                ))
            })?
        }
    };
    Ok(json(&json!({ "job": id })))
}

fn value(sheet: &impl serde::Serialize) -> Result<Value, ReadFailure> {
    serde_json::to_value(sheet).map_err(|error| ReadFailure::Other(error.into()))
}

/// Begins a plan, which waits for a yes. Nothing is sent without.
async fn plan(State(desktop): Known, body: Bytes) -> Answer {
    let asked: ToReplay = asked::body(&body)?;
    let wanted = asked.wanted(&desktop.config)?;
    let replayer = Replayer {
        config: desktop.config.clone(),
        tail: desktop.tail.clone(),
        busy: desktop.busy.clone(),
    };
    let id = desktop
        .work
        .begin(move |job| replayer.run(job, &wanted, asked.force))?;
    Ok(json(&json!({ "job": id })))
}

/// Begins to send an update, which waits for a yes. Nothing is sent without.
async fn send(State(desktop): Known, body: Bytes) -> Answer {
    let draft = asked::body::<ToSend>(&body)?.draft(&desktop.config)?;
    let known = desktop.clone();
    let id = desktop
        .work
        .begin(move |job| sending::run(&known, job, &draft))?;
    Ok(json(&json!({ "job": id })))
}

async fn job(State(desktop): Known, Path(id): Path<String>) -> Answer {
    let mut shown = desktop.work.job(&id)?.shown();
    shown["follow"] = desktop.tail.follows.shown(&id);
    Ok(json(&shown))
}

/// Says yes to a plan. It takes the token.
async fn yes(
    State(desktop): Known,
    Extension(Peer(peer)): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    desktop.gate.may_replay(&headers)?;
    let Agreed { operator, rate } = asked::body(&body)?;
    let operator = name(&operator)?;
    if rate == Some(0) {
        return Err(asked::wrong(
            "the rate is a whole number of events a second, 1 or more",
        ));
    }
    desktop.work.job(&id)?.say(Yes {
        operator,
        peer: peer.to_string(),
        rate,
    })?;
    Ok(json(&json!({})))
}

/// Gives a plan up, or ends a replay after the batch that is under way.
async fn cancel(State(desktop): Known, Path(id): Path<String>) -> Answer {
    desktop.work.job(&id)?.cancel();
    Ok(json(&json!({})))
}

/// Whether the token is the right one.
async fn unlock(
    State(desktop): Known,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    #[derive(Deserialize)]
    struct Named {
        operator: String,
    }
    desktop.gate.may_replay(&headers)?;
    let operator = name(&asked::body::<Named>(&body)?.operator)?;
    info!(operator, %peer, "the console was unlocked");
    Ok(json(&json!({})))
}

/// An operator's name, fit for the log.
fn name(text: &str) -> Result<String, GateRefusal> {
    asked::given(text)
        .map(|name| text::name(name, NAME))
        .ok_or_else(|| asked::wrong("give your name: it stands in the log beside what you do"))
}

fn json(value: &Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}
