//! A step of a replay's plan as one JSON object.

use serde_json::{Value, json};

use crate::operator::changes;
use crate::operator::chosen::Chosen;
use crate::operator::desk::Desk;
use crate::operator::plan::{LetterPlan, PlannedAction};

/// Why it would fail again, if it is sent.
pub fn remark<'a>(one: &'a Chosen, step: &LetterPlan) -> Option<&'a str> {
    one.remark
        .as_deref()
        .filter(|_| matches!(step.action, PlannedAction::Send | PlannedAction::Trim))
}

/// A step of the plan in one JSON object.
pub fn line(desk: &Desk, one: &Chosen, step: &LetterPlan) -> Value {
    let names = |parts: &[String]| changes::names(&one.parts, parts);
    json!({
        "action": step.action.as_str(),
        "place": format!("{}/{}/{}", desk.letters.name, one.spot.0, one.spot.1),
        "target": &*one.target,
        "user": desk.judge.user_value(&one.target, one.user.as_ref()),
        "reason": one.reason.as_str(),
        "fields": names(&step.sent),
        "left_out": names(&step.left_out),
        "why": step.why.as_deref().or_else(|| remark(one, step)),
    })
}
