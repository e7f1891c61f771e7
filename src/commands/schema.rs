//! `user-courier schema`: prints the JSON Schemas and the AsyncAPI document of the service's
//! events.

use serde_json::Value;

use crate::schema;

/// One JSON object: each document under its path in `docs/`.
pub fn run() -> String {
    let documents = Value::Object(schema::documents());
    format!("{documents:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_printed_under_its_path() {
        let printed: Value = serde_json::from_str(&run()).unwrap();
        let paths: Vec<_> = printed.as_object().unwrap().keys().collect();
        let wanted = ["update-event", "outcome", "dead-letter-headers"];
        let wanted = wanted.map(|name| format!("schemas/{name}.json"));
        assert_eq!(paths[..3], wanted.iter().collect::<Vec<_>>());
        assert_eq!(printed["asyncapi.json"]["asyncapi"], "3.0.0");
    }
}
