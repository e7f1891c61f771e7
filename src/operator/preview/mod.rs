//! A preview: what would become of events, without sending any. It looks at them with the service's
//! own decoder, router, tables of fields and requests.

pub mod events;
mod sheet;
mod tally;
mod topic;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::Url;

use crate::api::{Api, Changes};
use crate::config::{Config, Guard};
use crate::http::client::below;
use crate::model::event::{Event, Identity, UserId};
use crate::model::outcome::{EventIdentity, RecordPlace};
use crate::model::record::{Header, Place, Record};
use crate::model::user::UserValue;
use crate::operator::judge::Judge;
use engine::verdict::Reason;

pub(crate) use sheet::{call_lines, lines, sheet};
pub use tally::PreviewTally;
pub use topic::{TopicPart, TopicRead, of_topic};

/// Says what would become of a record.
pub struct Previewer {
    judge: Judge,
    base_urls: HashMap<String, Arc<Url>>,
    guards: HashMap<String, Guard>,
}

/// The place of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// It begins on this line of a file.
    Line(u64),
    /// It is this record.
    Record(Place),
}

/// The result for one event.
#[derive(Clone)]
pub struct Preview {
    /// Its place.
    pub at: At,
    /// Which comes first of several: by time and place, or by line.
    pub rank: (i64, i32, i64),
    /// Its sender, as far as that can be read.
    pub identity: Identity,
    /// The target that takes it, if one does.
    pub target: Option<String>,
    /// The user, if known.
    pub user: Option<UserValue>,
    /// The fields that it would change.
    pub fields: Vec<String>,
    /// The fields that it would take something away of.
    pub takes_away: Vec<String>,
    /// What the target's guard lets through, if it has one: so many users within this time.
    pub guard: Option<(u32, Duration)>,
    /// The call, or the dead letter.
    pub fate: Fate,
}

/// The call that an event would lead to, or its dead letter.
#[derive(Clone)]
pub enum Fate {
    /// It would be sent.
    Call(ToCall),
    /// It would be a dead letter at once: why, and in words that quote no value.
    Dead(Reason, String),
}

/// An update that would be sent.
#[derive(Clone)]
pub struct ToCall {
    /// The user at the API.
    pub user: UserId,
    api: &'static Api,
    base_url: Arc<Url>,
    changes: Changes,
}

/// The very call, but for its token and for the values of secret fields, which are masked.
#[derive(Debug)]
pub struct ShownCall {
    /// The HTTP method.
    pub method: String,
    /// The whole address. A token that would stand in it is left out.
    pub url: Url,
    /// The body.
    pub body: Box<RawValue>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Line(line) => write!(f, "line {line}"),
            At::Record(place) => place.fmt(f),
        }
    }
}

impl Previewer {
    /// One for these targets and routes.
    pub fn new(config: &Config) -> Self {
        let base_url = |target: &crate::config::Target| {
            (target.name.clone(), Arc::new(target.base_url.clone()))
        };
        Previewer {
            judge: Judge::new(config),
            base_urls: config.targets.iter().map(base_url).collect(),
            guards: config
                .targets
                .iter()
                .filter_map(|target| Some((target.name.clone(), target.guard.clone()?)))
                .collect(),
        }
    }

    /// Looks at an event in structured form, which begins on that line of a file.
    pub fn event(&self, line: u64, text: Vec<u8>) -> Preview {
        let rank = i64::try_from(line).unwrap_or(i64::MAX);
        self.look(&structured(text, None), At::Line(line), (rank, 0, 0))
    }

    /// Looks at a record of the update topic.
    pub fn record(&self, record: &Record) -> Preview {
        let place = record.place.clone();
        let rank = (
            record.timestamp_ms.unwrap_or_default(),
            place.partition,
            place.offset,
        );
        self.look(record, At::Record(place), rank)
    }

