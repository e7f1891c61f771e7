//! Follow: how the updates end that a replay has sent, as their outcomes come in.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::kafka::reader::Spot;
use crate::model::outcome::{Kind, OutcomeData};

/// Number of replays followed, the latest.
const REPLAYS: usize = 4;
/// Number of endings shown, the latest.
const SHOWN: usize = 20;

/// Replays whose outcomes are awaited.
#[derive(Default)]
pub(super) struct Follows(Mutex<VecDeque<Follow>>);

struct Follow {
    job: String,
    /// The dead letters that may be replayed.
    letters: HashSet<Spot>,
    /// The updates that they became, and that have not ended.
    waiting: HashSet<Spot>,
    sent: usize,
    ended: BTreeMap<&'static str, usize>,
    latest: VecDeque<OutcomeData>,
}

impl Follows {
    /// A replay of these letters begins.
    pub(super) fn begin(&self, job: &str, letters: HashSet<Spot>) {
        let mut follows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let follow = Follow {
            job: job.to_owned(),
            letters,
            waiting: HashSet::new(),
            sent: 0,
            ended: BTreeMap::new(),
            latest: VecDeque::new(),
        };
        follows.push_back(follow);
        if follows.len() > REPLAYS {
            follows.pop_front();
        }
    }

    /// Whether outcomes are of interest.
    pub(super) fn any(&self) -> bool {
        !self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// A letter was settled; if it was replayed, it became the update at `into`.
    pub(super) fn settled(&self, letter: Spot, into: Option<Spot>) {
        for follow in &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            if follow.letters.remove(&letter)
                && let Some(into) = into
            {
                follow.waiting.insert(into);
                follow.sent += 1;
            }
        }
    }

    /// Updates that have ended; those that nobody waits for are left.
    pub(super) fn ended(&self, endings: &mut HashMap<Spot, OutcomeData>) {
        for follow in &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let over: Vec<Spot> = follow
                .waiting
                .iter()
                .filter(|spot| endings.contains_key(spot))
                .copied()
                .collect();
            for spot in over {
                follow.waiting.remove(&spot);
                let Some(ending) = endings.remove(&spot) else {
                    continue;
                };
                *follow.ended.entry(ending.outcome.as_str()).or_default() += 1;
                follow.latest.push_front(ending);
                follow.latest.truncate(SHOWN);
            }
        }
    }

    /// How a replay's updates have ended so far.
    pub(super) fn shown(&self, job: &str) -> Value {
        let follows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(follow) = follows.iter().find(|follow| follow.job == job) else {
            return Value::Null;
        };
        let row = |ending: &OutcomeData| {
            json!({
                "target": ending.target, "user": ending.user.as_ref().map(ToString::to_string), "outcome": ending.outcome.as_str(),
                "reason": ending.reason.map(engine::verdict::Reason::as_str), "finished_at": ending.finished_at,
                "error": ending.error.as_ref().map(|error| &error.message),
            })
        };
        let count = |kind: Kind| follow.ended.get(kind.as_str()).copied().unwrap_or(0);
        json!({
            "sent": follow.sent,
            "waiting": follow.waiting.len(),
            "delivered": count(Kind::Delivered) + count(Kind::Merged),
            "dead": count(Kind::DeadLettered),
            "latest": follow.latest.iter().map(row).collect::<Vec<_>>(),
        })
    }
}
