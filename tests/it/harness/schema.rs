//! What is sent and what comes back, held against the published schemas and the rules of
//! CloudEvents.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value};

/// A schema made ready once, since some tests check thousands of events.
static UPDATE: LazyLock<Validator> =
    LazyLock::new(|| validator(include_str!("../../../docs/schemas/update-event.json")));
static OUTCOME: LazyLock<Validator> =
    LazyLock::new(|| validator(include_str!("../../../docs/schemas/outcome.json")));

fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).expect("a schema is JSON");
    jsonschema::validator_for(&schema).expect("a schema is valid")
}

fn validate(validator: &Validator, value: &Value) {
    let mistakes: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(
        mistakes.is_empty(),
        "{value} does not fit the schema: {mistakes:?}"
    );
}

/// An update event in structured form.
pub(crate) fn check_update(event: &Value) {
    validate(&UPDATE, event);
    let Value::Object(attributes) = event else {
        panic!("an event is an object")
    };
    check_cloud_event(attributes);
}

/// An outcome's data.
pub(crate) fn check_outcome(data: &Value) {
    validate(&OUTCOME, data);
}

/// The rules that CloudEvents 1.0 has for every event: names of lower-case letters and digits, the
/// four required attributes, none of them empty.
pub(crate) fn check_cloud_event(attributes: &Map<String, Value>) {
    for name in attributes.keys().filter(|name| *name != "data_base64") {
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
            "`{name}` is no name of an attribute"
        );
    }
    for required in ["id", "source", "type"] {
        assert!(
            attributes
                .get(required)
                .and_then(Value::as_str)
                .is_some_and(|text| !text.is_empty()),
            "`{required}` is missing"
        );
    }
    assert_eq!(
        attributes.get("specversion").and_then(Value::as_str),
        Some("1.0")
    );
}
