//! Requests of a page: read strictly, since anything that reaches the port may have written them.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use serde::Deserialize;

use crate::config::Config;
use crate::console::gate::GateRefusal;
use crate::console::letters::Cursor;
use crate::kafka::reader::Spot;
use crate::model::record::Place;
use crate::operator::{Filter, input};

/// Maximum number of letters that can be chosen one by one.
const CHOSEN: usize = 1_000;

/// A filter as it was typed. Empty parts do not filter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Typed {
    target: String,
    reason: String,
    user: String,
    since: String,
    until: String,
    all: bool,
    /// The cursor at the end of the previous page.
    before: String,
    /// The version that was seen last.
    pub(super) seen: Option<u64>,
}

impl Typed {
    /// The filter.
    ///
    /// # Errors
    /// In words, with what can be written.
    pub(super) fn filter(&self, config: &Config) -> Result<Filter, GateRefusal> {
        let target = |name: &str| input::target_or_unclaimed(config, name);
        let time = |field: &'static str| {
            move |text: &str| input::time(text).map_err(|words| format!("{field}: {words}"))
        };
        let found = Filter {
            target: read(&self.target, target)?,
            reason: read(&self.reason, input::reason)?,
            user: read(&self.user, |user| {
                input::user(config, given(&self.target), user)
            })?,
            since: read(&self.since, time("since"))?,
            until: read(&self.until, time("until"))?,
            all: self.all,
        };
        if found
            .since
            .zip(found.until)
            .is_some_and(|(since, until)| since > until)
        {
            return Err(wrong(
                "since is later than until: nothing can lie between them",
            ));
        }
        Ok(found)
    }

    /// The position before the first row.
    ///
    /// # Errors
    /// If that is no place between two rows.
    pub(super) fn cursor(&self) -> Result<Option<Cursor>, GateRefusal> {
        let parse = |text: &str| {
            let (time, spot) = text.split_once('.')?;
            let (partition, offset) = spot.split_once('.')?;
            Some((
                time.parse().ok()?,
                partition.parse().ok()?,
                offset.parse().ok()?,
            ))
        };
        given(&self.before)
            .map(|text| parse(text).ok_or_else(|| wrong("there is no such page")))
            .transpose()
    }
}

/// Dead letters that are to be replayed: those that were ticked, or else all that the filter takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToReplay {
    #[serde(default)]
    filter: Typed,
    places: Option<Vec<String>>,
    #[serde(default)]
    pub(super) force: bool,
}

/// Which dead letters.
pub(super) enum Wanted {
    /// All that a filter takes.
    All(Filter),
    /// These.
    These(Vec<Spot>),
}

impl ToReplay {
    /// Which those are.
    ///
    /// # Errors
    /// If that cannot be told.
    pub(super) fn wanted(&self, config: &Config) -> Result<Wanted, GateRefusal> {
        let Some(places) = &self.places else {
            return Ok(Wanted::All(self.filter.filter(config)?));
        };
        if places.is_empty() || places.len() > CHOSEN {
            return Err(wrong(format!(
                "tick 1 to {CHOSEN} of them, or take all that the filter takes"
            )));
        }
        let spot =
            |text: &String| letter(config, text).map(|place| (place.partition, place.offset));
        Ok(Wanted::These(
            places.iter().map(spot).collect::<Result<_, _>>()?,
        ))
    }
}

/// A yes to a plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Agreed {
    pub(super) operator: String,
    pub(super) rate: Option<u32>,
}

/// A request to read from the topics.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ToRead {
    /// The dead letter at this place.
    Letter(String),
    /// The history of a user.
    User {
        target: String,
        user: String,
        since: String,
    },
}

/// Reads the query of an address.
///
/// # Errors
/// If it is not what is asked for here.
pub(super) fn query<T>(found: Result<Query<T>, QueryRejection>) -> Result<T, GateRefusal> {
    found
        .map(|Query(asked)| asked)
        .map_err(|rejection| wrong(rejection.body_text()))
}

/// Reads a body.
///
/// # Errors
/// If it is not what is asked for here.
pub(super) fn body<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, GateRefusal> {
    serde_json::from_slice(bytes).map_err(|error| wrong(format!("this cannot be read: {error}")))
}

/// The place of a dead letter.
///
/// # Errors
/// If it is none.
pub(super) fn letter(config: &Config, text: &str) -> Result<Place, GateRefusal> {
    let place: Place = text
        .parse()
        .map_err(|error: crate::model::record::NotAPlace| wrong(error.to_string()))?;
    if *place.topic == *config.kafka.topics.dead_letters {
        Ok(place)
    } else {
        Err(wrong("this is not the dead-letter topic"))
    }
}

/// The typed text as `parse` reads it, if there is any.
fn read<T>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, GateRefusal> {
    given(text).map(parse).transpose().map_err(wrong)
}

/// The typed text, if there is any.
pub(super) fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// This cannot be asked so.
pub(super) fn wrong(words: impl Into<String>) -> GateRefusal {
    GateRefusal(StatusCode::BAD_REQUEST, words.into())
}
