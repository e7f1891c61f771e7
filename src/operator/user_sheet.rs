//! The known facts about a user, as a sheet and as JSON.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::model::outcome::{OutcomeData, timestamp};
use crate::model::text;
use crate::operator::Letter;
use crate::operator::explain::{Changed, Explanation, Waiting};
use crate::operator::sheet::{Sheet, SheetSection};
use crate::operator::table::{of, times};
use crate::subscriber::guarded::GuardStatus;
use crate::telemetry::metrics::{GUARDED, PAUSED};

/// How far back outcomes are read unless said.
pub const LATELY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// All that is known of the user in one JSON object. `state`: what an instance says of the target.
pub fn json(found: &Explanation, state: Option<Value>) -> Value {
    let dead: Vec<_> = found
        .dead
        .iter()
        .map(|letter| json!({ "place": letter.place().to_string(), "reason": letter.facts.reason.as_str(), "failed_at": timestamp(letter.facts.failed_at) }))
        .collect();
    json!({
        "target": found.lane.target, "user": found.user, "state": state,
        "waiting": { "count": found.waiting_count, "first": found.waiting },
        "delivered": { "count": found.delivered_count, "last": found.delivered },
        "dead": dead, "fields": found.fields,
    })
}

/// The whole sheet. `state`: the target's state, with the instance that reports it.
pub(crate) fn sheet(found: &Explanation, state: Option<(&str, Value)>, since: Timestamp) -> Sheet {
    let mut sheet = Sheet {
        title: format!("user {} at {}", found.lane.user, found.lane.target),
        ..Sheet::default()
    };
    doing(sheet.section("target"), state);
    waiting(sheet.section("waiting"), found);
    delivered(
        sheet.section(format!("delivered since {}", timestamp(since))),
        found,
    );

    let dead = sheet.section("dead letters");
    if found.dead.is_empty() {
        dead.line("none is open");
    } else {
        let row = |letter: &Letter| {
            vec![
                timestamp(letter.facts.failed_at),
                letter.facts.reason.as_str().to_owned(),
                letter.place().to_string(),
            ]
        };
        dead.rows(
            &["given up (UTC)", "reason", "place"],
            found.dead.iter().map(row).collect(),
        );
        dead.line("`user-courier dead-letters show PLACE` tells more of each");
    }

    let fields = sheet.section("fields last changed");
    if found.fields.is_empty() {
        fields.line("none in that time");
    } else {
        let row = |(field, changed): (&String, &Changed)| {
            vec![
                text::name(field, 60),
                changed.at.clone(),
                changed.record.to_string(),
            ]
        };
        fields.rows(
            &["field", "confirmed (UTC)", "record"],
            found.fields.iter().map(row).collect(),
        );
    }
    sheet
}

/// The target's state, as an instance reports it.
fn doing(target: &mut SheetSection, said: Option<(&str, Value)>) {
    let Some((who, said)) = said else {
        target
            .line("no instance answers at admin.listen, so what the target does is not known here");
        return;
    };
    let text = |key: &str| said[key].as_str().unwrap_or_default();
    let (state, cause, since) = (text("state"), text("cause"), text("since"));
    if cause == "none" {
        target.line(format!("{state} since {since}, as {who} says"));
    } else {
        target.line(format!("{state} ({cause}) since {since}, as {who} says"));
    }
    if cause == PAUSED.1 {
        target.line("because an operator has set `paused` in its configuration");
    } else if cause == GUARDED.1 {
        let guard: Option<GuardStatus> = serde_json::from_value(said["guard"].clone()).ok();
        let words = guard.map_or_else(String::new, |guard| guard.words());
        target.line(format!(
            "because its guard holds it: {}",
            text::name(&words, 600)
        ));
        target.line("until guard.allow_until or guard.refuse_until is set: see the runbook");
    } else if state != "flowing" {
        let next = match text("next_probe_at") {
            "" => "under way".to_owned(),
            next => format!("at {next}"),
        };
        let error = text::name(text("last_error"), 200);
        target.line(format!("because: {error}; next probe {next}"));
    }
}

fn waiting(section: &mut SheetSection, found: &Explanation) {
    if found.waiting.is_empty() {
        section.line("nothing");
        return;
    }
    section.line(format!(
        "{}, called in this order, one after the other",
        of(found.waiting_count, "update", "updates")
    ));
    let row = |(at, update): (usize, &Waiting)| {
        let behind = match at {
            0 if update.attempts > 0 => format!("next, called {} so far", times(update.attempts)),
            0 => "next".to_owned(),
            1 => "behind the first".to_owned(),
            more => format!("behind {more} others"),
        };
        vec![
            update.written_at.clone().unwrap_or_default(),
            behind,
            names(&update.fields),
            update.record.to_string(),
        ]
    };
    section.rows(
        &["written (UTC)", "stands", "fields", "record"],
        found.waiting.iter().enumerate().map(row).collect(),
    );
}

fn delivered(section: &mut SheetSection, found: &Explanation) {
    if found.delivered.is_empty() {
        section.line("nothing");
        return;
    }
    let more = if found.delivered_count > found.delivered.len() {
        ", of which the last"
    } else {
        ""
    };
    section.line(format!(
        "{}{more}",
        of(found.delivered_count, "update", "updates")
    ));
    let row = |data: &OutcomeData| {
        let into = data
            .into
            .as_ref()
            .map_or_else(String::new, |into| format!(" into {}", into.offset));
        vec![
            data.finished_at.clone(),
            format!("{}{into}", data.outcome.as_str()),
            names(data.fields.as_deref().unwrap_or_default()),
            data.record.to_string(),
        ]
    };
    section.rows(
        &["confirmed (UTC)", "outcome", "fields", "record"],
        found.delivered.iter().map(row).collect(),
    );
}

fn names(fields: &[String]) -> String {
    text::name(&fields.join(", "), 60)
}
