//! Replaying from the page: a plan, a yes, and then what the plan says, by the same code as the
//! command. The log says who did it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tracing::{error, info};

use crate::config::Config;
use crate::console::asked::Wanted;
use crate::console::tail::Tail;
use crate::console::work::{Job, JobState, Yes};
use crate::kafka::reader::Spot;
use crate::model::text;
use crate::operator::choice::{Choice, Mended};
use crate::operator::history::History;
use crate::operator::plan::PlannedAction;
use crate::operator::plan_line::line;
use crate::operator::replay::{self, Pace, Summary};
use crate::operator::tally::Tally;
use crate::operator::{Desk, Letter, ReadFailure};

/// Letters of each action shown of a plan, at most.
const SHOWN: usize = 50;
/// The bytes of a name or a filter in the log.
const WORDS: usize = 400;

/// The dependencies of a replay.
pub(super) struct Replayer {
    pub(super) config: Arc<Config>,
    pub(super) tail: Arc<Tail>,
    /// A replay is under way: a second one would take its right away.
    pub(super) busy: Arc<AtomicBool>,
}

impl Replayer {
    /// Makes the plan, and carries it out if somebody says yes.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub(super) fn run(
        &self,
        job: &Job,
        wanted: &Wanted,
        force: bool,
    ) -> Result<Value, ReadFailure> {
        let desk = Desk::open(&self.config)?;
        let mut watch = &job.progress;
        let mut choice = match wanted {
            Wanted::All(filter) => Choice::by_filter(&desk, filter, &mut watch)?,
            Wanted::These(spots) => {
                let mut found = desk.letters.fetch(spots.iter().copied())?;
                let letters: Vec<_> = spots
                    .iter()
                    .filter_map(|spot| Letter::read(found.remove(spot)?))
                    .collect();
                Choice::of(&desk, &letters, &Mended::new())?
            }
        };
        let mut history = choice.history(&desk, &mut watch)?;
        choice.without_settled(&history);
        let (tally, plan) = planned(&desk, &history, &choice, force);
        let Some(yes) = job.ask(plan.clone()) else {
            return Ok(json!({ "given_up": true }));
        };
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(ReadFailure::Other(anyhow::anyhow!(
                "another replay of this console is under way: wait for its end, and make the plan again"
            )));
        }
        let _free = Free(&self.busy);
        job.set(JobState::Replaying(plan));
        self.tail
            .follows
            .begin(&job.id, choice.letters.iter().map(|one| one.spot).collect());
        let mut summary = Summary::default();
        let who = Author {
            yes: &yes,
            wanted: self.words(wanted, force),
        };
        who.log_begin(&tally);
        let pace = Pace {
            force,
            rate: yes.rate,
            stop: &|| job.is_stopped(),
        };
        let done = replay::run(
            &desk,
            &mut history,
            &choice.letters,
            &Mended::new(),
            pace,
            &mut watch,
            &mut summary,
        );
        who.log_end(&summary, done.as_ref().err());
        let mut told = told(&desk, &summary, choice.letters.len());
        if let Err(failure) = done {
            told["failure"] = failure.to_string().into();
        }
        Ok(told)
    }

    fn words(&self, wanted: &Wanted, force: bool) -> String {
        let words = match wanted {
            Wanted::All(filter) => filter.words(),
            Wanted::These(spots) => {
                let topic = &self.config.kafka.topics.dead_letters;
                spots
                    .iter()
                    .map(|(partition, offset)| format!("{topic}/{partition}/{offset}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
        };
        text::name(
            &format!("{}{words}", if force { "forced: " } else { "" }),
            WORDS,
        )
    }
}

/// Whatever ends the replay, the next may begin.
struct Free<'a>(&'a AtomicBool);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn planned(desk: &Desk, history: &History<'_>, choice: &Choice, force: bool) -> (Tally, Value) {
    let mut tally = Tally::default();
    let mut steps: Vec<Value> = Vec::new();
    for one in &choice.letters {
        let step = history.step(one, force);
        tally.add(one, step.action);
        if tally.of(step.action) <= SHOWN {
            steps.push(line(desk, one, &step));
        }
    }
    let rows: Vec<_> = tally
        .counts
        .iter()
        .map(|((target, reason), counts)| {
            let count = |action: PlannedAction| counts.get(&action).copied().unwrap_or(0);
            json!({ "target": target, "reason": reason, "counts": PlannedAction::ALL.map(count) })
        })
        .collect();
    let plan = json!({ "total": choice.letters.len(), "sums": PlannedAction::ALL.map(|action| tally.of(action)), "rows": rows, "steps": steps });
    (tally, plan)
}

fn told(desk: &Desk, summary: &Summary, total: usize) -> Value {
    let sums = PlannedAction::ALL.map(|action| summary.counts.get(&action).copied().unwrap_or(0));
    let place = |(partition, offset): Spot| format!("{}/{partition}/{offset}", desk.letters.name);
    json!({
        "sums": sums,
        "refused": summary.refused.iter().map(|(spot, why)| json!({ "place": place(*spot), "why": why })).collect::<Vec<_>>(),
        "elsewhere": summary.settled_elsewhere,
        "left": total - (sums.iter().sum::<usize>() + summary.settled_elsewhere).min(total),
        "stopped": summary.stopped,
    })
}

/// The author and subject of a replay, for the log.
struct Author<'a> {
    yes: &'a Yes,
    wanted: String,
}

impl Author<'_> {
    fn log_begin(&self, tally: &Tally) {
        let [send, trim, supersede, refuse] = PlannedAction::ALL.map(|action| tally.of(action));
        let Yes {
            operator,
            peer,
            rate,
        } = self.yes;
        info!(
            operator,
            peer,
            wanted = self.wanted,
            rate,
            send,
            trim,
            supersede,
            refuse,
            "a replay begins, asked for by the console"
        );
    }

    fn log_end(&self, summary: &Summary, failure: Option<&ReadFailure>) {
        let [sent, trimmed, superseded, refused] =
            PlannedAction::ALL.map(|action| summary.counts.get(&action).copied().unwrap_or(0));
        let Yes { operator, peer, .. } = self.yes;
        let (wanted, stopped) = (&self.wanted, summary.stopped);
        match failure {
            None => info!(
                operator,
                peer, wanted, sent, trimmed, superseded, refused, stopped, "the replay has ended"
            ),
            Some(failure) => {
                let error = failure.to_string();
                error!(
                    operator,
                    peer,
                    wanted,
                    sent,
                    trimmed,
                    superseded,
                    refused,
                    error,
                    "the replay has broken off"
                );
            }
        }
    }
}
