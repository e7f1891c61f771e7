//! Sending: one update, put on the update topic under its user's key, and watched until it has
//! ended.

mod follow;
mod queued;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use jiff::Timestamp;

use crate::kafka::single;
use crate::model::json;
use crate::model::outcome::{OutcomeData, RecordPlace, timestamp};
use crate::model::record::Place;
use crate::model::user::UserValue;
use crate::operator::judge::TargetUser;
use crate::operator::preview::{Fate, Preview, Previewer, structured};
use crate::operator::{Desk, ReadFailure};

pub use follow::{OutcomeWatch, WaitFor};

/// The `source` of an event that names none.
pub const SOURCE: &str = "/user-courier/send";
/// The `type` of an event that was made of a target, a user and fields.
pub const TYPE: &str = "user-courier.send";

/// An event that is ready to be sent, and what would become of it.
pub struct NewUpdate {
    /// The call, or the dead letter that it would be.
    pub preview: Preview,
    /// The record's key.
    pub key: Option<String>,
    text: Vec<u8>,
}

impl NewUpdate {
    /// Whose update it is, if it would be called for.
    pub fn lane(&self) -> Option<TargetUser> {
        match &self.preview.fate {
            Fate::Call(sent) => Some(TargetUser {
                target: self.preview.target.clone()?,
                user: sent.user.clone(),
            }),
            Fate::Dead(..) => None,
        }
    }

    /// The event with what it lacks. `key`: the record's, if it is not the user's id.
    pub fn new(previewer: &Previewer, text: &[u8], key: Option<String>) -> Self {
        let text = complete(text);
        let preview = previewer.event(1, text.clone());
        let of_user = || match &preview.fate {
            Fate::Call(sent) => Some(sent.user.to_string()),
            Fate::Dead(..) => None,
        };
        NewUpdate {
            key: key.or_else(of_user),
            preview,
            text,
        }
    }

    /// Puts it on the update topic, and says where it stands there.
    ///
    /// # Errors
    /// If the broker does not answer, or the topic refuses it.
    pub fn send(&self, desk: &Desk) -> Result<Place, ReadFailure> {
        let key = self.key.as_ref().map(|key| key.clone().into_bytes());
        let record = structured(self.text.clone(), key);
        let topic = &desk.updates.name;
        let (partition, offset) = single::send(&desk.kafka, topic, &record)?;
        Ok(Place {
            topic: topic.clone(),
            partition,
            offset,
        })
    }
}

/// All that is known at the end, in one JSON object with the names that outcomes have. `outcome`:
/// the outcome's, or `waiting`, `refused` or `unknown`.
pub fn ending(
    draft: &NewUpdate,
    outcome: &str,
    place: Option<&Place>,
    data: Option<&OutcomeData>,
) -> Value {
    let preview = draft.preview.json();
    let data = data.and_then(|data| serde_json::to_value(data).ok());
    let of_data = |name: &str| data.as_ref().map_or(Value::Null, |data| data[name].clone());
    let known = |name: &str| match data {
        Some(_) => of_data(name),
        None => preview[name].clone(),
    };
    json!({
        "outcome": outcome, "reason": known("reason"), "error": known("error"),
        "target": preview["target"], "user": preview["user"], "fields": preview["fields"],
        "event": preview["event"], "key": draft.key, "call": preview["call"],
        "record": place.map(RecordPlace::from), "attempts": of_data("attempts"),
        "http_status": of_data("http_status"), "into": of_data("into"),
        "finished_at": of_data("finished_at"),
    })
}

/// An event in structured form that sets these fields of a user, each the JSON of its value.
pub fn of_fields(target: &str, user: &UserValue, fields: &[(String, Box<RawValue>)]) -> Vec<u8> {
    let mut changes = String::from("{");
    for (index, (name, value)) in fields.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        changes += &format!("{separator}{}:{}", Value::from(name.as_str()), value.get());
    }
    changes.push('}');
    of_changes(target, user, &changes)
}

/// An event in structured form with these `changes`, a JSON text.
pub fn of_changes(target: &str, user: &UserValue, changes: &str) -> Vec<u8> {
    let [target, user] = [json!(target), json!(user)];
    format!(
        r#"{{"specversion":"1.0","type":"{TYPE}","data":{{"target":{target},"user":{user},"changes":{changes}}}}}"#
    )
    .into_bytes()
}

/// The event with an `id`, a `source` and a `time` if it has none. One that cannot be read stays as
/// it is.
fn complete(text: &[u8]) -> Vec<u8> {
    const MADE: [&str; 3] = ["id", "source", "time"];
    let read = json::object(text, "", &MADE);
    let (None, Ok(event)) = (read.problem, std::str::from_utf8(text)) else {
        return text.to_vec();
    };
    let is_there = |member: Option<&RawValue>| member.is_some_and(|value| value.get() != "null");
    let lacks = read.members.map(|member| !is_there(member));
    if lacks == [false; MADE.len()] {
        return text.to_vec();
    }
    let lacks = |name: &str| {
        MADE.iter()
            .zip(&lacks)
            .any(|(made, lacks)| *made == name && *lacks)
    };
    let made = [
        ("id", Uuid::new_v4().to_string()),
        ("source", SOURCE.to_owned()),
        ("time", timestamp(Timestamp::now())),
    ];
    let made = made.into_iter().filter(|(name, _)| lacks(name));
    let mut members: Vec<String> = made
        .map(|(name, value)| format!("\"{name}\":{}", Value::from(value)))
        .collect();
    for (name, value) in json::members(event) {
        if !lacks(&name) {
            members.push(format!("{}:{}", Value::from(&*name), value.get()));
        }
    }
    format!("{{{}}}", members.join(",")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(text: &str) -> Value {
        serde_json::from_slice(&complete(text.as_bytes())).unwrap()
    }

    #[test]
    fn what_an_event_lacks_is_made_and_all_else_stays_to_the_byte() {
        let event = completed(r#"{"id":null,"type":"t","data":{"user":52.0}}"#);
        assert!(event["id"].as_str().unwrap().parse::<Uuid>().is_ok());
        assert_eq!(event["source"], SOURCE);
        assert!(event["time"].as_str().unwrap().parse::<Timestamp>().is_ok());
        let whole = r#"{"id":"1","source":"/s","time":"x","a":1e2,"b":"\u00e4"}"#;
        assert_eq!(complete(whole.as_bytes()), whole.as_bytes());
        for broken in [r#"{"a":1,"a":2}"#, "{", "[]", ""] {
            assert_eq!(complete(broken.as_bytes()), broken.as_bytes());
        }
    }

    #[test]
    fn fields_make_an_event() {
        let value = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let fields = [
            ("rooms".to_owned(), value("[1]")),
            ("a\"b".to_owned(), value("\"x\"")),
        ];
        let event: Value =
            serde_json::from_slice(&of_fields("valt", &UserValue::Number(52), &fields)).unwrap();
        assert_eq!(
            event,
            json!({ "specversion": "1.0", "type": TYPE, "data": {
                "target": "valt", "user": 52, "changes": { "rooms": [1], "a\"b": "x" } } })
        );
    }
}
