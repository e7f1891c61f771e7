//! The schemas: the events as JSON Schemas and an AsyncAPI document, generated from the types.

mod asyncapi;
mod update;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::model::dead_letter::FailureHeaders;
use crate::model::outcome::OutcomeData;

pub use update::{UpdateData, UpdateEvent};

/// The generated documents by the path at which they stand under `docs/`.
pub fn documents() -> Map<String, Value> {
    let documents = [
        ("schemas/update-event.json", of::<UpdateEvent>()),
        ("schemas/outcome.json", of::<OutcomeData>()),
        ("schemas/dead-letter-headers.json", of::<FailureHeaders>()),
        ("asyncapi.json", asyncapi::document()),
    ];
    documents
        .into_iter()
        .map(|(path, document)| (path.to_owned(), document))
        .collect()
}

/// The schema of what is sent (serialized), in one piece: a reference would not survive being put
/// into the AsyncAPI document.
fn of<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.inline_subschemas = true;
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}