    fn look(&self, record: &Record, at: At, rank: (i64, i32, i64)) -> Preview {
        let reading = self.judge.read(record);
        let event = reading.event.as_ref().ok();
        let target = event
            .and_then(|event| self.judge.target(event))
            .map(str::to_owned);
        let found = |target: &String| Some((self.judge.api(target)?, self.base_urls.get(target)?));
        let fate = match (
            reading.call,
            target.as_ref().and_then(found),
            reading.problem,
        ) {
            (Some((user, changes)), Some((api, base_url)), None) => Fate::Call(ToCall {
                user,
                api,
                base_url: base_url.clone(),
                changes,
            }),
            (_, _, Some((reason, message))) => Fate::Dead(reason, message),
            (_, _, None) => Fate::Dead(Reason::Unroutable, "no target takes it".to_owned()),
        };
        let guard = target.as_ref().and_then(|target| self.guards.get(target));
        let also = guard.map(|guard| &*guard.also).unwrap_or_default();
        let takes_away = match &fate {
            Fate::Call(call) => call.changes.taken_away(also),
            Fate::Dead(..) => Vec::new(),
        };
        Preview {
            takes_away,
            guard: guard.map(|guard| (guard.max_users, guard.window)),
            at,
            rank,
            user: self.user(event, target.as_deref()),
            target,
            fields: event.map(Event::fields).unwrap_or_default(),
            identity: reading
                .event
                .map_or_else(|none| none, |event| event.identity),
            fate,
        }
    }

    /// The user as outcomes show it.
    fn user(&self, event: Option<&Event>, target: Option<&str>) -> Option<UserValue> {
        let event = event?;
        match target.and_then(|target| self.judge.id_form(target)) {
            Some(form) => Some(event.user_id(form).ok()?.value(Some(form))),
            None => Some(event.any_user_id()?.value(None)),
        }
    }
}

/// A record of an event in structured form.
pub(crate) fn structured(text: Vec<u8>, key: Option<Vec<u8>>) -> Record {
    Record {
        place: Place {
            topic: "".into(),
            partition: 0,
            offset: 0,
        },
        key,
        value: Some(text),
        timestamp_ms: None,
        headers: vec![Header::text("content-type", "application/cloudevents+json")],
        verbatim_headers: None,
    }
}

impl ToCall {
    /// The call as the API builds it, of changes whose secrets are masked.
    pub fn call(&self) -> ShownCall {
        let request = self.api.update(&self.user, &self.changes.masked());
        let as_text = || Value::from(String::from_utf8_lossy(&request.body)).to_string();
        let body = serde_json::from_slice(&request.body)
            .or_else(|_| RawValue::from_string(as_text()))
            .unwrap_or_default();
        ShownCall {
            method: request.method.to_string(),
            url: below(&self.base_url, &request.path),
            body,
        }
    }
}

impl ShownCall {
    /// In JSON.
    pub fn json(&self) -> Value {
        json!({
            "method": self.method, "url": self.url.as_str(), "path": self.url.path(),
            "body": serde_json::from_str::<Value>(self.body.get()).unwrap_or_default(),
        })
    }
}

impl Preview {
    /// Whether it would be a dead letter.
    pub fn is_dead(&self) -> bool {
        matches!(self.fate, Fate::Dead(..))
    }

    /// In JSON, with the names that outcomes have.
    pub fn json(&self) -> Value {
        let (line, record) = match &self.at {
            At::Line(line) => (Some(line), None),
            At::Record(place) => (None, Some(RecordPlace::from(place))),
        };
        let (would_be, call, reason, error) = match &self.fate {
            Fate::Call(sent) => ("called", Some(sent.call().json()), None, None),
            Fate::Dead(reason, error) => {
                ("dead_lettered", None, Some(reason.as_str()), Some(error))
            }
        };
        json!({
            "line": line, "record": record, "event": EventIdentity::from(&self.identity),
            "would_be": would_be, "target": self.target, "user": self.user,
            "fields": self.fields, "takes_away": self.takes_away, "call": call, "reason": reason,
            "error": error.map(|error| json!({ "message": error })),
        })
    }
}
