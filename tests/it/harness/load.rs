//! A load: updates that flow while something goes wrong, and what must hold for them whatever it
//! was.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::harness::api::{calls_by_user, wait_for_updates};
use crate::harness::bench::Bench;
use crate::harness::kafka::Place;
use crate::harness::outcome::Outcome;
use crate::harness::update::Update;

/// How many users a load updates.
pub(crate) const USERS: u64 = 200;
/// How many calls may be in flight.
const CONCURRENCY: u32 = 10;

/// Rounds of updates, one of each user in each. Each says which round it is of.
#[derive(Default)]
pub(crate) struct Load {
    /// In the order of writing: the rounds one after the other, in each the users from 1.
    places: Vec<Place>,
}

impl Load {
    /// No updates yet; sets the bench up so that a round lasts 200 ms at least.
    pub(crate) fn new(bench: &mut Bench) -> Self {
        // Each update is then a call of its own.
        bench.set("targets.valt.delivery.merge", false);
        bench.set("targets.valt.delivery.max_concurrency", CONCURRENCY);
        for target in ["aipix", "valt"] {
            bench.set(&format!("targets.{target}.delivery.request_timeout"), "2s");
        }
        bench
            .valt
            .set(|settings| settings.latency = Duration::from_millis(10));
        Load::default()
    }

    /// Writes more rounds, and waits until so many more calls have arrived.
    pub(crate) async fn flow(&mut self, bench: &Bench, rounds: u64, calls: u64) {
        let arrived = bench.valt.stats().updates;
        for _ in 0..rounds {
            let round = self.rounds().to_string();
            let updates: Vec<_> = (1..=USERS).map(|user| Update::valt(user, &round)).collect();
            self.places.extend(bench.send(&updates));
        }
        wait_for_updates(&bench.valt, arrived + calls).await;
    }

    /// How many rounds were written.
    fn rounds(&self) -> usize {
        self.places.len() / usize::try_from(USERS).unwrap()
    }

    /// Waits until every update has its outcome, and checks what must hold. `crashes` is how often
    /// an instance was ended without having been able to settle. Returns how many calls were made
    /// besides the one that each update needs.
    #[track_caller]
    pub(crate) fn check(&self, bench: &mut Bench, crashes: usize) -> usize {
        let outcomes = bench.outcomes_of(&self.places);
        assert!(
            outcomes
                .iter()
                .all(|outcome| outcome.ending() == "delivered")
        );
        assert!(bench.dead_letters(0).is_empty());
        let numbers: HashMap<_, _> = outcomes
            .iter()
            .enumerate()
            .map(|(number, outcome)| (outcome.id.to_string(), number))
            .collect();
        let users = calls_by_user(&bench.valt);
        for (user, calls) in &users {
            let (mut applied, mut previous, mut back) = (0, None, 0);
            for call in calls {
                let number = numbers[call.idempotency_key.as_ref().expect("a call has a key")];
                let round = number / usize::try_from(USERS).unwrap();
                assert_eq!(
                    call.body["display_name"],
                    round.to_string(),
                    "the key is that of the update"
                );
                assert!(
                    round <= applied,
                    "user {user}: round {round} was called when only those below {applied} had been applied"
                );
                let Outcome { data, .. } = &outcomes[number];
                let ended = data.finished_at.as_millisecond();
                assert!(
                    call.at.as_millisecond() <= ended,
                    "user {user}: round {round} was called when it was settled already"
                );
                back += usize::from(previous.is_some_and(|previous| round <= previous));
                previous = Some(round);
                if call.applied {
                    applied = applied.max(round + 1);
                }
            }
            assert!(
                back <= crashes,
                "user {user}: calls went back {back} times, with {crashes} crashes"
            );
            let last = (self.rounds() - 1).to_string();
            assert_eq!(
                (applied, previous),
                (self.rounds(), Some(self.rounds() - 1)),
                "user {user}"
            );
            assert_eq!(
                bench.valt.fields(*user).unwrap()["display_name"],
                json!(last)
            );
        }
        users.values().map(Vec::len).sum::<usize>() - self.places.len()
    }

    /// How long after `since` the slowest partition was called again by an instance other than the
    /// one that was gone at `gone`: the partition's first call later than that. Every partition
    /// must have one.
    #[track_caller]
    pub(crate) fn takeover(
        &self,
        bench: &mut Bench,
        since: Timestamp,
        gone: Timestamp,
    ) -> Duration {
        let partitions: HashMap<_, _> = bench
            .outcomes_of(&self.places)
            .iter()
            .map(|outcome| (outcome.id.to_string(), outcome.data.record.partition))
            .collect();
        let mut first: BTreeMap<i32, Timestamp> = BTreeMap::new();
        for call in bench.valt.calls().into_iter().filter(|call| call.at > gone) {
            first
                .entry(partitions[&call.idempotency_key.unwrap()])
                .or_insert(call.at);
        }
        let all: BTreeSet<_> = partitions.values().collect();
        assert_eq!(
            first.keys().collect::<BTreeSet<_>>(),
            all,
            "there was work left on every partition"
        );
        first
            .values()
            .max()
            .unwrap()
            .duration_since(since)
            .unsigned_abs()
    }
}
