//! The API side of a test: waiting for calls, and what must hold for all of them.

use std::collections::BTreeMap;

use stand_in::{Call, StandIn, User};

use crate::harness::kafka::PATIENCE;

/// Waits until so many updates have arrived in all.
pub(crate) async fn wait_for_updates(api: &StandIn, count: u64) {
    let waited = tokio::time::timeout(PATIENCE, api.wait_for(|stats| stats.updates >= count)).await;
    assert!(
        waited.is_ok(),
        "{} of {count} calls after {PATIENCE:?}",
        api.stats().updates
    );
}

/// The calls of each user, in the order of their arrival. Fails if two of one user ever overlapped.
pub(crate) fn calls_by_user(api: &StandIn) -> BTreeMap<u64, Vec<Call>> {
    assert_eq!(api.stats().overlaps, 0, "calls of one user overlapped");
    let mut users: BTreeMap<u64, Vec<Call>> = BTreeMap::new();
    for call in api.calls() {
        users
            .entry(
                call.user
                    .as_ref()
                    .and_then(User::number)
                    .expect("an update has a user"),
            )
            .or_default()
            .push(call);
    }
    users
}
