//! Mending: exported dead letters read back after somebody has corrected them by hand, and checked
//! as the service would check them.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::kafka::reader::Spot;
use crate::model::event;
use crate::model::json;
use crate::model::record::{Header, Place, Record};
use crate::model::text;
use crate::operator::choice::Mended;
use crate::operator::desk::Desk;
use crate::operator::mask::{MASK, unmask};
use crate::operator::{Letter, ReadFailure, Watch, export};
use engine::verdict::Reason;

/// A line that cannot be taken. Quotes no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineMistake {
    /// The line's number, from 1.
    pub line: usize,
    /// The fault.
    pub words: String,
}

/// The content of a file of lines.
pub struct File {
    /// The dead letters.
    pub letters: Vec<Letter>,
    /// The record to send for each.
    pub mended: Mended,
    /// The faults. If there are any, nothing is to be sent.
    pub mistakes: Vec<LineMistake>,
}

/// One line, read and not yet compared with its dead letter.
struct Line {
    number: usize,
    place: Place,
    content: Content,
}

enum Content {
    Event(Map<String, Value>),
    /// `None`: the record's own value, unchanged.
    Value(Option<Vec<u8>>),
}

/// Reads the lines and fetches their letters.
///
/// # Errors
/// If the broker does not answer. Faulty lines are reported in the result.
pub fn read(desk: &Desk, text: &[u8], watch: &mut dyn Watch) -> Result<File, ReadFailure> {
    let (lines, mistakes) = lines(text, &desk.letters.name);
    let mut file = File {
        letters: Vec::new(),
        mended: Mended::new(),
        mistakes,
    };
    let found = letters(desk, &lines, &mut file.mistakes)?;
    let since = found
        .iter()
        .map(|(_, letter)| letter.facts.failed_at)
        .min()
        .unwrap_or_else(Timestamp::now);
    let settled = desk.settled(since, watch)?;
    for (line, letter) in found {
        let checked = if settled.contains(spot(&line.place)) {
            Err(format!(
                "{} is not open: it was replayed or superseded already",
                line.place
            ))
        } else {
            let origin = if letter.is_shortened() {
                original(desk, &letter)?
            } else {
                None
            };
            mended(
                desk,
                &letter,
                origin.as_ref().unwrap_or(&letter.record),
                &line.content,
            )
        };
        match checked {
            Ok(record) => {
                file.mended.insert(spot(&line.place), record);
                file.letters.push(letter);
            }
            Err(words) => file.mistakes.push(LineMistake {
                line: line.number,
                words,
            }),
        }
    }
    file.mistakes.sort_by_key(|mistake| mistake.line);
    Ok(file)
}

/// The lines that say something, each of another place.
fn lines(text: &[u8], letters: &str) -> (Vec<Line>, Vec<LineMistake>) {
    let (mut lines, mut mistakes) = (Vec::new(), Vec::new());
    let mut seen: HashMap<Place, usize> = HashMap::new();
    for (index, bytes) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match line(number, bytes, letters) {
            Ok(line) => match seen.insert(line.place.clone(), number) {
                Some(before) => mistakes.push(LineMistake {
                    line: number,
                    words: format!("{} stands on line {before} already", line.place),
                }),
                None => lines.push(line),
            },
            Err(words) => mistakes.push(LineMistake {
                line: number,
                words,
            }),
        }
    }
    (lines, mistakes)
}

/// The letters at the places of the lines.
fn letters<'a>(
    desk: &Desk,
    lines: &'a [Line],
    mistakes: &mut Vec<LineMistake>,
) -> Result<Vec<(&'a Line, Letter)>, ReadFailure> {
    let mut found = Vec::new();
    for some in lines.chunks(100) {
        let mut records = desk
            .letters
            .fetch(some.iter().map(|line| spot(&line.place)))?;
        for line in some {
            match records.remove(&spot(&line.place)).and_then(Letter::read) {
                Some(letter) => found.push((line, letter)),
                None => mistakes.push(LineMistake {
                    line: line.number,
                    words: format!("there is no dead letter at {}", line.place),
                }),
            }
        }
    }
    Ok(found)
}

/// The record of a letter that its topic did not take whole, if it still is on the update topic.
///
/// # Errors
/// If the broker does not answer.
pub fn original(desk: &Desk, letter: &Letter) -> Result<Option<Record>, ReadFailure> {
    let origin = &letter.facts.origin;
    if origin.topic != desk.updates.name || desk.is_from_before(letter) {
        return Ok(None);
    }
    Ok(desk.updates.fetch([spot(origin)])?.remove(&spot(origin)))
}

fn spot(place: &Place) -> Spot {
    (place.partition, place.offset)
}

