//! A user's id: text everywhere, in the form that the target's API takes.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::event::InvalidChanges;
use crate::model::json::{self, Number};

/// The characters of an id at most.
pub const MAX_CHARS: usize = 256;

/// A user's id at an API. Two ids are one exactly if their texts are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Id);

/// An id that is a number is always kept as one: it takes no memory of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Id {
    /// 1 to 2^63-1.
    Number(u64),
    /// Any other text.
    Text(Arc<str>),
}

/// The form of an API's ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdForm {
    /// An integer from 1 to 2^63-1.
    Number,
    /// A string of 1 to 256 characters.
    Text,
}

/// An id in JSON: a number or a string, as its API has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum UserValue {
    /// At an API that numbers its users.
    Number(#[schemars(range(min = 1, max = 9_223_372_036_854_775_807_i64))] u64),
    /// At any other API.
    Text(#[schemars(length(min = 1, max = MAX_CHARS))] String),
}

impl UserId {
    /// The number as an id, if it is from 1 to 2^63-1.
    pub fn number(number: u64) -> Option<Self> {
        (1..=i64::MAX as u64)
            .contains(&number)
            .then_some(UserId(Id::Number(number)))
    }

    /// The text as an id, if it can be one.
    pub fn text(text: &str) -> Option<Self> {
        if !(1..=MAX_CHARS).contains(&text.chars().take(MAX_CHARS + 1).count())
            || matches!(text, "." | "..")
        {
            return None;
        }
        let is_plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_plain
            .then(|| UserId::number(text.parse().ok()?))
            .flatten();
        Some(number.unwrap_or_else(|| UserId(Id::Text(text.into()))))
    }

    /// The id as a number, if it is one.
    pub fn as_number(&self) -> Option<u64> {
        match self.0 {
            Id::Number(number) => Some(number),
            Id::Text(_) => None,
        }
    }

    /// The id in JSON. `form` is `None` if no API is known: a number is a number then.
    pub fn value(&self, form: Option<IdForm>) -> UserValue {
        match &self.0 {
            Id::Number(number) if form != Some(IdForm::Text) => UserValue::Number(*number),
            _ => UserValue::Text(self.to_string()),
        }
    }

    /// Memory that it takes beside itself, in bytes.
    pub fn size(&self) -> usize {
        match &self.0 {
            Id::Number(_) => 0,
            Id::Text(text) => text.len() + 2 * size_of::<usize>(),
        }
    }

    /// The id in `data.user`, if any API could take it.
    pub fn of_any(user: Option<&RawValue>) -> Option<Self> {
        [IdForm::Number, IdForm::Text]
            .into_iter()
            .find_map(|form| form.read(user).ok())
    }
}

impl fmt::Display for UserValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserValue::Number(number) => number.fmt(f),
            UserValue::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Number(number) => number.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

impl IdForm {
    /// The id in `data.user`.
    ///
    /// # Errors
    ///
    /// Says what `data.user` is instead.
    pub fn read(self, user: Option<&RawValue>) -> Result<UserId, InvalidChanges> {
        let found = match (user, self) {
            (None, _) => Err("missing"),
            (Some(user), IdForm::Number) => number(user),
            (Some(user), IdForm::Text) => text(user),
        };
        found.map_err(|what| InvalidChanges {
            message: format!("data.user: must be {}; it is {what}", self.wanted()),
        })
    }

    /// The id as people type it.
    ///
    /// # Errors
    /// Says what an id is.
    pub fn parse(self, text: &str) -> Result<UserId, String> {
        let found = match self {
            IdForm::Number => text.trim().parse().ok().and_then(UserId::number),
            IdForm::Text => UserId::text(text),
        };
        found.ok_or_else(|| match self {
            IdForm::Number => "a user is a whole number from 1 to 9223372036854775807".to_owned(),
            IdForm::Text => "a user is a text of 1 to 256 characters".to_owned(),
        })
    }

    fn wanted(self) -> &'static str {
        match self {
            IdForm::Number => "an integer from 1 to 9223372036854775807, or a string of its digits",
            IdForm::Text => "a string of 1 to 256 characters, or an integer of 64 bits",
        }
    }
}

