//! A dead letter's reason in JSON, and its schema. The reasons themselves are the engine's, which
//! knows no JSON.

use engine::verdict::Reason;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(reason: &Option<Reason>, to: S) -> Result<S::Ok, S::Error> {
    reason.map(Reason::as_str).serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Reason>, D::Error> {
    let Some(name) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    let reason = Reason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == name);
    reason
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom(format!("`{name}` is no reason")))
}

/// The names, each with what it means.
pub(super) fn names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "oneOf": known() })
}

/// The names, or null.
pub(super) fn names_or_null(_: &mut SchemaGenerator) -> Schema {
    let mut known = known();
    known.push(json_schema!({ "type": "null" }));
    json_schema!({ "oneOf": known })
}

fn known() -> Vec<Schema> {
    let schema = |reason: Reason| {
        json_schema!({
            "type": "string",
            "const": reason.as_str(),
            "description": reason.meaning(),
        })
    };
    Reason::ALL.map(schema).into()
}
