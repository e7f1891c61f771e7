//! Lane keys: the small number by which the engine knows a user.

use std::hash::{BuildHasher, RandomState};

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
    pub fn key(&self, user: &UserId) -> Option<engine::UserId> {
        let number = user
            .as_number()
            .unwrap_or_else(|| (self.0.hash_one(user) >> 1).max(1));
        engine::UserId::new(number)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, Hasher};

    use super::*;

    /// Gives all the same hash.
    #[derive(Default)]
    struct Same;

    impl Hasher for Same {
        fn finish(&self) -> u64 {
            u64::MAX
        }

        fn write(&mut self, _: &[u8]) {}
    }

    #[test]
    fn a_key_is_a_users_own_and_stays() {
        let keys: LaneKeys = LaneKeys::default();
        let mut seen = std::collections::HashSet::new();
        for id in (1..=1_000).flat_map(|number| [number.to_string(), format!("user-{number}")]) {
            let user = UserId::text(&id).unwrap();
            let key = keys.key(&user).unwrap();
            assert!(seen.insert(key), "{id}");
            assert_eq!(keys.key(&user), Some(key));
        }
        let max = UserId::number(i64::MAX as u64).unwrap();
        assert_eq!(keys.key(&max).unwrap().get(), i64::MAX as u64);
    }

    #[test]
    fn every_hash_is_a_key() {
        let keys = LaneKeys(BuildHasherDefault::<Same>::default());
        assert!(keys.key(&UserId::text("anna").unwrap()).is_some());
    }
}
