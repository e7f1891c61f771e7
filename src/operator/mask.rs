//! Masks: an event for people's eyes, with its secret values replaced, and back again.

use serde_json::{Map, Value};

use crate::api::{Api, Known};

pub use crate::api::MASK;

/// Replaces every secret value in an event that goes to that API.
pub fn mask(api: Option<&'static Api>, event: &mut Value) {
    mask_in(Known::event(api), event);
}

fn mask_in(known: Known, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let (secret, inner) = known.member(name);
                if secret && !value.is_null() {
                    *value = MASK.into();
                } else {
                    mask_in(inner, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask_in(known, item)),
        _ => {}
    }
}

/// Restores the original's secret values wherever their masks were left in place.
///
/// # Errors
/// The name of a masked member that the original does not have.
pub fn unmask(
    api: Option<&'static Api>,
    event: &mut Value,
    original: &Value,
) -> Result<(), String> {
    unmask_in(Known::event(api), event, original)
}

fn unmask_in(known: Known, value: &mut Value, original: &Value) -> Result<(), String> {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let original = original.get(name);
                let (secret, inner) = known.member(name);
                if secret && value == MASK {
                    *value = original.cloned().ok_or_else(|| name.clone())?;
                } else {
                    unmask_in(inner, value, original.unwrap_or(&Value::Null))?;
                }
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().enumerate().try_for_each(|(index, item)| {
            unmask_in(known, item, original.get(index).unwrap_or(&Value::Null))
        }),
        _ => Ok(()),
    }
}

/// The secret values in an event that goes to that API, as texts.
pub fn secrets(api: Option<&'static Api>, event: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    let known = Known::event(api);
    for (name, value) in event {
        let (secret, inner) = known.member(name);
        collect(inner, secret, value, &mut found);
    }
    found
}

fn collect(known: Known, secret: bool, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            let (own, inner) = known.member(name);
            collect(inner, secret || own, value, found);
        }),
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect(known, secret, item, found)),
        Value::String(text) if secret => found.push(text.clone()),
        Value::Number(number) if secret => found.push(number.to_string()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_masked_comes_back_and_what_was_changed_stays() {
        let original = json!({ "id": "1", "data": { "changes": { "password": "hunter22", "Card-Number": 5, "rooms": [1], "list": [{ "password": ["x"] }] } } });
        let mut masked = original.clone();
        mask(None, &mut masked);
        assert_eq!(
            masked,
            json!({ "id": "1", "data": { "changes": { "password": "***", "Card-Number": "***", "rooms": [1], "list": [{ "password": "***" }] } } })
        );
        masked["data"]["changes"]["rooms"] = json!([2]);
        unmask(None, &mut masked, &original).unwrap();
        let mut wanted = original.clone();
        wanted["data"]["changes"]["rooms"] = json!([2]);
        assert_eq!(masked, wanted);
        let mut nowhere = json!({ "password": "***" });
        assert_eq!(
            unmask(None, &mut nowhere, &original),
            Err("password".to_owned())
        );
    }

    #[test]
    fn secret_values_are_found_at_any_depth() {
        let event = json!({ "data": { "changes": { "password": "hunter22", "card_number": [{ "x": "0007" }], "rooms": [1] } } });
        let Value::Object(event) = event else {
            panic!()
        };
        assert_eq!(secrets(None, &event), ["hunter22", "0007"]);
    }
}
