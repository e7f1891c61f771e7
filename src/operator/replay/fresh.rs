//! Updates that were sent just now and are not committed yet, and whether a newer update has come
//! in between.

use std::collections::HashMap;

use crate::kafka::reader::Spot;
use crate::operator::judge::TargetUser;

/// The positions of the updates sent, and the parts that each sets, by lane.
#[derive(Default)]
pub(super) struct Fresh<'a>(HashMap<&'a TargetUser, Vec<(Spot, &'a [String])>>);

impl<'a> Fresh<'a> {
    /// An update was sent and has that position.
    pub(super) fn sent(&mut self, lane: &'a TargetUser, place: Spot, parts: &'a [String]) {
        self.0.entry(lane).or_default().push((place, parts));
    }

    /// Whether no update was sent whose user is known.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an update at `here`, which no plan has seen, must prevail: it sets the same parts,
    /// and is not known to come after the updates sent.
    pub(super) fn is_overtaken(&self, lane: &TargetUser, here: Spot, parts: &[String]) -> bool {
        let sent = self.0.get(lane);
        sent.into_iter().flatten().any(|(place, sent)| {
            // In another partition the offset says nothing.
            (place.0 != here.0 || here.1 < place.1) && sent.iter().any(|part| parts.contains(part))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::chosen::tests::lane;

    #[test]
    fn an_update_of_the_same_user_and_field_that_came_before_it_overtakes_what_was_sent() {
        let (one, other) = (lane(52), lane(53));
        let (name, rooms) = (["name".to_owned()], ["rooms".to_owned()]);
        let mut fresh = Fresh::default();
        assert!(fresh.is_empty());
        fresh.sent(&one, (0, 10), &name);
        fresh.sent(&one, (0, 20), &rooms);
        assert!(!fresh.is_empty());
        assert!(fresh.is_overtaken(&one, (0, 9), &name));
        assert!(!fresh.is_overtaken(&one, (0, 11), &name), "it comes after");
        assert!(fresh.is_overtaken(&one, (0, 11), &rooms));
        assert!(
            fresh.is_overtaken(&one, (3, 99), &name),
            "in another partition"
        );
        assert!(!fresh.is_overtaken(&one, (0, 9), &["card".to_owned()]));
        assert!(!fresh.is_overtaken(&other, (0, 9), &name));
    }
}
