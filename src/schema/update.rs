//! The update event as a type: what senders may write. It exists for its schema; the decoder is
//! more precise about what is wrong. What an API takes comes from its table.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::api::{self, Api, Field, Kind};
use crate::model::user::{IdForm, MAX_CHARS};

/// An update event in CloudEvents' structured mode. In binary mode the attributes are `ce_` headers
/// and the value is `data` alone.
#[derive(JsonSchema)]
#[schemars(extend("oneOf" = [{ "required": ["data"] }, { "required": ["data_base64"] }]))]
pub struct UpdateEvent {
    /// The version of CloudEvents.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// Identifies the event together with `source`.
    #[schemars(length(min = 1))]
    pub id: String,
    /// The system that sends it, a URI reference.
    #[schemars(length(min = 1))]
    pub source: String,
    /// The type of the event. Routes may use it.
    #[schemars(rename = "type")]
    #[schemars(length(min = 1))]
    pub event_type: String,
    /// The type of `data`: JSON, if it is said at all.
    #[schemars(regex(pattern = r"^[^/;]+/([^;]+\+)?[Jj][Ss][Oo][Nn] *(;.*)?$"))]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// Past this time of RFC 3339 the update is no longer delivered.
    #[schemars(extend("format" = "date-time"))]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub expirytime: Option<String>,
    /// The update.
    #[schemars(skip_serializing_if = "Option::is_none", with = "UpdateData")]
    pub data: Option<UpdateData>,
    /// The update's JSON in Base64, in place of `data`.
    #[schemars(skip_serializing_if = "Option::is_none", with = "String", extend("contentEncoding" = "base64", "contentMediaType" = "application/json"))]
    pub data_base64: Option<String>,
}

/// An update of one user at one target: one schema for each API.
pub struct UpdateData;

impl JsonSchema for UpdateData {
    fn schema_name() -> Cow<'static, str> {
        "UpdateData".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let apis: Vec<Value> = api::ALL.iter().copied().map(data).collect();
        let mut schema = Schema::default();
        schema.insert("anyOf".to_owned(), apis.into());
        schema
    }
}

fn data(api: &Api) -> Value {
    let changes = object(api.fields);
    json!({
        "title": format!("{} update", api.title),
        "description": format!("At a target of the API `{}`.", api.name),
        "type": "object",
        "properties": {
            "target": {
                "type": ["string", "null"],
                "description": "A configured target. May be left out if a route decides.",
            },
            "user": user(api.id_form),
            "changes": described(changes, "What to set. At least one."),
        },
        "required": ["user", "changes"],
    })
}

fn user(form: IdForm) -> Value {
    let number = |least: i64| json!({ "type": "integer", "minimum": least, "maximum": i64::MAX });
    let (number, text) = match form {
        IdForm::Number => (
            described(number(1), "As a number."),
            json!({
                "type": "string",
                "pattern": DIGITS,
                "description": "As a string of its digits, at most 9223372036854775807.",
            }),
        ),
        IdForm::Text => (
            described(number(i64::MIN), "A number stands for its digits."),
            json!({
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_CHARS,
                "not": { "enum": [".", ".."] },
                "description": "As a string.",
            }),
        ),
    };
    json!({ "description": "The user's id at that API.", "anyOf": [number, text] })
}

fn object(fields: &[Field]) -> Value {
    let members = fields
        .iter()
        .map(|field| (field.name.to_owned(), of_field(field)));
    json!({
        "type": "object",
        "properties": members.collect::<Map<_, _>>(),
        "additionalProperties": false,
        "minProperties": 1,
    })
}

fn of_field(field: &Field) -> Value {
    let mut schema = described(of_kind(&field.kind), field.help);
    if field.removable {
        schema["type"] = json!([schema["type"], "null"]);
    }
    let sample: Value = serde_json::from_str(field.sample).unwrap_or_default();
    schema["examples"] = json!([sample]);
    schema
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Integer => json!({
            "description": "An integer of 64 bits; 52.0 and 5.2e1 are one too.",
            "type": "integer",
            "format": "int64",
            "minimum": i64::MIN,
            "maximum": i64::MAX,
        }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::List { of, max } => {
            json!({ "type": "array", "items": of_kind(of), "maxItems": max })
        }
        Kind::Object(fields) => object(fields),
    }
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

/// The digits of 1 to 2^63-1: up to 18, or 19 that differ from those of the largest in a digit that
/// is smaller.
const DIGITS: &str = concat!(
    "^0*(",
    "[1-9][0-9]{0,17}",
    "|[1-8][0-9]{18}",
    "|9[0-1][0-9]{17}",
    "|92[0-1][0-9]{16}",
    "|922[0-2][0-9]{15}",
    "|9223[0-2][0-9]{14}",
    "|92233[0-6][0-9]{13}",
    "|922337[0-1][0-9]{12}",
    "|92233720[0-2][0-9]{10}",
    "|922337203[0-5][0-9]{9}",
    "|9223372036[0-7][0-9]{8}",
    "|92233720368[0-4][0-9]{7}",
    "|922337203685[0-3][0-9]{6}",
    "|9223372036854[0-6][0-9]{5}",
    "|92233720368547[0-6][0-9]{4}",
    "|922337203685477[0-4][0-9]{3}",
    "|9223372036854775[0-7][0-9]{2}",
    "|922337203685477580[0-7]",
    ")$"
);
