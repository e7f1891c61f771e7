//! A dead letter as a sheet: the event, why it failed, what happened to its user since, and what a
//! replay would do.

use serde_json::Value;

use crate::http::mask::mask as without_secrets;
use crate::model::error::ApiError;
use crate::model::outcome::{OutcomeData, timestamp};
use crate::model::record::Record;
use crate::model::text;
use crate::operator::plan::{First, LetterPlan, PlannedAction};
use crate::operator::sheet::{Sheet, SheetSection};
use crate::operator::story::Story;
use crate::operator::table::{of, times};
use crate::operator::{export, mask};
use engine::verdict::Reason;

/// The whole sheet.
pub(crate) fn sheet(story: &Story, reveal: bool) -> Sheet {
    let letter = &story.letter;
    let facts = &letter.facts;
    let whose = facts
        .user
        .as_ref()
        .map_or_else(|| "no known user".to_owned(), |user| format!("user {user}"));
    let title = format!(
        "{}: {}, {whose}, {}",
        letter.place(),
        facts.target,
        facts.reason.as_str()
    );
    let mut sheet = Sheet {
        title,
        meaning: Some(meaning(facts.reason).to_owned()),
        sections: Vec::new(),
    };

    why(sheet.section("why"), story);
    event(sheet.section("event"), story, reveal);
    headers(sheet.section("headers"), &letter.record, story, reveal);
    since_then(sheet.section("since then"), story);
    now(sheet.section("now"), story);
    sheet
}

/// Why it is dead, and after what.
fn why(why: &mut SheetSection, story: &Story) {
    let facts = &story.letter.facts;
    let error = story
        .outcome
        .as_ref()
        .and_then(|outcome| outcome.error.clone());
    let error = error.unwrap_or_else(|| ApiError::new(&facts.message));
    why.line(text::one_line(&error.message));
    for (field, messages) in &error.fields {
        why.line(format!(
            "{}: {}",
            text::one_line(field),
            text::one_line(&messages.join(", "))
        ));
    }
    let status = facts.http_status.map_or_else(
        || "no answer".to_owned(),
        |status| format!("last answer {status}"),
    );
    let first = facts.first_attempt_at.map_or_else(String::new, |time| {
        format!(", first call {}", timestamp(time))
    });
    why.line(format!(
        "{}, {status}{first}, given up {}",
        of(facts.attempts as usize, "call", "calls"),
        timestamp(facts.failed_at)
    ));
    why.line(format!(
        "record {}, replayed {}",
        facts.origin,
        times(facts.replays)
    ));
    let First {
        partition, offset, ..
    } = story.chosen.first;
    if facts.replays > 0 && story.chosen.blind.is_none() && !story.chosen.from_before {
        why.line(format!(
            "first stood at {}/{partition}/{offset}",
            facts.origin.topic
        ));
    }
}

/// The user's other updates.
fn since_then(since: &mut SheetSection, story: &Story) {
    if story.later_count == 0 {
        since.line("no other update of this user has ended");
    } else {
        since.line(format!(
            "{} of this user ended{}",
            of(story.later_count, "other update", "other updates"),
            last(story)
        ));
        since.rows(
            &["ended (UTC)", "outcome", "fields", "record"],
            story.later.iter().map(row).collect(),
        );
    }
}

fn last(story: &Story) -> String {
    if story.later_count > story.later.len() {
        format!("; the last {}:", story.later.len())
    } else {
        ":".to_owned()
    }
}

fn event(section: &mut SheetSection, story: &Story, reveal: bool) {
    let Some(content) = &story.content else {
        section.line("its value was too large for the dead-letter topic, and the record itself is gone from the update topic");
        return;
    };
    let length = content.value.as_ref().map_or(0, Vec::len);
    match export::event(content) {
        Some(event) => {
            let mut event = Value::Object(event);
            if !reveal {
                mask::mask(story.api, &mut event);
            }
            verbatim(section, &format!("{event:#}"));
        }
        None if reveal => verbatim(
            section,
            &String::from_utf8_lossy(content.value.as_deref().unwrap_or_default()),
        ),
        None => {
            section.line(format!("{length} bytes that cannot be decoded, so nothing in them can be masked: --reveal shows them"));
        }
    }
}

