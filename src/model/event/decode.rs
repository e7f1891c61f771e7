//! Decoding: a record in either of CloudEvents' two Kafka modes becomes an event, or a message that
//! says why not.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::model::event::{Event, Identity, Undecodable, rfc3339};
use crate::model::json;
use crate::model::record::{Header, Record};
use crate::model::text;

/// Reads a record as an update event (CloudEvents 1.0, structured or binary mode).
///
/// # Errors
///
/// The first thing that is wrong, and as much of the event's identity as can be read in spite of
/// it.
pub fn decode(record: &Record) -> Result<Event, Undecodable> {
    match mode(record) {
        Ok(Mode::Structured) => structured(record),
        Ok(Mode::Binary) => binary(record, None),
        // The attributes may stand in headers all the same, and tell people which event it is.
        Err(message) => binary(record, Some(message)),
    }
}

/// Whether all of the event is in the record's value, as opposed to its data alone.
pub fn is_structured(record: &Record) -> bool {
    matches!(mode(record), Ok(Mode::Structured))
}

/// How a record carries its event.
enum Mode {
    /// All of it is in the value.
    Structured,
    /// The attributes are in headers, the data is the value.
    Binary,
}

/// The content type alone decides, as CloudEvents has it.
fn mode(record: &Record) -> Result<Mode, String> {
    let mut found = record
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("content-type"));
    let Some(header) = found.next() else {
        return Ok(Mode::Binary);
    };
    if found.next().is_some() {
        return Err("the header `content-type` is there twice".to_owned());
    }
    let content_type = header_text(header)?;
    let media_type = media_type(content_type);
    if media_type.eq_ignore_ascii_case("application/cloudevents+json") {
        return Ok(Mode::Structured);
    }
    let lower = media_type.to_ascii_lowercase();
    let message = if lower.starts_with("application/cloudevents-batch") {
        "announces a batch: send each event as a record of its own"
    } else if lower.starts_with("application/cloudevents") {
        "names a CloudEvents format other than `application/cloudevents+json`"
    } else if is_json(media_type) {
        return Ok(Mode::Binary);
    } else {
        "is neither `application/cloudevents+json` nor a JSON type such as `application/json`"
    };
    Err(format!("the header `content-type` {message}"))
}

/// The type itself, without its parameters.
fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// JSON by itself, as in `application/json`, or below something else, as in
/// `application/vnd.x+json`.
fn is_json(media_type: &str) -> bool {
    let subtype = media_type.split_once('/').map(|(_, subtype)| subtype);
    subtype
        .and_then(|subtype| subtype.rsplit('+').next())
        .is_some_and(|format| format.eq_ignore_ascii_case("json"))
}

fn header_text(header: &Header) -> Result<&str, String> {
    let name = &header.name;
    let value = header
        .value
        .as_deref()
        .ok_or_else(|| format!("the header `{name}` has no value"))?;
    std::str::from_utf8(value).map_err(|_| format!("the header `{name}` is not UTF-8"))
}

/// The members of an envelope that matter here.
const ENVELOPE: [&str; 8] = [
    "specversion",
    "id",
    "source",
    "type",
    "expirytime",
    "datacontenttype",
    "data",
    "data_base64",
];
/// The members of the data that matter.
const DATA: [&str; 3] = ["target", "user", "changes"];
/// The members that are read of the data.
struct Data {
    target: Option<String>,
    user: Option<Box<RawValue>>,
    changes: Option<Box<RawValue>>,
}

fn structured(record: &Record) -> Result<Event, Undecodable> {
    let read = json::object(record.value.as_deref().unwrap_or_default(), "", &ENVELOPE);
    let problem =
        no_value(record).or_else(|| read.problem.map(|problem| format!("the value {problem}")));
    let [
        version,
        id,
        source,
        event_type,
        expirytime,
        content_type,
        data,
        data_base64,
    ] = read.members;
    let mut attributes = [version, id, source, event_type, expirytime].into_iter();
    let envelope = Envelope::read(problem, "`", |name| {
        text_of(name, attributes.next().flatten())
    });
    envelope.into_event(|| structured_data(content_type, data, data_base64))
}

/// The text of a member, if there is one. Many serializers write null for what is left out.
fn text_of(name: &str, member: Option<&RawValue>) -> Result<Option<String>, String> {
    match member {
        None => Ok(None),
        Some(value) if value.get() == "null" => Ok(None),
        Some(value) => match json::string(value) {
            Some(text) => Ok(Some(text)),
            None => Err(format!(
                "`{name}` must be a string, and is {}",
                json::kind(value)
            )),
        },
    }
}

