//! Lanes: the updates of chosen users, and which of them are dead. What is read of the topics comes
//! in here; it knows no Kafka.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::kafka::reader::Spot;
use crate::model::outcome::{EventIdentity, Kind};
use crate::operator::chosen::Chosen;
use crate::operator::judge::TargetUser;
use crate::operator::plan::OtherUpdate;

/// The updates of some users.
#[derive(Default)]
pub(super) struct UserUpdates {
    lanes: HashMap<Arc<TargetUser>, Vec<(OtherUpdate, EventHash)>>,
    /// The records that are dead, each with the event that it had: its place may be another
    /// record's by now.
    dead: HashMap<Spot, EventHash>,
}

/// Enough of an event's identity to tell two apart.
pub(super) type EventHash = u64;

pub(super) fn event_hash(event: &EventIdentity) -> EventHash {
    let mut hasher = DefaultHasher::new();
    (&event.id, &event.source).hash(&mut hasher);
    hasher.finish()
}

impl UserUpdates {
    /// From now on this user's updates matter.
    pub(super) fn watch(&mut self, lane: &Arc<TargetUser>) {
        self.lanes.entry(lane.clone()).or_default();
    }

    /// The lane, if it matters.
    pub(super) fn get(&self, lane: &TargetUser) -> Option<&Arc<TargetUser>> {
        self.lanes.get_key_value(lane).map(|(lane, _)| lane)
    }

    /// Adds an update that is on the update topic.
    pub(super) fn add(&mut self, lane: Arc<TargetUser>, other: OtherUpdate, event: EventHash) {
        self.lanes.entry(lane).or_default().push((other, event));
    }

    /// An update has ended. If two records had the same position one after the other, the later one
    /// prevails.
    pub(super) fn ended(&mut self, spot: Spot, kind: Kind, event: &EventIdentity) {
        self.dead.remove(&spot);
        if kind == Kind::DeadLettered {
            self.dead.insert(spot, event_hash(event));
        }
    }

    /// The other updates of the letter's user.
    pub(super) fn others(&self, one: &Chosen) -> Vec<OtherUpdate> {
        // On a topic that was recreated, another record has its position.
        let own = |other: &OtherUpdate| other.at == one.origin && !one.from_before;
        let others = self.of(one).filter(|(other, _)| !own(other));
        others
            .map(|(other, event)| OtherUpdate {
                dead: other.dead || self.dead.get(&other.at) == Some(event),
                ..other.clone()
            })
            .collect()
    }

    /// The partition to which the letter goes back: that of the latest update of its user, or else
    /// its own. Whatever the senders make of a key, the user's next update will stand there too.
    pub(super) fn home(&self, one: &Chosen) -> i32 {
        let latest = self
            .of(one)
            .max_by_key(|(other, _)| other.first.map(|first| (first.written_ms, first.offset)));
        latest.map_or(one.origin.0, |(other, _)| other.at.0)
    }

    fn of(&self, one: &Chosen) -> impl Iterator<Item = &(OtherUpdate, EventHash)> {
        let lane = one.lane.as_ref().and_then(|lane| self.lanes.get(lane));
        lane.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::chosen::tests::{chosen, lane};
    use crate::operator::plan::First;

    fn event(id: &str) -> EventIdentity {
        EventIdentity {
            id: Some(id.to_owned()),
            source: Some("/desk".to_owned()),
            event_type: None,
        }
    }

    fn update(at: Spot, written_ms: i64) -> OtherUpdate {
        OtherUpdate {
            at,
            first: Some(First {
                partition: at.0,
                offset: at.1,
                written_ms: Some(written_ms),
            }),
            parts: vec!["name".to_owned()],
            dead: false,
        }
    }

    /// User 52 with updates at these places, each with the event `partition/offset`.
    fn lanes(updates: &[(Spot, i64)]) -> UserUpdates {
        let mut lanes = UserUpdates::default();
        lanes.watch(&lane(52));
        for (at, written_ms) in updates {
            let hash = event_hash(&event(&format!("{}/{}", at.0, at.1)));
            lanes.add(lane(52), update(*at, *written_ms), hash);
        }
        lanes
    }

    fn places(others: &[OtherUpdate], dead: bool) -> Vec<Spot> {
        let others = others.iter().filter(|other| other.dead == dead);
        others.map(|other| other.at).collect()
    }

    #[test]
    fn a_letter_has_the_updates_of_its_user_but_for_its_own_record() {
        let mut lanes = lanes(&[((0, 7), 1), ((0, 9), 2), ((3, 2), 3)]);
        lanes.add(lane(53), update((0, 8), 1), 0);
        let mut one = chosen(52, (0, 7));
        assert_eq!(places(&lanes.others(&one), false), [(0, 9), (3, 2)]);
        one.from_before = true;
        let all = [(0, 7), (0, 9), (3, 2)];
        assert_eq!(places(&lanes.others(&one), false), all, "it is another's");
        assert_eq!(places(&lanes.others(&chosen(54, (0, 7))), false), []);
        assert!(lanes.get(&lane(53)).is_some() && lanes.get(&lane(54)).is_none());
    }

    #[test]
    fn an_update_is_dead_if_the_last_outcome_of_its_place_says_so_of_its_event() {
        let mut lanes = lanes(&[((0, 7), 1), ((0, 8), 2), ((0, 9), 3)]);
        lanes.ended((0, 7), Kind::DeadLettered, &event("0/7"));
        // Another record stood there before this one.
        lanes.ended((0, 8), Kind::DeadLettered, &event("another"));
        lanes.ended((0, 9), Kind::DeadLettered, &event("0/9"));
        lanes.ended((0, 9), Kind::Delivered, &event("0/9"));
        let others = lanes.others(&chosen(52, (5, 0)));
        assert_eq!(places(&others, true), [(0, 7)]);
    }

    #[test]
    fn a_letter_goes_back_to_the_partition_of_its_users_latest_update() {
        let one = chosen(52, (5, 0));
        assert_eq!(
            lanes(&[((0, 90), 10), ((3, 2), 30), ((1, 99), 20)]).home(&one),
            3
        );
        assert_eq!(lanes(&[((0, 90), 10), ((3, 91), 10)]).home(&one), 3);
        assert_eq!(lanes(&[]).home(&one), 5);
    }
}
