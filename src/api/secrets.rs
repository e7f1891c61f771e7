//! Secrets: which values of an event are never shown. The table of the event's API says it; of a
//! name that it does not have, its likeness to one that is secret there.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::changes::begin;
use crate::api::table::Field;
use crate::api::{ALL, Api, Changes};
use crate::model::{json, text};

/// Replaces the value of a secret field.
pub const MASK: &str = "***";

/// Secrecy of a value in an event, by its place.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// `None` if no API is known: then a field that is secret at any API is secret.
    api: Option<&'static Api>,
    place: ValuePlace,
}

#[derive(Clone, Copy, Debug)]
enum ValuePlace {
    Event,
    Data,
    /// An object with these members, or a list of such.
    Fields(&'static [Field]),
    Elsewhere,
}

impl Known {
    /// For a whole event that goes to that API.
    pub fn event(api: Option<&'static Api>) -> Self {
        let place = ValuePlace::Event;
        Known { api, place }
    }

    /// For the member with this name: whether its value is secret, and the rules inside it.
    pub fn member(self, name: &str) -> (bool, Known) {
        let field = match self.place {
            ValuePlace::Fields(fields) => Field::find(fields, name),
            _ => None,
        };
        let place = match (self.place, field) {
            (ValuePlace::Event, _) if name == "data" => ValuePlace::Data,
            (ValuePlace::Data, _) if name == "changes" => self
                .api
                .map_or(ValuePlace::Elsewhere, |api| ValuePlace::Fields(api.fields)),
            (_, Some(field)) => ValuePlace::Fields(field.members()),
            _ => ValuePlace::Elsewhere,
        };
        let secret = field.map_or_else(|| self.is_like_a_secret(name), |field| field.secret);
        (secret, Known { place, ..self })
    }

    /// A name that nobody knows may be that of a secret, misspelt.
    fn is_like_a_secret(self, name: &str) -> bool {
        let apis = ALL
            .iter()
            .copied()
            .filter(|api| self.api.is_none_or(|own| own.name == api.name));
        apis.flat_map(Api::secrets)
            .any(|secret| text::is_like(name, secret))
    }
}

impl Api {
    /// The names of its secret fields.
    pub fn secrets(&self) -> impl Iterator<Item = &'static str> + use<> {
        let all = self
            .fields
            .iter()
            .flat_map(|field| [field].into_iter().chain(field.members()));
        all.filter(|field| field.secret).map(|field| field.name)
    }
}

impl Changes {
    /// The secret values, as texts.
    pub fn secrets(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (field, value) in self.fields() {
            // A look into a list of a million numbers would cost more than the call.
            if field.secret || field.members().iter().any(|member| member.secret) {
                let value = serde_json::from_str(value).unwrap_or_default();
                collect(field, field.secret, &value, &mut found);
            }
        }
        found
    }

    /// The same changes with each secret value masked: a request that is made of them can be shown.
    pub fn masked(&self) -> Changes {
        Changes::of(
            self.fields()
                .map(|(field, value)| (field, masked(field, value))),
        )
    }
}

/// The JSON of a field's value with what is secret in it masked. `null` removes it, and shows
/// nothing.
fn masked<'a>(field: &Field, value: &'a str) -> Cow<'a, str> {
    if field.secret && value != "null" {
        return Cow::Owned(format!("\"{MASK}\""));
    }
    let has_secret = |field: &Field| field.members().iter().any(|member| member.secret);
    if value == "null" || !has_secret(field) && !field.members().iter().any(has_secret) {
        return Cow::Borrowed(value);
    }
    let inner = |value: &RawValue| masked(field, value.get()).into_owned();
    if value.starts_with('[') {
        let items: Vec<_> = json::items(value).into_iter().map(inner).collect();
        return Cow::Owned(format!("[{}]", items.join(",")));
    }
    let mut text = String::from("{");
    for (index, (name, value)) in json::members(value).into_iter().enumerate() {
        begin(&name, index == 0, &mut text);
        match Field::find(field.members(), &name) {
            Some(member) => text.push_str(&masked(member, value.get())),
            None => text.push_str(value.get()),
        }
    }
    text.push('}');
    Cow::Owned(text)
}

fn collect(field: &Field, secret: bool, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if secret => found.push(text.clone()),
        Value::Number(number) if secret => found.push(number.to_string()),
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect(field, secret, item, found)),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            if let Some(member) = Field::find(field.members(), name) {
                collect(member, secret || member.secret, value, found);
            }
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Kind;

    const PIN: Field = Field::new("pin", Kind::Text, "", "").secret();
    const DOOR: Field = Field::new("door", Kind::Text, "", "");

    #[test]
    fn secret_values_are_masked_at_any_depth_and_all_else_stays() {
        const CARD: Field = Field::new("card", Kind::Object(&[DOOR, PIN]), "", "");
        const CARDS: Field = Field::new(
            "cards",
            Kind::List {
                of: &Kind::Object(&[DOOR, PIN]),
                max: 9,
            },
            "",
            "",
        );
        for (field, value, shown) in [
            (&PIN, r#""1234""#, r#""***""#),
            (&PIN, "null", "null"),
            (&DOOR, r#""a""#, r#""a""#),
            (&CARD, "null", "null"),
            (
                &CARD,
                r#"{"door":"a","pin":"1234"}"#,
                r#"{"door":"a","pin":"***"}"#,
            ),
            (
                &CARDS,
                r#"[{"pin":"1234"},{"door":"a"}]"#,
                r#"[{"pin":"***"},{"door":"a"}]"#,
            ),
        ] {
            assert_eq!(masked(field, value), shown);
        }
    }
}
