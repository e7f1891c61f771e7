//! Operators' input: a target, a reason, a user, a time. For the commands and the console alike;
//! each error says what is accepted instead.

use engine::verdict::Reason;
use jiff::Timestamp;

use crate::config::{Config, UNCLAIMED};
use crate::model::user::{IdForm, UserId};
use crate::operator::filter;

/// The name of a target that has users.
///
/// # Errors
/// If there is none of that name.
pub fn target(config: &Config, name: &str) -> Result<String, String> {
    one_of(names(config), name)
}

/// The name of a target, or `unclaimed`, which has records and dead letters too.
///
/// # Errors
/// If there is none of that name.
pub fn target_or_unclaimed(config: &Config, name: &str) -> Result<String, String> {
    one_of(names(config).chain([UNCLAIMED]), name)
}

fn names(config: &Config) -> impl Iterator<Item = &str> + Clone {
    config.targets.iter().map(|target| target.name.as_str())
}

fn one_of<'a>(names: impl Iterator<Item = &'a str> + Clone, name: &str) -> Result<String, String> {
    if names.clone().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let names = names.collect::<Vec<_>>().join(", ");
    Err(format!(
        "there is no such target; the configuration has {names}"
    ))
}

/// The reason of that name.
///
/// # Errors
/// If there is none.
pub fn reason(name: &str) -> Result<Reason, String> {
    let found = Reason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == name);
    found.ok_or_else(|| {
        format!(
            "the reasons are {}",
            Reason::ALL.map(Reason::as_str).join(", ")
        )
    })
}

/// A user's id at the target, or at any if none is named.
///
/// # Errors
/// If no target takes it as one.
pub fn user(config: &Config, target: Option<&str>, text: &str) -> Result<UserId, String> {
    let forms = || {
        let targets = config.targets.iter();
        targets
            .filter(|known| target.is_none_or(|name| name == UNCLAIMED || name == known.name))
            .map(|target| target.api.id_form)
    };
    let form = match forms().all(|form| form == IdForm::Number) {
        true => IdForm::Number,
        false => IdForm::Text,
    };
    form.parse(text)
}

/// A time, a date, or an age.
///
/// # Errors
/// If it is none of them.
pub fn time(text: &str) -> Result<Timestamp, String> {
    filter::time(text, Timestamp::now())
}
