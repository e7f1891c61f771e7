//! Losses: what an update takes away from its user, as the table marks it.

use crate::api::Changes;
use crate::api::table::{Field, Replaced, TakesAway};
use crate::model::json;

/// A field, or a member of one, whose value takes something away.
#[derive(Clone, Copy)]
struct Loss {
    field: &'static Field,
    member: Option<&'static str>,
}

impl Loss {
    /// Whether later changes in the same call put another value in its place.
    fn is_replaced_by(self, later: &Changes) -> bool {
        let Some(value) = later.get(self.field.name) else {
            return false;
        };
        match self.member {
            Some(member) if self.field.replaced == Replaced::Members => {
                value == "null" || json::members(value).iter().any(|(name, _)| name == member)
            }
            _ => true,
        }
    }

    fn name(self) -> String {
        match self.member {
            Some(member) => format!("{}.{member}", self.field.name),
            None => self.field.name.to_owned(),
        }
    }
}

fn losses(changes: &Changes, also: &[String]) -> Vec<Loss> {
    let mut losses = Vec::new();
    for (field, value) in changes.fields() {
        if also.iter().any(|also| also == field.name) || takes_away(field, value) {
            let member = None;
            losses.push(Loss { field, member });
        } else if value.starts_with('{') {
            for (name, value) in json::members(value) {
                let member = Field::find(field.members(), &name);
                if let Some(member) = member.filter(|member| takes_away(member, value.get())) {
                    let member = Some(member.name);
                    losses.push(Loss { field, member });
                }
            }
        }
    }
    losses
}

fn takes_away(field: &Field, value: &str) -> bool {
    match field.takes_away {
        _ if value == "null" => true,
        TakesAway::Nothing => false,
        TakesAway::Empty => value == "[]",
        TakesAway::False => value == "false",
    }
}

impl Changes {
    /// The names of what these changes take away; `also`: any value of these fields does.
    pub fn taken_away(&self, also: &[String]) -> Vec<String> {
        losses(self, also).into_iter().map(Loss::name).collect()
    }
}

/// Which of these changes, sent in one call in this order, take something away: by their places.
/// What a later one gives back is not taken away.
pub fn taking(run: &[&Changes], also: &[String]) -> Vec<usize> {
    let stays = |place: usize| {
        losses(run[place], also).into_iter().any(|loss| {
            !run[place + 1..]
                .iter()
                .any(|later| loss.is_replaced_by(later))
        })
    };
    (0..run.len()).filter(|place| stays(*place)).collect()
}
