//! Invariants: what the service promises, held against the evidence.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};
use stand_in::User;

use super::broker::Spot;
use super::evidence::{Evidence, Seen};
use crate::dead_letter::DeadLetter;
use crate::outcome::Kind;
use crate::record::{Header, Record};

/// What was found: the promise was kept, or not and where.
pub(super) type Verdict = Result<String, String>;

/// Every promise.
pub(super) fn all(evidence: &Evidence) -> Vec<Verdict> {
    let mut verdicts = vec![one_outcome_each(evidence), in_order(evidence), dead_letters(evidence)];
    verdicts.push(states(evidence));
    verdicts
}

fn one_outcome_each(evidence: &Evidence) -> Verdict {
    let with = |count: fn(usize) -> bool| evidence.events.values().filter(|event| count(event.endings.len())).count();
    let (none, several, strays) = (with(|count| count == 0), with(|count| count > 1), evidence.strays);
    if none + several + strays > 0 {
        return Err(format!("outcomes: {none} events have none, {several} have several, {strays} belong to no event"));
    }
    Ok(format!("exactly one outcome for each of {} events (read_committed)", evidence.events.len()))
}

/// No call for a user may come after a call for one of the user's later events has taken effect, and no two at once.
fn in_order(evidence: &Evidence) -> Verdict {
    let spots: HashMap<&str, Spot> = evidence.events.iter().map(|(spot, event)| (event.outcome_id.as_str(), *spot)).collect();
    let mut count = 0;
    for Seen { target, calls, overlaps, .. } in &evidence.seen {
        let mut reached: HashMap<u64, Spot> = HashMap::new();
        for call in calls {
            let Some(user) = call.user.as_ref().and_then(User::number) else { continue };
            let Some(spot) = call.idempotency_key.as_deref().and_then(|key| spots.get(key)) else {
                return Err(format!("order: {target} was called for user {user} on behalf of no event"));
            };
            if reached.get(&user).is_some_and(|reached| reached > spot) {
                return Err(format!("order: {target} was called for user {user} and offset {} after a later one", spot.1));
            }
            if call.applied {
                reached.insert(user, *spot);
            }
        }
        if *overlaps > 0 {
            return Err(format!("order: {target} was called {overlaps} times for a user whose earlier call was not over"));
        }
        count += calls.len();
    }
    Ok(format!("{count} calls: each user's in the order of the topic, never two at once"))
}

fn dead_letters(evidence: &Evidence) -> Verdict {
    let mut expected: BTreeMap<Spot, &Record> = BTreeMap::new();
    for (spot, event) in &evidence.events {
        if event.kind() == Some(Kind::DeadLettered) {
            expected.insert(*spot, &event.record);
        }
    }
    let count = expected.len();
    for letter in &evidence.dead_letters {
        let Some(said) = DeadLetter::read(&letter.headers) else {
            return Err(format!("dead letters: {} does not say why it is one", letter.place));
        };
        let Some(record) = expected.remove(&(said.origin.partition, said.origin.offset)) else {
            return Err(format!("dead letters: {} has no outcome that says so, or is there twice", said.origin));
        };
        let content = |record: &Record| (record.key.clone(), record.value.clone(), record.timestamp_ms);
        let begins_with = |headers: &[Header]| letter.headers.starts_with(headers);
        if content(letter) != content(record) || !begins_with(&record.headers) {
            return Err(format!("dead letters: {} is not what the record was", said.origin));
        }
    }
    if !expected.is_empty() {
        return Err(format!("dead letters: {} of {count} dead-lettered events are not in the topic", expected.len()));
    }
    Ok(format!("{count} dead letters for {count} dead_lettered outcomes, each byte for byte its record"))
}

/// The delivered changes of each user, one over the other, are what the API has.
fn states(evidence: &Evidence) -> Verdict {
    let mut users = 0;
    for Seen { target, fields, .. } in &evidence.seen {
        let mut folded: HashMap<u64, Map<String, Value>> = HashMap::new();
        for event in evidence.events.values().filter(|event| event.sample.subscriber == *target) {
            if matches!(event.kind(), Some(Kind::Delivered | Kind::Merged)) {
                folded.entry(event.sample.user).or_default().extend(event.sample.changes.clone());
            }
        }
        let everyone = folded.keys().chain(fields.keys());
        let differs = |user: &&u64| folded.get(user) != fields.get(user);
        if let Some(user) = everyone.into_iter().find(differs) {
            return Err(format!("final state: user {user} of {target} is not what the delivered updates add up to"));
        }
        users += folded.len();
    }
    Ok(format!("{users} users at both APIs are what their delivered updates add up to"))
}
