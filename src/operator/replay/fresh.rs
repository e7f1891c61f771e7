//! What was sent just now and is not committed yet, and whether a newer update has come in between.

use std::collections::HashMap;

use crate::kafka::reader::Spot;
use crate::operator::judge::TargetUser;

/// Of each lane the places of what was sent, and what it sets.
#[derive(Default)]
pub(super) struct Fresh<'a>(HashMap<&'a TargetUser, Vec<(Spot, &'a [String])>>);

impl<'a> Fresh<'a> {
    /// This was sent, and stands there.
    pub(super) fn sent(&mut self, lane: &'a TargetUser, place: Spot, parts: &'a [String]) {
        self.0.entry(lane).or_default().push((place, parts));
    }

    /// Whether nothing was sent of which somebody is known to be the user.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an update that stands there, and that no plan has seen, is one that must have its
    /// way: it sets the same, and is not known to come after what was sent.
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
