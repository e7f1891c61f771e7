//! Masks: an event for people's eyes, with its secret values replaced, and back again.

use serde_json::{Map, Value};

use crate::model::text::is_secret;

/// What stands in a secret value's place.
pub const MASK: &str = "***";

/// Replaces every secret value, at whatever depth.
pub fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if is_secret(name) && !value.is_null() {
                    *value = MASK.into();
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// Puts the original's secret values back where their masks still stand.
///
/// # Errors
/// The name of a masked member that the original does not have.
pub fn unmask(value: &mut Value, original: &Value) -> Result<(), String> {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let original = original.get(name);
                if is_secret(name) && value == MASK {
                    *value = original.cloned().ok_or_else(|| name.clone())?;
                } else {
                    unmask(value, original.unwrap_or(&Value::Null))?;
                }
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().enumerate().try_for_each(|(index, item)| {
            unmask(item, original.get(index).unwrap_or(&Value::Null))
        }),
        _ => Ok(()),
    }
}

/// The secret values in an event, as texts.
pub fn secrets(event: &Map<String, Value>) -> Vec<String> {
    fn collect(name: Option<&str>, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(member, value)| {
                    collect(
                        name.filter(|_| !is_secret(member)).or(Some(member)),
                        value,
                        found,
                    )
                });
            }
            Value::Array(items) => items.iter().for_each(|item| collect(name, item, found)),
            Value::String(text) if name.is_some_and(is_secret) => found.push(text.clone()),
            Value::Number(number) if name.is_some_and(is_secret) => found.push(number.to_string()),
            _ => {}
        }
    }
    let mut found = Vec::new();
    event
        .iter()
        .for_each(|(name, value)| collect(Some(name), value, &mut found));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_masked_comes_back_and_what_was_changed_stays() {
        let original = json!({ "id": "1", "data": { "changes": { "password": "hunter22", "Card-Number": 5, "rooms": [1], "list": [{ "password": ["x"] }] } } });
        let mut masked = original.clone();
        mask(&mut masked);
        assert_eq!(
            masked,
            json!({ "id": "1", "data": { "changes": { "password": "***", "Card-Number": "***", "rooms": [1], "list": [{ "password": "***" }] } } })
        );
        masked["data"]["changes"]["rooms"] = json!([2]);
        unmask(&mut masked, &original).unwrap();
        let mut wanted = original.clone();
        wanted["data"]["changes"]["rooms"] = json!([2]);
        assert_eq!(masked, wanted);
        let mut nowhere = json!({ "password": "***" });
        assert_eq!(unmask(&mut nowhere, &original), Err("password".to_owned()));
    }

    #[test]
    fn secret_values_are_found_at_any_depth() {
        let event = json!({ "data": { "changes": { "password": "hunter22", "card_number": [{ "x": "0007" }], "rooms": [1] } } });
        let Value::Object(event) = event else {
            panic!()
        };
        assert_eq!(secrets(&event), ["hunter22", "0007"]);
    }
}
