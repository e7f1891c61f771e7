//! The summary: what came of the events of each target, in a table, and what to look at next.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::demo::Options;
use crate::demo::findings::{self, DemoFindings, SentEvent};
use crate::demo::samples::SUBSCRIBERS;
use crate::model::outcome::Kind;
use engine::verdict::Reason;

/// The table, and below it the dead letters by their reasons.
pub(super) fn table(found: &DemoFindings) -> String {
    let mut table = format!(
        "\n  {:<10} {:>7} {:>10} {:>7} {:>8} {:>13} {:>8} {:>8}\n",
        "target", "events", "delivered", "merged", "retried", "dead letters", "p50", "p99"
    );
    let mut reasons = String::new();
    for subscriber in SUBSCRIBERS {
        let events: Vec<&SentEvent> = findings::of(found, subscriber).collect();
        let ended = |kind| {
            events
                .iter()
                .filter(|event| event.kind() == Some(kind))
                .count()
        };
        let retried = events
            .iter()
            .filter(|event| {
                event
                    .outcomes
                    .first()
                    .is_some_and(|outcome| outcome.data.attempts > 1)
            })
            .count();
        let mut took: Vec<i64> = events
            .iter()
            .filter_map(|event| Some(event.outcomes.first()?.took_ms))
            .collect();
        took.sort_unstable();
        let _ = writeln!(
            table,
            "  {subscriber:<10} {:>7} {:>10} {:>7} {retried:>8} {:>13} {:>8} {:>8}",
            events.len(),
            ended(Kind::Delivered),
            ended(Kind::Merged),
            ended(Kind::DeadLettered),
            percentile(&took, 50),
            percentile(&took, 99),
        );
        let mut counts: BTreeMap<Reason, usize> = BTreeMap::new();
        for reason in events
            .iter()
            .filter_map(|event| event.outcomes.first()?.data.reason)
        {
            *counts.entry(reason).or_default() += 1;
        }
        for (place, (reason, count)) in counts.into_iter().enumerate() {
            let name = if place == 0 { subscriber } else { "" };
            let _ = writeln!(
                reasons,
                "  {name:<10} {count:>7}  {:<19} {}",
                reason.as_str(),
                meaning(reason)
            );
        }
    }
    format!(
        "{table}  p50, p99: from the event's append to its outcome's\n\n  dead letters, by reason\n{reasons}"
    )
}

/// The meaning of a reason, in a few words.
fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::Undecodable => "it is no update event",
        Reason::Unroutable => "no target takes it",
        Reason::InvalidChanges => "its changes are of a wrong type",
        Reason::Rejected => "the API refused it",
        Reason::UserNotFound => "the API has no such user",
        Reason::AttemptsExhausted => "it failed too often, others did not",
        Reason::Expired => "its time was over before it was sent",
        Reason::Protected => "its user is protected",
        Reason::HeldBack => "the guard refused what it takes away",
    }
}

fn percentile(sorted: &[i64], percent: usize) -> String {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    match sorted.get(place) {
        None => "-".to_owned(),
        Some(took) if *took < 1000 => format!("{took} ms"),
        #[expect(clippy::cast_precision_loss, reason = "it is shown with two digits")]
        Some(took) => format!("{:.2} s", *took as f64 / 1000.0),
    }
}

/// Suggestions for next steps.
pub(super) fn closing(options: Options, kept: bool) -> String {
    if !kept {
        return "\nA promise was not kept: please report this with all of the above.".to_owned();
    }
    let first = if options.faults {
        "  user-courier demo --events 20000\n      many more events"
    } else {
        "  user-courier demo --faults\n      the same with an outage and a throttle, and how they heal"
    };
    format!(
        "\nWhat to try next\n{first}\n  \
         user-courier check --config config/user-courier.toml\n      whether your own Kafka and APIs can be reached\n  \
         user-courier run --config config/user-courier.toml\n      the service itself"
    )
}
