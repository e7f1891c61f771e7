//! `user-courier schema`: prints the JSON Schemas and the AsyncAPI document of the service's events.

use serde_json::Value;

use crate::schema;

/// One JSON object: each document under the path at which it stands in `docs/`.
pub fn run() -> String {
    let documents = Value::Object(schema::documents());
    format!("{documents:#}\n")
}