fn structured_data(
    content_type: Option<&RawValue>,
    data: Option<&RawValue>,
    data_base64: Option<&RawValue>,
) -> Result<Data, String> {
    let content_type = text_of("datacontenttype", content_type);
    if content_type.map_or(true, |text| {
        text.is_some_and(|text| !is_json(media_type(&text)))
    }) {
        return Err("`datacontenttype` is not a JSON type such as `application/json`".to_owned());
    }
    match (data, data_base64) {
        (Some(_), Some(_)) => {
            Err("`data` and `data_base64` are both there: send one of them".to_owned())
        }
        (None, None) => Err("`data` is missing".to_owned()),
        (Some(data), None) if data.get().starts_with('{') => Data::of(json::pick(data, &DATA)),
        (Some(other), None) => Err(format!(
            "`data` must be an object, and is {}",
            json::kind(other)
        )),
        (None, Some(encoded)) => match json::string(encoded) {
            Some(text) => {
                let bytes = BASE64_STANDARD
                    .decode(text)
                    .map_err(|_| "`data_base64` is not Base64 with padding")?;
                let read = json::object(&bytes, "data", &DATA);
                read.problem.map_or_else(
                    || Data::of(read.members),
                    |problem| Err(format!("`data_base64`, once decoded, {problem}")),
                )
            }
            None => Err(format!(
                "`data_base64` must be a string, and is {}",
                json::kind(encoded)
            )),
        },
    }
}

impl Data {
    fn of([target, user, changes]: [Option<&RawValue>; 3]) -> Result<Self, String> {
        let target = text_of("data.target", target)?;
        Ok(Data {
            target,
            user: user.map(RawValue::to_owned),
            changes: changes.map(RawValue::to_owned),
        })
    }
}

fn binary(record: &Record, problem: Option<String>) -> Result<Event, Undecodable> {
    let problem = problem
        .or_else(|| no_value(record))
        .or_else(|| headers_problem(record));
    let envelope = Envelope::read(problem, "the header `ce_", |name| {
        let found = record
            .headers
            .iter()
            .find(|header| header.name.strip_prefix("ce_") == Some(name));
        found
            .map(|header| header_text(header).map(str::to_owned))
            .transpose()
    });
    envelope.into_event(|| {
        let read = json::object(record.value.as_deref().unwrap_or_default(), "data", &DATA);
        read.problem.map_or_else(
            || Data::of(read.members),
            |problem| Err(format!("the value {problem}")),
        )
    })
}

fn no_value(record: &Record) -> Option<String> {
    record
        .value
        .is_none()
        .then(|| "the record has no value".to_owned())
}

/// The fault of the `ce_` headers as a whole, if any.
fn headers_problem(record: &Record) -> Option<String> {
    let names = record.headers.iter().map(|header| &*header.name);
    let mut names: Vec<&str> = names.filter(|name| name.starts_with("ce_")).collect();
    if names.is_empty() {
        let neither =
            "neither a `content-type` of `application/cloudevents+json` nor `ce_` headers";
        return Some(format!("the record is no CloudEvent: it has {neither}"));
    }
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1])?;
    Some(format!(
        "the header `{}` is there twice",
        text::name(twice[0], 64)
    ))
}

/// The attributes that matter here, and the first thing found wrong.
struct Envelope {
    identity: Identity,
    expires_at: Option<Timestamp>,
    problem: Option<String>,
}

impl Envelope {
    /// Reads on after a problem, for the sake of the identity. `attribute` is asked for
    /// [`ENVELOPE`]'s attributes in that order; with `place` begins the name of one in a message.
    fn read(
        mut problem: Option<String>,
        place: &str,
        mut attribute: impl FnMut(&str) -> Result<Option<String>, String>,
    ) -> Self {
        let mut required = |name: &str| {
            let wrong = match attribute(name) {
                Ok(Some(text)) if !text.is_empty() => return Some(text),
                Ok(Some(_)) => format!("{place}{name}` is empty"),
                Ok(None) => format!("{place}{name}` is missing"),
                Err(message) => message,
            };
            problem.get_or_insert(wrong);
            None
        };
        let version = required("specversion");
        let identity = Identity {
            id: required("id"),
            source: required("source"),
            event_type: required("type"),
        };
        if version.is_some_and(|version| version != "1.0") {
            problem.get_or_insert_with(|| format!("{place}specversion` must be `1.0`"));
        }
        let expires_at = match attribute("expirytime") {
            Ok(None) => None,
            Ok(Some(text)) => {
                let time = rfc3339::parse(&text);
                if time.is_none() {
                    let wanted = "must be a time of RFC 3339, such as `2026-11-22T09:00:00Z`";
                    problem.get_or_insert_with(|| format!("{place}expirytime` {wanted}"));
                }
                time
            }
            Err(message) => {
                problem.get_or_insert(message);
                None
            }
        };
        Envelope {
            identity,
            expires_at,
            problem,
        }
    }

    fn into_event(self, data: impl FnOnce() -> Result<Data, String>) -> Result<Event, Undecodable> {
        let Envelope {
            identity,
            expires_at,
            problem,
        } = self;
        match problem.map_or_else(data, Err) {
            Ok(Data {
                target,
                user,
                changes,
            }) => Ok(Event {
                identity,
                expires_at,
                target,
                user,
                changes,
            }),
            Err(message) => Err(Undecodable { identity, message }),
        }
    }
}
