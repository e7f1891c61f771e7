//! Status: what each subscriber last said of itself, for `/status`, `/readyz` and `/livez`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

/// A subscriber that has shown no sign of life for so long is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// What a target does, as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct TargetStatus {
    /// `flowing`, `holding`, `probing`.
    pub state: &'static str,
    /// `none`, `unreachable`, `unauthorized`, `fault`, `throttled`.
    pub cause: &'static str,
    /// Since when it flows, or does not.
    pub since: Timestamp,
    /// When one call will try again, while it holds.
    pub next_probe_at: Option<Timestamp>,
    /// Records not settled, over all partitions of this process.
    pub lag: i64,
    /// Calls under way.
    pub in_flight: usize,
    /// Records that wait for a call.
    pub waiting: usize,
    /// Calls that may be under way.
    pub concurrency_limit: usize,
    /// Why the last attempt that failed did so. Bears no secret.
    pub last_error: Option<String>,
}

#[derive(Debug, Default)]
struct Seat {
    status: Option<TargetStatus>,
    joined: bool,
    alive_at: Option<Instant>,
}

/// Where every subscriber shows its status.
#[derive(Clone, Debug)]
pub struct Board {
    instance_id: Arc<str>,
    seats: Arc<Mutex<BTreeMap<String, Seat>>>,
}

#[derive(Serialize)]
struct Page<'a> {
    version: &'static str,
    instance_id: &'a str,
    targets: BTreeMap<&'a str, &'a TargetStatus>,
}

impl Board {
    /// A board with a seat for each subscriber that is to run.
    pub fn new(instance_id: &str, subscribers: &[String]) -> Self {
        let seats = subscribers.iter().map(|name| (name.clone(), Seat::default())).collect();
        Board { instance_id: instance_id.into(), seats: Arc::new(Mutex::new(seats)) }
    }

    /// A subscriber's loop runs and says what its target does. `polled`: its consumer was polled since it last did so.
    pub fn show(&self, subscriber: &str, status: TargetStatus, joined: bool, polled: bool) {
        if let Ok(mut seats) = self.seats.lock()
            && let Some(seat) = seats.get_mut(subscriber)
        {
            seat.status = Some(status);
            seat.joined = joined;
            if polled {
                seat.alive_at = Some(Instant::now());
            }
        }
    }

    /// A subscriber has ended and will begin anew: it has to join its group again.
    pub fn left(&self, subscriber: &str) {
        if let Ok(mut seats) = self.seats.lock()
            && let Some(seat) = seats.get_mut(subscriber)
        {
            seat.joined = false;
        }
    }

    /// Those that have not joined their group yet.
    pub fn not_joined(&self) -> Vec<String> {
        self.names(|seat| !seat.joined)
    }

    /// Those that are stuck. One that has not begun yet, for want of a broker, is not.
    pub fn stuck(&self) -> Vec<String> {
        self.names(|seat| seat.alive_at.is_some_and(|alive_at| alive_at.elapsed() > STUCK))
    }

    fn names(&self, wanted: impl Fn(&Seat) -> bool) -> Vec<String> {
        let Ok(seats) = self.seats.lock() else { return Vec::new() };
        seats.iter().filter(|(_, seat)| wanted(seat)).map(|(name, _)| name.clone()).collect()
    }

    /// The page `/status`.
    pub fn page(&self) -> String {
        let Ok(seats) = self.seats.lock() else { return String::new() };
        let targets = seats.iter().filter_map(|(name, seat)| Some((name.as_str(), seat.status.as_ref()?))).collect();
        let page = Page { version: env!("CARGO_PKG_VERSION"), instance_id: &self.instance_id, targets };
        serde_json::to_string_pretty(&page).unwrap_or_default()
    }
}
