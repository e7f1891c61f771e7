//! What is measured: a table of loads, each a name and something that is done again and again.
//! Time, instructions and allocations are all taken of the same loads.
#![expect(
    clippy::unwrap_used,
    reason = "a load that cannot be built ends the measurement by panicking"
)]

pub mod engine;
pub mod event;
pub mod ledger;

/// One round of a load: mostly what one event costs.
pub type Round = Box<dyn FnMut()>;

/// A load: built and warmed up by `make`, after which each round costs about the same.
pub struct Load {
    /// What it is called in every report.
    pub name: &'static str,
    /// Builds it.
    pub make: fn() -> Round,
    /// Of so many rounds the mean is taken where it is counted and not timed.
    pub rounds: u32,
}

/// Rounds of which the mean is taken, mostly.
const ROUNDS: u32 = 2000;
/// The same where one round is much work.
const FEW: u32 = 20;

/// Every load.
pub fn all() -> impl Iterator<Item = &'static Load> {
    engine::LOADS
        .iter()
        .chain(event::LOADS)
        .chain(ledger::LOADS)
}
