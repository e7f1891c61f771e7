//! JSON objects read strictly: a member given twice is a mistake, and no message quotes a value.
//!
//! Parsers differ in which of two equal members they keep, so an event with one means different
//! things to different readers. The messages are our own because serde's quote what they found, and
//! a value may be a password.
//!
//! Values are kept as their text. Parsed, a list of numbers would take 36 times as much memory.

mod number;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use memchr::{memchr, memchr3};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::text;

pub use number::{Number, number, number_in};

/// The longest path in a message, in bytes.
const PATH_LIMIT: usize = 200;

/// The part of an object that was read, up to the first fault.
pub struct Object<'a, const N: usize> {
    /// The wanted members; the first one if a name occurs twice.
    pub members: [Option<&'a RawValue>; N],
    /// The fault, as the rest of a sentence whose subject is the text read: bounded, with the
    /// place, without values.
    pub problem: Option<String>,
}

/// Reads a JSON object for the members `wanted`. The others are checked alike, and dropped. Paths
/// in the message begin with `root`, which is empty for an object without a name.
pub fn object<'a, const N: usize>(
    bytes: &'a [u8],
    root: &str,
    wanted: &[&str; N],
) -> Object<'a, N> {
    let mut object = Object {
        members: [None; N],
        problem: not_an_object(bytes),
    };
    if object.problem.is_some() {
        return object;
    }
    // Checked once as a whole rather than string by string; the text before the first bad byte is
    // read all the same.
    let (text, not_utf8) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let end = error.valid_up_to();
            let text = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
            (text, Some(format!("is not UTF-8 from byte {} on", end + 1)))
        }
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let path = Path {
        parent: None,
        step: PathStep::Name(root),
    };
    let read = reader
        .deserialize_map(Root {
            text,
            object: &mut object,
            wanted,
            path,
        })
        .and_then(|()| reader.end());
    if let Some(message) = not_utf8.or_else(|| {
        read.err()
            .map(|error| broken(&error, error.line(), error.column()))
    }) {
        object.problem.get_or_insert(message);
    }
    object
}

/// The wanted members of an object that was read strictly before.
pub fn pick<'a, const N: usize>(
    object: &'a RawValue,
    wanted: &[&str; N],
) -> [Option<&'a RawValue>; N] {
    let mut found = [None; N];
    each_member(object.get(), |name, value| {
        if let Some(index) = wanted.iter().position(|wanted| *wanted == name) {
            found[index] = Some(value);
        }
    });
    found
}

/// The members of the object in the text, each with the very text of its value; none of anything
/// else.
pub fn members(object: &str) -> Vec<(Cow<'_, str>, &RawValue)> {
    let mut members = Vec::new();
    each_member(object, |name, value| members.push((name, value)));
    members
}

/// The items of the array in the text, each with its very text; none of anything else.
pub fn items(array: &str) -> Vec<&RawValue> {
    serde_json::from_str(array).unwrap_or_default()
}

/// Hands over the members of the object in the text.
fn each_member<'a>(object: &'a str, take: impl FnMut(Cow<'a, str>, &'a RawValue)) {
    // Anything but an object has none.
    let _ = serde_json::Deserializer::from_str(object).deserialize_map(Members(take));
}

/// The text of a string; `None` of anything else.
pub fn string(value: &RawValue) -> Option<String> {
    let inside = value.get().strip_prefix('"')?.strip_suffix('"')?;
    match memchr(b'\\', inside.as_bytes()).is_some() {
        true => serde_json::from_str(value.get()).ok(),
        false => Some(inside.to_owned()),
    }
}

/// The kind of a value, with its article.
pub fn kind(value: &RawValue) -> &'static str {
    kind_by(value.get().as_bytes().first()).unwrap_or("an object")
}

/// The kind that the first byte of a value tells; `None` for an object and for no value at all.
pub fn kind_by(first: Option<&u8>) -> Option<&'static str> {
    match first? {
        b'[' => Some("an array"),
        b'"' => Some("a string"),
        b't' | b'f' => Some("a boolean"),
        b'n' => Some("null"),
        b'-' | b'0'..=b'9' => Some("a number"),
        _ => None,
    }
}

/// The problem that the first bytes alone show.
fn not_an_object(bytes: &[u8]) -> Option<String> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        return Some("begins with a byte order mark: send the JSON without it".to_owned());
    }
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Some("is empty".to_owned()),
        first => kind_by(first).map(|kind| format!("is {kind}, not an object")),
    }
}

/// Some editors and servers write this before a text in UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Checks the inside of a value. `text` contains the value: the place of a mistake is given
/// relative to it.
fn check(text: &str, value: &RawValue, path: Path<'_>, problem: &mut Option<String>) {
    let part = value.get();
    let inside = part.as_bytes().get(1..).unwrap_or_default();
    // The syntax is known to be right: nothing is left to be found in a plain value or a list of
    // them.
    if !part.starts_with('{') && memchr3(b'{', b'[', b'\\', inside).is_none() {
        return;
    }
    let mut read = |part: &str| {
        serde_json::Deserializer::from_str(part).deserialize_any(Strict { path, problem })
    };
    let mut found = read(part);
    if found
        .as_ref()
        .is_err_and(|error| error.to_string().starts_with(OUT_OF_RANGE))
    {
        found = read(&tamed(part));
    }
    if let Err(error) = found {
        let before = part
            .split_inclusive('\n')
            .take(error.line() - 1)
            .map(str::len)
            .sum::<usize>()
            + error.column();
        let at = part.as_ptr() as usize - text.as_ptr() as usize + before;
        let above = text.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let column = at - text[..at].rfind('\n').map_or(0, |end| end + 1);
        problem.get_or_insert_with(|| broken(&error, above + 1, column));
    }
}

