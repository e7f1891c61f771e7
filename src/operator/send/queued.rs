//! A queued record: why it has not ended yet, as far as that can be known from outside.

use std::time::Instant;

use rdkafka::message::Message;
use serde_json::Value;

use crate::kafka::headers;
use crate::kafka::reader::{Go, Span};
use crate::model::record::Place;
use crate::model::text;
use crate::operator::judge::TargetUser;
use crate::operator::progress::PartitionProgress;
use crate::operator::table::{count, times};
use crate::operator::{Desk, ReadFailure};
use crate::telemetry::metrics::PAUSED;

/// Earlier updates of the user that are remembered.
const AHEAD: usize = 1_000;

/// A record that waits, and the updates before it.
pub(super) struct QueuedRecord<'a> {
    place: &'a Place,
    target: &'a str,
    /// The offsets of the user's updates before it that had not ended.
    ahead: Vec<i64>,
}

impl<'a> QueuedRecord<'a> {
    /// Looks for the user's updates before it, until then at the latest.
    pub(super) fn read(
        desk: &Desk,
        lane: &'a TargetUser,
        place: &'a Place,
        until: Instant,
    ) -> Result<Self, ReadFailure> {
        let mut queued = QueuedRecord {
            place,
            target: &lane.target,
            ahead: Vec::new(),
        };
        let progress = queued.progress(desk)?;
        let log = desk.updates.span(place.partition)?;
        let span = Span {
            from: log.from.max(progress.offset),
            to: place.offset,
            ..log
        };
        desk.updates.scan(&[span], &mut (), |message| {
            let offset = message.offset();
            if progress.is_open(offset) {
                let record = headers::record(&desk.updates.name, message);
                if desk.judge.read(&record).lane.as_ref() == Some(lane) {
                    queued.ahead.push(offset);
                }
            }
            Ok(match queued.ahead.len() < AHEAD && Instant::now() < until {
                true => Go::On,
                false => Go::NextPartition,
            })
        })?;
        Ok(queued)
    }

    /// Why it waits now. `status`: what an instance says of the target, if one answers.
    pub(super) fn words(&self, desk: &Desk, status: Option<Value>) -> Result<String, ReadFailure> {
        let progress = self.progress(desk)?;
        let calls = progress.spent(self.place.offset).calls;
        let ahead = self.ahead.iter().filter(|at| progress.is_open(**at));
        let ahead: Vec<i64> = ahead.copied().collect();
        Ok(why(self.target, self.place, &ahead, calls, status.as_ref()))
    }

    fn progress(&self, desk: &Desk) -> Result<PartitionProgress, ReadFailure> {
        let mut progress = PartitionProgress::of_group(desk, self.target)?;
        let partition = usize::try_from(self.place.partition).ok();
        let known = partition.filter(|partition| *partition < progress.len());
        Ok(known.map_or_else(PartitionProgress::default, |known| {
            progress.swap_remove(known)
        }))
    }
}

fn why(target: &str, place: &Place, ahead: &[i64], calls: u32, status: Option<&Value>) -> String {
    let mut words = Vec::new();
    match status {
        None => words.push(format!(
            "what {target} does is not known, as no instance answers at admin.listen"
        )),
        Some(status) => words.extend(of_target(target, status)),
    }
    if let Some(first) = ahead.first() {
        let first = Place {
            offset: *first,
            ..place.clone()
        };
        words.push(match ahead.len() {
            1 => format!("it waits behind {first}, an update of the same user"),
            more => format!(
                "it waits behind {} updates of the same user, the first at {first}",
                count(more)
            ),
        });
    }
    if calls > 0 {
        words.push(format!("called {} so far", times(calls)));
    }
    match words.is_empty() {
        true => "not called yet, as far as is known".to_owned(),
        false => words.join("; "),
    }
}

/// Why the target makes no calls, if it makes none.
fn of_target(target: &str, status: &Value) -> Option<String> {
    let text = |key: &str| status[key].as_str().unwrap_or_default();
    let (state, cause) = (text("state"), text("cause"));
    if state == "flowing" {
        return None;
    }
    if cause == PAUSED.1 {
        return Some(format!("{target} is paused in its configuration"));
    }
    let error = match text("last_error") {
        "" => String::new(),
        error => format!(": {}", text::name(error, 200)),
    };
    Some(format!("{target} holds ({cause}){error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_told_why_an_update_waits() {
        let place = Place {
            topic: "updates".into(),
            partition: 3,
            offset: 17,
        };
        let flowing = json!({ "state": "flowing", "cause": "none" });
        let holding =
            json!({ "state": "probing", "cause": "unreachable", "last_error": "refused" });
        let paused = json!({ "state": "holding", "cause": "paused" });
        for (ahead, calls, status, words) in [
            (
                &[][..],
                0,
                Some(&flowing),
                "not called yet, as far as is known",
            ),
            (&[], 2, Some(&flowing), "called 2 times so far"),
            (
                &[4, 9],
                0,
                Some(&holding),
                "valt holds (unreachable): refused; it waits behind 2 updates of the same user, \
                 the first at updates/3/4",
            ),
            (
                &[4],
                0,
                Some(&paused),
                "valt is paused in its configuration; it waits behind updates/3/4, \
                 an update of the same user",
            ),
            (
                &[],
                0,
                None,
                "what valt does is not known, as no instance answers at admin.listen",
            ),
        ] {
            assert_eq!(why("valt", &place, ahead, calls, status), words);
        }
    }
}
