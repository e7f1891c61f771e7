//! Previews in words: an event by itself, and all of them in tables.

use crate::config::duration;
use crate::model::text;
use crate::operator::preview::{Fate, Preview, PreviewTally, ToCall};
use crate::operator::sheet::Sheet;
use crate::operator::table::{count, number};
use engine::verdict::Reason;

/// Bytes of a body that are shown,
const BODY: usize = 1_000;
/// beside a table,
const SHORT_BODY: usize = 200;
/// and of a message.
const MESSAGE: usize = 200;
/// Pairs of source and type that are listed.
const ORIGINS: usize = 20;

/// An event and what would become of it, on a few lines.
pub(crate) fn lines(preview: &Preview) -> String {
    match &preview.fate {
        Fate::Call(sent) => format!(
            "{}: {}\n{}",
            preview.at,
            whose(preview),
            call_lines(sent, BODY)
        ),
        Fate::Dead(reason, message) => format!(
            "{}: a dead letter, {}{}\n  {}",
            preview.at,
            reason.as_str(),
            match preview.target {
                Some(_) => format!(" ({})", whose(preview)),
                None => String::new(),
            },
            text::one_line(message)
        ),
    }
}

/// A call on two lines: what is asked, and the body.
pub(crate) fn call_lines(sent: &ToCall, longest: usize) -> String {
    let call = sent.call();
    let body = call.body.get();
    let rest = match body.len() > longest {
        true => format!(" ({} bytes in all)", count(body.len())),
        false => String::new(),
    };
    format!(
        "  {} {}\n  {}{rest}",
        call.method,
        call.url,
        text::cut(body, longest)
    )
}

fn whose(preview: &Preview) -> String {
    let target = preview.target.as_deref().unwrap_or("no target");
    match &preview.user {
        Some(user) => format!("{target}, user {}", text::name(&user.to_string(), 80)),
        None => format!("{target}, no known user"),
    }
}

/// How many of each kind there are, and the first of each. `what`: what they are, such as `event`.
/// `with_calls`: the first call to each target too.
pub(crate) fn sheet(tally: &PreviewTally, what: &str, source: &str, with_calls: bool) -> Sheet {
    let called = tally.events - tally.dead;
    let mut sheet = Sheet {
        title: format!(
            "{} of {source}: {} called for, {}",
            some(tally.events, what),
            number(called),
            some(tally.dead, "dead letter")
        ),
        ..Sheet::default()
    };
    if tally.events == 0 {
        return sheet;
    }
    endings(&mut sheet, tally);
    losses(&mut sheet, tally);
    messages(&mut sheet, tally);
    origins(&mut sheet, tally);
    if with_calls && !tally.calls.is_empty() {
        let section = sheet.section("the first call to each target");
        for (_, first) in tally.calls.values() {
            let Fate::Call(sent) = &first.fate else {
                continue;
            };
            section.line(format!("{}: {}", first.at, whose(first)));
            let call = call_lines(sent, SHORT_BODY);
            call.lines().for_each(|line| {
                section.line(line);
            });
        }
    }
    sheet
}

/// A number and its noun.
fn some(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", self::number(number))
}

fn endings(sheet: &mut Sheet, tally: &PreviewTally) {
    let calls = tally.calls.iter().map(|(target, (count, first))| {
        let first = first.at.to_string();
        vec![target.clone(), "called".to_owned(), number(*count), first]
    });
    let letters = tally.letters.iter().map(|((target, reason), kinds)| {
        vec![
            target.clone().unwrap_or_else(|| "(none)".to_owned()),
            format!("dead letter, {}", reason.as_str()),
            number(kinds.count),
            kinds.first().map(ToString::to_string).unwrap_or_default(),
        ]
    });
    let mut rows: Vec<_> = calls.chain(letters).collect();
    rows.sort_by(|one, other| one[0].cmp(&other[0]));
    let section = sheet.section("what would become of them");
    section.rows(&["target", "would be", ">events", "first"], rows);
}

/// Whether a guard would hold its target.
fn losses(sheet: &mut Sheet, tally: &PreviewTally) {
    if tally.losses.is_empty() {
        return;
    }
    let section = sheet.section("what they would take away");
    for (target, losses) in &tally.losses {
        let users = losses.users() as u64;
        let (most, window) = losses.guard;
        let would = match users > u64::from(most) {
            true => "more than its guard lets through, so the target would hold",
            false => "no more than its guard lets through",
        };
        let fields: Vec<_> = losses.fields.iter().map(String::as_str).collect();
        section.line(format!(
            "{target}: {} would lose something ({}): {would} ({} within {})",
            some(users, "user"),
            fields.join(", "),
            number(u64::from(most)),
            duration::written(window),
        ));
    }
}

/// Why, in words.
fn messages(sheet: &mut Sheet, tally: &PreviewTally) {
    if tally.letters.is_empty() {
        return;
    }
    let section = sheet.section("why");
    for ((target, reason), kinds) in &tally.letters {
        let target = match target {
            Some(target) => format!(" at {target}"),
            None => String::new(),
        };
        section.line(format!("{}{target}: {}", reason.as_str(), remedy(*reason)));
        for (message, one) in kinds.by_count() {
            section.line(format!(
                "  {}: {}{}",
                one.first,
                text::name(message, MESSAGE),
                match one.count {
                    1 => String::new(),
                    more => format!(" ({} such events)", number(more)),
                }
            ));
        }
        let told: u64 = kinds.kept.values().map(|one| one.count).sum();
        if told < kinds.count {
            let more = number(kinds.count - told);
            section.line(format!(
                "  and {more} more for other causes: --json tells each"
            ));
        }
    }
}

/// The remedy, in a few words.
fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::Undecodable => "the sender must write update events",
        Reason::Unroutable => "name a configured target in data.target, or add a route",
        Reason::InvalidChanges => "the sender must write what the API takes",
        Reason::Expired => "too late now; some may have been delivered in time",
        _ => reason.meaning(),
    }
}

fn origins(sheet: &mut Sheet, tally: &PreviewTally) {
    let kinds = &tally.unroutable;
    if kinds.count == 0 {
        return;
    }
    let rows: Vec<Vec<String>> = kinds
        .by_count()
        .into_iter()
        .take(ORIGINS)
        .map(|((source, event_type), one)| {
            let cells = [source, event_type].map(|name| text::name(name, 60));
            let more = [number(one.count), one.first.to_string()];
            cells.into_iter().chain(more).collect()
        })
        .collect();
    let listed: u64 = kinds
        .by_count()
        .iter()
        .take(ORIGINS)
        .map(|(_, one)| one.count)
        .sum();
    let section = sheet.section("unroutable, by source and type");
    section.rows(&["source", "type", ">events", "first"], rows);
    if listed < kinds.count {
        section.line(format!(
            "and {} more of other sources and types",
            number(kinds.count - listed)
        ));
    }
}
