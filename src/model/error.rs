//! The error of an API, or of the connection to it, bounded to what an outcome may hold.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Maximum size of an error in an outcome, as JSON, in bytes.
const MAX_BYTES: usize = 2 * 1024;

/// Why an attempt failed, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiError {
    /// In words.
    pub message: String,
    /// The API's validation messages by field.
    pub fields: BTreeMap<String, Vec<String>>,
}

impl ApiError {
    /// An error in our own words.
    pub fn new(message: impl Into<String>) -> Self {
        ApiError {
            message: message.into(),
            fields: BTreeMap::new(),
        }
    }

    /// The error, cut so that it takes 2 KiB as JSON: first the texts, then the last of the fields
    /// go.
    pub fn cut(self) -> Self {
        if json_length(&self) <= MAX_BYTES {
            return self;
        }
        let rest = json_length(&ApiError::default());
        let room = if self.fields.is_empty() {
            MAX_BYTES - rest
        } else {
            MAX_BYTES / 4
        };
        let mut short = ApiError::new(cut_text(&self.message, room));
        for (name, texts) in &self.fields {
            // Long enough for a member of a schema that SCIM names by its URN.
            let name = cut_text(name, 128);
            for text in texts {
                short
                    .fields
                    .entry(name.clone())
                    .or_default()
                    .push(cut_text(text, MAX_BYTES / 8));
                if json_length(&short) > MAX_BYTES {
                    let texts = short.fields.entry(name.clone()).or_default();
                    texts.pop();
                    if texts.is_empty() {
                        short.fields.remove(&name);
                    }
                    return short;
                }
            }
        }
        short
    }
}

fn json_length(error: &ApiError) -> usize {
    serde_json::to_vec(error).map_or(usize::MAX, |json| json.len())
}

/// The text, cut so that its JSON form without the quotes takes `max` bytes at most; `…` marks the
/// cut.
fn cut_text(text: &str, max: usize) -> String {
    const MARK: &str = "…";
    let width = |character| match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..' ' => 6,
        other => other.len_utf8(),
    };
    let (mut length, mut end) = (0, 0);
    for (at, character) in text.char_indices() {
        length += width(character);
        if length > max {
            return format!("{}{MARK}", &text[..end]);
        }
        if length + MARK.len() <= max {
            end = at + character.len_utf8();
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(count: usize, words: &str) -> BTreeMap<String, Vec<String>> {
        (0..count)
            .map(|number| (format!("rooms.{number:04}"), vec![words.to_owned(); 2]))
            .collect()
    }

    #[test]
    fn what_fits_stays() {
        for fields in [fields(0, ""), fields(1, "\""), fields(3, "must be a room")] {
            let mut error = ApiError {
                message: String::new(),
                fields,
            };
            error.message = "x".repeat(MAX_BYTES - json_length(&error));
            assert_eq!(error.clone().cut(), error);
            error.message.push('x');
            let cut = error.clone().cut();
            assert!(json_length(&cut) <= MAX_BYTES);
            assert!(cut.message.ends_with('…'));
            assert_eq!(cut.fields, error.fields);
        }
    }

    #[test]
    fn a_message_alone_uses_all_the_room() {
        for text in ["x", "\"", "\u{1}", "é", "🦀", "\n", "\u{7f}"] {
            let length = json_length(&ApiError::new(text.repeat(5_000)).cut());
            assert!(
                (MAX_BYTES - 8..=MAX_BYTES).contains(&length),
                "{text:?}: {length}"
            );
        }
    }

    #[test]
    fn an_error_is_cut_to_2_kib_of_json_without_breaking_a_character() {
        for text in [
            "x", "\"", "\\", "é", "🦀", "\u{0}\n", "\u{1}", "x🦀\"", "ä\"",
        ] {
            let long = text.repeat(2_500);
            let fields = (0..20)
                .map(|number| (format!("{number}{long}"), vec![long.clone(); 3]))
                .collect();
            let cut = ApiError {
                message: long.clone(),
                fields,
            }
            .cut();
            let length = json_length(&cut);
            assert!(
                (MAX_BYTES / 2..=MAX_BYTES).contains(&length),
                "{text:?}: {length}"
            );
            assert!(cut.message.len() > 80 && !cut.fields.is_empty());
            assert!(long.starts_with(cut.message.trim_end_matches('…')));
        }
    }

    #[test]
    fn the_last_fields_go_first() {
        for (message, words) in [
            ("x".repeat(5_000), "y".to_owned()),
            ("short".to_owned(), "\u{1}".repeat(40)),
        ] {
            let all = fields(1_000, &words);
            let cut = ApiError {
                message,
                fields: all.clone(),
            }
            .cut();
            assert!(cut.fields.len() > 2);
            assert!(cut.fields.keys().eq(all.keys().take(cut.fields.len())));
            assert!(cut.fields.values().flatten().all(|text| *text == words));
        }
    }
}