fn line(number: usize, bytes: &[u8], letters: &str) -> Result<Line, String> {
    let read = json::object(bytes, "", &["dead_letter", "event", "value_base64"]);
    if let Some(problem) = read.problem {
        return Err(format!("the line {problem}"));
    }
    let [place, event, value] = read.members;
    let place: Place = match place.map(json::string) {
        Some(Some(text)) => text
            .parse()
            .map_err(|error: crate::model::record::NotAPlace| format!("dead_letter: {error}"))?,
        _ => {
            return Err(
                "dead_letter: must be the place of a dead letter, as it was exported".to_owned(),
            );
        }
    };
    if *place.topic != *letters {
        return Err(format!(
            "dead_letter: {} is not on the dead-letter topic of this configuration",
            text::name(&place.to_string(), 200)
        ));
    }
    let content = match (event, value) {
        (Some(event), None) if event.get().starts_with('{') => Content::Event(
            serde_json::from_str(event.get())
                .map_err(|_| "event: has a number that is too large")?,
        ),
        (Some(other), None) => {
            return Err(format!(
                "event: must be an object, and is {}",
                json::kind(other)
            ));
        }
        (None, Some(value)) => match json::string(value).ok_or("value_base64: must be a string")? {
            text if text == MASK => Content::Value(None),
            text => Content::Value(Some(
                BASE64_STANDARD
                    .decode(text)
                    .map_err(|_| "value_base64: is not Base64 with padding")?,
            )),
        },
        _ => {
            return Err(
                "put the mended event under `event` (and leave `value_base64` out)".to_owned(),
            );
        }
    };
    Ok(Line {
        number,
        place,
        content,
    })
}

/// The record to be sent, if the service would call for it.
fn mended(
    desk: &Desk,
    letter: &Letter,
    base: &Record,
    content: &Content,
) -> Result<Record, String> {
    let record = match content {
        Content::Value(None) => base.clone(),
        Content::Value(Some(value)) => Record {
            value: Some(value.clone()),
            ..base.clone()
        },
        Content::Event(event) => {
            let original = export::event(base);
            let mut event = Value::Object(event.clone());
            let nothing = Value::Null;
            let original = original.map(Value::Object);
            let api = desk.judge.api(&letter.facts.target);
            let original_or_null = original.as_ref().unwrap_or(&nothing);
            unmask(api, &mut event, original_or_null).map_err(|name| {
                format!(
                    "{}: is masked here, and the dead letter has no such value: write one",
                    text::name(&name, 64)
                )
            })?;
            match (event, original) {
                (event, Some(original)) if event == original => base.clone(),
                (Value::Object(event), _) => in_mode_of(base, event)?,
                _ => base.clone(),
            }
        }
    };
    let reading = desk.judge.read(&record);
    if let Some((reason, words)) = reading.problem {
        let hint = if reason == Reason::Expired {
            "give it another expirytime, or take it out"
        } else {
            "mend it, or take the line out"
        };
        return Err(format!("{} ({words}): {hint}", reason.as_str()));
    }
    let user = reading.lane.map(|lane| lane.user);
    if letter.facts.user.is_some()
        && letter.facts.user != user
        && letter.facts.reason != Reason::Unroutable
    {
        return Err(
            "the user is another one: its updates have another key, so send that as a new event"
                .to_owned(),
        );
    }
    Ok(record)
}

/// The event as a record in the mode in which it came.
fn in_mode_of(base: &Record, mut event: Map<String, Value>) -> Result<Record, String> {
    let is_attribute = |header: &&Header| header.name.starts_with("ce_");
    let is_type = |header: &&Header| header.name.eq_ignore_ascii_case("content-type");
    let binary =
        !event::is_structured(base) && base.headers.iter().any(|header| is_attribute(&header));
    let mut headers: Vec<Header> = base
        .headers
        .iter()
        .filter(|header| !is_attribute(header) || !binary)
        .cloned()
        .collect();
    let value = if binary {
        let data = event.shift_remove("data").ok_or("event.data: is missing")?;
        let mut names = HashSet::new();
        for (name, value) in &event {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => {
                    return Err(format!(
                        "event.{}: must be a text, a number or a boolean",
                        text::name(name, 64)
                    ));
                }
            };
            if name != "datacontenttype" && names.insert(name) {
                headers.push(Header::text(format!("ce_{name}"), text));
            }
        }
        data.to_string()
    } else {
        Value::Object(event).to_string()
    };
    let wanted = if binary {
        "application/json"
    } else {
        "application/cloudevents+json"
    };
    let with_type = Record {
        value: Some(value.into_bytes()),
        headers,
        ..base.clone()
    };
    // A content type that was the mistake itself is replaced.
    let fits = if binary {
        event::decode(&with_type).is_ok()
    } else {
        event::is_structured(&with_type)
    };
    if fits {
        return Ok(with_type);
    }
    let mut headers: Vec<Header> = with_type
        .headers
        .iter()
        .filter(|header| !is_type(header))
        .cloned()
        .collect();
    headers.push(Header::text("content-type", wanted));
    Ok(Record {
        headers,
        ..with_type
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_wrong_with_it_and_quotes_no_value() {
        let wrong = |text: &str| line(1, text.as_bytes(), "letters").err().unwrap();
        for (text, words) in [
            ("{", "is cut off"),
            ("[]", "is an array"),
            (r#"{"dead_letter":"x"}"#, "is not a place"),
            (
                r#"{"dead_letter":"other/0/1","event":{}}"#,
                "not on the dead-letter topic",
            ),
            (r#"{"dead_letter":"letters/0/1"}"#, "under `event`"),
            (
                r#"{"dead_letter":"letters/0/1","event":"hunter22"}"#,
                "must be an object, and is a string",
            ),
            (
                r#"{"dead_letter":"letters/0/1","event":{"password":"hunter22","password":"hunter22"}}"#,
                "twice",
            ),
            (
                r#"{"dead_letter":"letters/0/1","value_base64":"hunter22!"}"#,
                "not Base64",
            ),
        ] {
            let said = wrong(text);
            assert!(said.contains(words) && !said.contains("hunter22"), "{said}");
        }
    }
}