/// How serde_json's error for a number that no `f64` can hold begins.
const OUT_OF_RANGE: &str = "number out of range";

/// The text with such numbers replaced by others: a number of a thousand digits is correct JSON,
/// and a wrong value of its field rather than the end of the whole event. Lengths stay, and with
/// them the places in messages.
fn tamed(text: &str) -> String {
    let mut tamed = text.as_bytes().to_vec();
    let (mut at, mut in_string) = (0, false);
    while at < tamed.len() {
        let length = tamed[at..]
            .iter()
            .take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .count();
        match tamed[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let number = &mut tamed[at..at + length];
                if std::str::from_utf8(number)
                    .is_ok_and(|number| number.parse().is_ok_and(f64::is_infinite))
                {
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

fn broken(error: &serde_json::Error, line: usize, byte: usize) -> String {
    match error.classify() {
        serde_json::error::Category::Eof => {
            format!("is cut off: it ends inside the JSON, at line {line}, byte {byte}")
        }
        serde_json::error::Category::Syntax => {
            let text = error.to_string();
            let reason = text.split(" at line ").next().unwrap_or_default();
            format!("is not readable JSON: {reason} at line {line}, byte {byte}")
        }
        // Refused by a visitor: none of ours refuses anything, and the text of such an error may
        // quote a value.
        _ => format!("is not the JSON expected at line {line}, byte {byte}"),
    }
}

#[derive(Clone, Copy)]
enum PathStep<'a> {
    Name(&'a str),
    Index(usize),
}

/// The reader's position: a chain on the stack, so that it costs nothing unless a message needs it.
#[derive(Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: PathStep<'a>,
}

impl Path<'_> {
    /// Whether this is a secret, or lies inside one: a name in there may be the secret itself.
    fn is_secret(&self) -> bool {
        matches!(self.step, PathStep::Name(name) if text::is_secret(name))
            || self.parent.is_some_and(Path::is_secret)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            if parent.is_secret() {
                return Ok(());
            }
        }
        let nameless_parent = self
            .parent
            .is_none_or(|parent| matches!(parent.step, PathStep::Name("")));
        match self.step {
            PathStep::Index(index) => write!(f, "[{index}]"),
            PathStep::Name(name) => {
                let dot = if nameless_parent { "" } else { "." };
                write!(f, "{dot}{}", text::name(name, 64))
            }
        }
    }
}

/// Reads the outermost object into its place, so that what stood before a mistake is not lost with
/// it.
struct Root<'a, 'o, const N: usize> {
    text: &'a str,
    object: &'o mut Object<'a, N>,
    wanted: &'o [&'o str; N],
    path: Path<'o>,
}

impl<'a, const N: usize> Visitor<'a> for Root<'a, '_, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let Object { members, problem } = self.object;
        let mut others = BTreeSet::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let here = Path {
                parent: Some(&self.path),
                step: PathStep::Name(&name),
            };
            let value = map.next_value()?;
            check(self.text, value, here, problem);
            let place = self
                .wanted
                .iter()
                .position(|wanted| *wanted == name)
                .map(|index| &mut members[index]);
            match place {
                Some(place @ None) => *place = Some(value),
                None if !others.contains(&name) => drop(others.insert(name)),
                _ => twice(here, problem),
            }
        }
        Ok(())
    }
}

/// A member's name, which is copied only if it is written with escapes.
struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Cow<'a, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

struct Members<F>(F);

impl<'a, F: FnMut(Cow<'a, str>, &'a RawValue)> Visitor<'a> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            self.0(name, map.next_value()?);
        }
        Ok(())
    }
}

fn twice(path: Path<'_>, problem: &mut Option<String>) {
    problem
        .get_or_insert_with(|| format!("has `{}` twice", text::cut(&path.to_string(), PATH_LIMIT)));
}

/// Reads any value below the outermost object, and keeps nothing of it.
struct Strict<'a> {
    path: Path<'a>,
    problem: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let path = Path {
                parent: Some(&self.path),
                step: PathStep::Index(index),
            };
            if seq
                .next_element_seed(Strict {
                    path,
                    problem: self.problem,
                })?
                .is_none()
            {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key_seed(Name)? {
            let here = Path {
                parent: Some(&self.path),
                step: PathStep::Name(&name),
            };
            map.next_value_seed(Strict {
                path: here,
                problem: self.problem,
            })?;
            if names.contains(&name) {
                twice(here, self.problem);
            } else {
                names.insert(name);
            }
        }
        Ok(())
    }
}
