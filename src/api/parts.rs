//! Parts: what an update sets, piece by piece, so that a replay can leave some of it out.
//!
//! A part is a field, or a member of a field whose members are replaced one by one
//! (`name.givenName`). Of a field of which nobody knows that (VALT's `video_access`) the part is
//! the whole: if a newer update set any of it, an older one sends nothing of it.

use serde_json::value::RawValue;

use crate::api::Api;
use crate::api::table::{Field, Replaced};
use crate::model::json;

impl Api {
    /// The parts that the changes set, in their order. They need not be valid.
    pub fn parts(&self, changes: &RawValue) -> Vec<String> {
        let mut parts = Vec::new();
        for (name, value) in json::members(changes.get()) {
            match self.members_of(&name, value) {
                Some(members) => {
                    parts.extend(members.iter().map(|(member, _)| part(&name, member)));
                }
                None => parts.push(name.into_owned()),
            }
        }
        parts
    }

    /// The changes without those parts; every other value is as it was.
    pub fn without(&self, changes: &str, left_out: &[String]) -> String {
        let is_left_out = |part: &str| left_out.iter().any(|left_out| left_out == part);
        let mut kept = Vec::new();
        for (name, value) in json::members(changes) {
            let Some(members) = self.members_of(&name, value) else {
                if !is_left_out(&name) {
                    kept.push(member(&name, value.get()));
                }
                continue;
            };
            let stay: Vec<_> = members
                .iter()
                .filter(|(member, _)| !is_left_out(&part(&name, member)))
                .collect();
            if stay.len() == members.len() {
                kept.push(member(&name, value.get()));
            } else if !stay.is_empty() {
                let stay: Vec<_> = stay
                    .into_iter()
                    .map(|(name, value)| member(name, value))
                    .collect();
                kept.push(member(&name, &object(&stay)));
            }
        }
        object(&kept)
    }

    /// The members that the value of a field sets, if it sets them one by one. `null` removes all
    /// that there are.
    fn members_of(&self, name: &str, value: &RawValue) -> Option<Vec<(String, String)>> {
        let field = self.fields.iter().find(|field| field.name == name)?;
        if field.replaced != Replaced::Members {
            return None;
        }
        let members: Vec<_> = match value.get() {
            "null" => {
                let removed = |member: &Field| (member.name.to_owned(), "null".to_owned());
                field.members().iter().map(removed).collect()
            }
            object => json::members(object)
                .into_iter()
                .map(|(name, value)| (name.into_owned(), value.get().to_owned()))
                .collect(),
        };
        Some(members).filter(|members| !members.is_empty())
    }
}

fn part(field: &str, member: &str) -> String {
    format!("{field}.{member}")
}

/// The field of a part. The name of a field may have dots in it, as a URN has.
pub fn field_of(part: &str) -> &str {
    match part.rsplit_once('.') {
        Some((field, member)) if !member.contains(':') => field,
        _ => part,
    }
}

fn member(name: &str, value: &str) -> String {
    format!("{}:{value}", serde_json::Value::from(name))
}

fn object(members: &[String]) -> String {
    format!("{{{}}}", members.join(","))
}