fn number(user: &RawValue) -> Result<UserId, &'static str> {
    const OUT_OF_RANGE: &str = "out of that range";
    let number = match json::number(user) {
        Some(Number::Fraction) => return Err("a number with a fraction"),
        Some(Number::Integer(number)) => u64::try_from(number).ok(),
        Some(Number::Beyond) => None,
        None => match json::string(user) {
            None => return Err(json::kind(user)),
            Some(text) if text.is_empty() => return Err("an empty string"),
            // `parse` would take a plus sign too.
            Some(text) if !text.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err("a string with other characters in it");
            }
            Some(text) => text.parse().ok(),
        },
    };
    number.and_then(UserId::number).ok_or(OUT_OF_RANGE)
}

fn text(user: &RawValue) -> Result<UserId, &'static str> {
    let text = match json::number(user) {
        Some(Number::Fraction) => return Err("a number with a fraction"),
        Some(Number::Beyond) => return Err("a number beyond that: send it as a string"),
        Some(Number::Integer(number)) => number.to_string(),
        None => json::string(user).ok_or_else(|| json::kind(user))?,
    };
    UserId::text(&text).ok_or(match text.as_str() {
        "" => "an empty string",
        // Every client and proxy takes these away, however they are encoded, and what is left is
        // the path of another resource.
        "." | ".." => "a string that no URL's path can carry",
        _ => "a longer string",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(form: IdForm, user: &serde_json::Value) -> Result<UserId, InvalidChanges> {
        let user = RawValue::from_string(user.to_string()).unwrap();
        form.read(Some(&user))
    }

    #[test]
    fn an_id_of_text_is_any_short_string_or_an_integer() {
        let long = "ä".repeat(MAX_CHARS);
        for (user, wanted) in [
            (json!("2819c223-7f76"), "2819c223-7f76"),
            (json!("007"), "007"),
            (json!(" a/b?ü "), " a/b?ü "),
            (json!("..."), "..."),
            (json!(52), "52"),
            (json!(-5), "-5"),
            (json!(0), "0"),
            (json!(long), &long),
        ] {
            assert_eq!(read(IdForm::Text, &user).unwrap().to_string(), wanted);
        }
        for user in [
            json!(""),
            json!("."),
            json!(".."),
            json!(1.5),
            json!(u64::MAX),
            json!(null),
            json!(true),
            json!(["a"]),
            json!(format!("{long}x")),
        ] {
            let message = read(IdForm::Text, &user).unwrap_err().message;
            assert!(
                message.starts_with("data.user: must be a string of 1 to 256"),
                "{message}"
            );
        }
    }

    #[test]
    fn ids_are_one_exactly_if_their_texts_are() {
        let number = read(IdForm::Number, &json!("00052")).unwrap();
        assert_eq!(number, read(IdForm::Text, &json!(52)).unwrap());
        assert_eq!(Some(&number), UserId::text("52").as_ref());
        assert_ne!(Some(number), UserId::text("052"));
        for text in ["0", "00", "-1", "9223372036854775808", "+5", "٥"] {
            assert_eq!(UserId::text(text).unwrap().as_number(), None, "{text}");
        }
        assert_eq!(
            UserId::text("9223372036854775807").unwrap().as_number(),
            Some(i64::MAX as u64)
        );
    }

    #[test]
    fn an_id_is_written_as_its_api_has_it() {
        let written = |text: &str, form| {
            serde_json::to_value(UserId::text(text).unwrap().value(form)).unwrap()
        };
        assert_eq!(written("52", Some(IdForm::Number)), json!(52));
        assert_eq!(written("52", Some(IdForm::Text)), json!("52"));
        assert_eq!(written("52", None), json!(52));
        assert_eq!(written("a", None), json!("a"));
    }
}
