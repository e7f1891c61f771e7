//! JSON objects read strictly: a member given twice is a mistake, and no message quotes a value.
//!
//! Parsers differ in which of two equal members they keep, so an event with one means different things to different readers.
//! The messages are our own because serde's quote what they found, and a value may be a password.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

use crate::text;

/// The longest path in a message, in bytes.
const PATH_LIMIT: usize = 200;

/// What was read of an object, up to the first thing that cannot be read.
pub struct Object<const N: usize> {
    /// The wanted members; of one that stands there twice, the first.
    pub members: [Option<Value>; N],
    /// What is wrong, as the rest of a sentence whose subject is the text read: bounded, with the place, without values.
    pub problem: Option<String>,
}

/// Reads a JSON object for the members `wanted`. The others are checked alike, and dropped: to build a map of everything takes
/// half of the time. Paths in the message begin with `root`, which is empty for an object without a name.
pub fn object<const N: usize>(bytes: &[u8], root: &str, wanted: &[&str; N]) -> Object<N> {
    let mut object = Object { members: [const { None }; N], problem: not_an_object(bytes) };
    if object.problem.is_some() {
        return object;
    }
    // Checked once as a whole rather than string by string; what stands before the first bad byte is read all the same.
    let (text, not_utf8) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let end = error.valid_up_to();
            let text = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
            (text, Some(format!("is not UTF-8 from byte {} on", end + 1)))
        }
    };
    let mut read = read(text, root, wanted, &mut object);
    if read.as_ref().is_err_and(|error| error.to_string().starts_with(OUT_OF_RANGE)) {
        object = Object { members: [const { None }; N], problem: None };
        read = self::read(&tamed(text), root, wanted, &mut object);
    }
    if let Some(message) = not_utf8.or_else(|| read.err().map(|error| broken(&error))) {
        object.problem.get_or_insert(message);
    }
    object
}

fn read<const N: usize>(text: &str, root: &str, wanted: &[&str; N], object: &mut Object<N>) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let path = Path { parent: None, step: Step::Name(root) };
    reader.deserialize_map(Root { object, wanted, path }).and_then(|()| reader.end())
}

/// How serde_json's error for a number that no `f64` can hold begins.
const OUT_OF_RANGE: &str = "number out of range";

/// The text with such numbers replaced by one that is just too large for everything: a number of a thousand digits is correct JSON, and a wrong
/// value of its field rather than the end of the whole event. Lengths stay, and with them the places in messages.
fn tamed(text: &str) -> String {
    let mut tamed = text.as_bytes().to_vec();
    let (mut at, mut in_string) = (0, false);
    while at < tamed.len() {
        let length = tamed[at..].iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')).count();
        match tamed[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let number = &mut tamed[at..at + length];
                if std::str::from_utf8(number).is_ok_and(|number| number.parse().is_ok_and(f64::is_infinite)) {
                    number.fill(b' ');
                    number[..5].copy_from_slice(b"1e300");
                }
                at += length - 1;
            }
            _ => {}
        }
        at += 1;
    }
    // Only whole ASCII numbers were replaced by ASCII.
    String::from_utf8(tamed).unwrap_or_default()
}

/// What the first byte alone says.
fn not_an_object(bytes: &[u8]) -> Option<String> {
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        return Some("begins with a byte order mark: send the JSON without it".to_owned());
    }
    let kind = match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => return Some("is empty".to_owned()),
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "a number",
        Some(_) => return None,
    };
    Some(format!("is {kind}, not an object"))
}

/// The kind of a value, with its article.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction, an exponent or too many digits",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn broken(error: &serde_json::Error) -> String {
    let (line, byte) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Eof => {
            format!("is cut off: it ends inside the JSON, at line {line}, byte {byte}")
        }
        serde_json::error::Category::Syntax => {
            let text = error.to_string();
            let reason = text.split(" at line ").next().unwrap_or_default();
            format!("is not readable JSON: {reason} at line {line}, byte {byte}")
        }
        // Refused by a visitor: none of ours refuses anything, and the text of such an error may quote a value.
        _ => format!("is not the JSON expected at line {line}, byte {byte}"),
    }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

/// Where the reader is: a chain on the stack, so that it costs nothing unless a message needs it.
#[derive(Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        let nameless_parent = self.parent.is_none_or(|parent| matches!(parent.step, Step::Name("")));
        match self.step {
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Name(name) => {
                let dot = if nameless_parent { "" } else { "." };
                write!(f, "{dot}{}", text::name(name, 64))
            }
        }
    }
}

/// Reads the outermost object into its place, so that what stood before a mistake is not lost with it.
struct Root<'a, const N: usize> {
    object: &'a mut Object<N>,
    wanted: &'a [&'a str; N],
    path: Path<'a>,
}

impl<'de, const N: usize> Visitor<'de> for Root<'_, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Object { members, problem } = self.object;
        let mut others = BTreeSet::new();
        while let Some(name) = map.next_key_seed(Wanted(self.wanted))? {
            let text = match &name {
                Name::Wanted(index) => self.wanted[*index],
                Name::Other(text) => text,
            };
            let here = Path { parent: Some(&self.path), step: Step::Name(text) };
            let value = map.next_value_seed(Strict { path: here, problem })?;
            let known = match &name {
                Name::Wanted(index) => members[*index].is_some(),
                Name::Other(text) => others.contains(text),
            };
            if known {
                twice(here, problem);
                continue;
            }
            match name {
                Name::Wanted(index) => members[index] = Some(value),
                Name::Other(text) => {
                    others.insert(text);
                }
            }
        }
        Ok(())
    }
}

/// A member's name: its index among the wanted ones, or its text.
enum Name {
    Wanted(usize),
    Other(String),
}

struct Wanted<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Wanted<'_> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
        let index = self.0.iter().position(|wanted| *wanted == text);
        Ok(index.map_or_else(|| Name::Other(text.to_owned()), Name::Wanted))
    }
}

fn twice(path: Path<'_>, problem: &mut Option<String>) {
    problem.get_or_insert_with(|| format!("has `{}` twice", text::cut(&path.to_string(), PATH_LIMIT)));
}

/// Reads any value below the outermost object.
struct Strict<'a> {
    path: Path<'a>,
    problem: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let path = Path { parent: Some(&self.path), step: Step::Index(items.len()) };
            match seq.next_element_seed(Strict { path, problem: self.problem })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let here = Path { parent: Some(&self.path), step: Step::Name(&name) };
            let value = map.next_value_seed(Strict { path: here, problem: self.problem })?;
            match members.entry(name) {
                Entry::Vacant(free) => {
                    free.insert(value);
                }
                Entry::Occupied(taken) => {
                    twice(Path { parent: Some(&self.path), step: Step::Name(taken.key()) }, self.problem);
                }
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_nothing_can_hold_spoils_its_own_field_only() {
        let digits = "9".repeat(1000);
        let text = format!(r#"{{"a":"\\\"1e999","user":{digits},"b":[-1e400000,7],"c":18446744073709551616}}"#);
        let read = object(text.as_bytes(), "", &["a", "user", "b", "c"]);
        assert_eq!(read.problem, None);
        let [a, user, b, c] = read.members.map(Option::unwrap);
        assert_eq!(a, "\\\"1e999");
        assert!(user.is_f64() && c.is_f64() && b[0].is_f64(), "{user} {b} {c}");
        assert_eq!(b[1], 7);
        let cut = object(format!(r#"{{"user":{digits},"#).as_bytes(), "", &["user"]);
        assert!(cut.problem.unwrap().contains("byte 1009"));
    }
}
