//! Lane keys: the small number by which the engine knows a user.

use std::hash::{BuildHasher, RandomState};

use engine::UserKey;

use crate::model::user::UserId;

/// Makes the keys of one subscriber. It remembers no user, so its memory is bounded, and a user has
/// the same key for as long as the process lives, whatever was passed over in between.
///
/// A numbered user's key is the number, which is unique. Any other id has a hash of 63 bits, with a
/// secret of this process so that nobody can aim at one. Two ids with one hash share a lane: their
/// updates wait for each other and keep their order, and they are never merged, since that is
/// decided by the ids.
#[derive(Clone, Debug, Default)]
pub struct LaneKeys<S = RandomState>(S);

impl<S: BuildHasher> LaneKeys<S> {
    /// The key of the user's lane.
    pub fn key(&self, user: &UserId) -> UserKey {
        let number = user.as_number();
        UserKey(number.unwrap_or_else(|| self.0.hash_one(user) | 1 << 63))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_is_a_users_own_and_stays() {
        let keys: LaneKeys = LaneKeys::default();
        let mut seen = HashSet::new();
        for id in (1..=1_000).flat_map(|number| [number.to_string(), format!("user-{number}")]) {
            let user = UserId::text(&id).unwrap();
            let key = keys.key(&user);
            assert!(seen.insert(key), "{id}");
            assert_eq!(keys.key(&user), key);
        }
        let max = UserId::number(i64::MAX as u64).unwrap();
        assert_eq!(keys.key(&max), UserKey(i64::MAX as u64));
    }
}