fn headers(section: &mut SheetSection, record: &Record, story: &Story, reveal: bool) {
    let event = story.content.as_ref().and_then(export::event);
    let secrets = event
        .map(|event| mask::secrets(story.api, &event))
        .unwrap_or_default();
    // A value this short occurs in too many places to be masked reliably.
    let secrets: Vec<_> = secrets
        .iter()
        .map(String::as_str)
        .filter(|secret| secret.chars().count() >= 4)
        .collect();
    let rows: Vec<_> = record
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value.as_deref().unwrap_or_default());
            let shown = if reveal {
                text::one_line(&value)
            } else if is_credential(&header.name) {
                mask::MASK.to_owned()
            } else {
                text::one_line(&without_secrets(ApiError::new(value), &secrets).message)
            };
            vec![text::one_line(&header.name), shown]
        })
        .collect();
    section.rows(&["name", "value"], rows);
}

/// Senders put all kinds of things into headers.
fn is_credential(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    text::is_secret(name)
        || [
            "authorization",
            "cookie",
            "token",
            "secret",
            "api-key",
            "apikey",
        ]
        .iter()
        .any(|word| lower.contains(word))
}

fn row(outcome: &OutcomeData) -> Vec<String> {
    let reason = outcome
        .reason
        .map_or_else(String::new, |reason| format!(" {}", reason.as_str()));
    vec![
        outcome
            .finished_at
            .get(..19)
            .unwrap_or(&outcome.finished_at)
            .replace('T', " "),
        format!("{}{reason}", outcome.outcome.as_str()),
        text::name(
            &outcome.fields.as_deref().unwrap_or_default().join(", "),
            60,
        ),
        outcome.record.to_string(),
    ]
}

fn now(section: &mut SheetSection, story: &Story) {
    if let Some(settled) = &story.settled {
        let into = settled
            .into
            .as_ref()
            .map_or_else(String::new, |into| format!(" as {into}"));
        section.line(format!(
            "settled: {}{into} at {}",
            settled.outcome.as_str(),
            settled.finished_at
        ));
        return;
    }
    section.line(format!(
        "open. A replay would {}",
        would(&story.step, story)
    ));
    if let Some(remark) = story
        .chosen
        .remark
        .as_ref()
        .filter(|_| story.step.action != PlannedAction::Supersede)
    {
        section.line(text::one_line(remark));
    }
}

fn would(step: &LetterPlan, story: &Story) -> String {
    let topic = &story.letter.facts.origin.topic;
    let by: Vec<_> = step
        .by
        .iter()
        .map(|(partition, offset)| format!("{topic}/{partition}/{offset}"))
        .collect();
    let by = text::cut(&by.join(", "), 200).into_owned();
    let names = |parts: &[String]| text::name(&parts.join(", "), 200);
    match step.action {
        PlannedAction::Send if step.sent.is_empty() => "send it as it is".to_owned(),
        PlannedAction::Send => format!(
            "send all of it ({}): nothing newer has overwritten any of it",
            names(&step.sent)
        ),
        PlannedAction::Trim => {
            format!(
                "send {}, and leave out {}, which newer updates have overwritten ({by})",
                names(&step.sent),
                names(&step.left_out)
            )
        }
        PlannedAction::Supersede => format!(
            "change nothing: newer updates have overwritten {} ({by})",
            names(&step.left_out)
        ),
        PlannedAction::Refuse => format!(
            "refuse it: {}",
            text::one_line(step.why.as_deref().unwrap_or_default())
        ),
    }
}

fn verbatim(section: &mut SheetSection, text: &str) {
    section.verbatim = true;
    section.lines.extend(text.lines().map(text::one_line));
}

/// The meaning of a reason and what to check; the runbook has more.
fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::Undecodable => "the record is no update event: its sender must be corrected",
        Reason::Unroutable => {
            "no target takes the event: a wrong name, or a target or route that is missing here"
        }
        Reason::InvalidChanges => {
            "its user or changes are not what this API takes; no call was made"
        }
        Reason::Rejected => "the API refused this very update",
        Reason::UserNotFound => "the API knows no such user",
        Reason::AttemptsExhausted => "it kept failing while the target delivered others",
        Reason::Expired => "its expirytime passed before it was delivered",
        Reason::Protected => "its user is among the target's protected_users; no call was made",
        Reason::HeldBack => {
            "it would take something away from its user, and the target's guard refused that"
        }
    }
}
