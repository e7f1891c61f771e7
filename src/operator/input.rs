//! Operators' input: a target, a reason, a user, a time. For the commands and the console alike;
//! each error says what is accepted instead.

use std::time::Duration;

use engine::verdict::Reason;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;

use crate::config::{Config, UNCLAIMED};
use crate::model::user::{IdForm, UserId, UserValue};
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

/// The same, as events name it: a number if the target's API numbers users, else a string.
///
/// # Errors
/// If the target does not take it as one.
pub fn user_value(config: &Config, target: &str, text: &str) -> Result<UserValue, String> {
    let user = user(config, Some(target), text)?;
    let known = config.targets.iter().find(|known| known.name == target);
    Ok(user.value(known.map(|known| known.api.id_form)))
}

/// A time, a date, or an age.
///
/// # Errors
/// If it is none of them.
pub fn time(text: &str) -> Result<Timestamp, String> {
    filter::time(text, Timestamp::now())
}

/// A duration, such as 30s.
///
/// # Errors
/// If it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration: Result<SignedDuration, _> = text.parse();
    duration
        .ok()
        .and_then(|duration| duration.try_into().ok())
        .ok_or_else(|| "write it as 250ms, 30s or 2m".to_owned())
}

/// A field and the JSON of its value.
///
/// # Errors
/// If it is none, in words that do not quote the value.
pub fn field(text: &str) -> Result<(String, Box<RawValue>), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("write it as FIELD=JSON, such as --set 'rooms=[37, 39]'".to_owned());
    };
    let name = name.trim();
    match RawValue::from_string(value.trim().to_owned()) {
        Ok(value) => Ok((name.to_owned(), value)),
        Err(_) => Err(format!(
            "what stands behind `{name}=` is no JSON. A text stands in double quotes, \
             and all of it in single ones for the shell: --set '{name}=\"…\"'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_a_value_in_json_and_a_bare_word_is_told_how_to_be_quoted() {
        for (text, name, value) in [
            ("rooms=[37, 39]", "rooms", "[37, 39]"),
            ("display_name=\"a=b\"", "display_name", "\"a=b\""),
            ("nickName=null", "nickName", "null"),
        ] {
            let (found, json) = field(text).unwrap();
            assert_eq!((&*found, json.get()), (name, value));
        }
        let error = field("password=hunter22").unwrap_err();
        assert!(error.contains("--set 'password=\"…\"'") && !error.contains("hunter22"));
        assert!(field("rooms").unwrap_err().contains("FIELD=JSON"));
    }

    #[test]
    fn a_duration_has_a_unit_and_is_not_negative() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["30", "-1s", "", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
