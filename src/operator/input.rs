//! What an operator types: a target, a reason, a user, a time. For the commands and the console alike;
//! each error says what is taken instead.

use engine::verdict::Reason;
use jiff::Timestamp;

use crate::config::{Config, UNCLAIMED};
use crate::model::event::UserId;
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

/// A user's number.
///
/// # Errors
/// If it is none.
pub fn user(text: &str) -> Result<UserId, String> {
    let number = text.trim().parse().ok().and_then(UserId::new);
    number.ok_or_else(|| "a user is a whole number from 1 to 9223372036854775807".to_owned())
}

/// A time, a date, or an age.
///
/// # Errors
/// If it is none of them.
pub fn time(text: &str) -> Result<Timestamp, String> {
    filter::time(text, Timestamp::now())
}
