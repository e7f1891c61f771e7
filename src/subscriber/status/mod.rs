//! Status: what each subscriber last said of itself, for `/status`, `/readyz` and `/livez`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{Timestamp, Unit};
use serde::Serialize;

use crate::kafka::MembershipView;

/// A subscriber that has shown no sign of life for so long is stuck.
const STUCK: Duration = Duration::from_secs(60);
/// A subscriber that has been without Kafka for so long is not ready.
const UNREADY: Duration = Duration::from_secs(30);

/// What a target does, as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct TargetStatus {
    /// `flowing`, `holding`, `probing`.
    pub state: &'static str,
    /// `none`, `unreachable`, `unauthorized`, `fault`, `throttled`, `paused`.
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
    /// The update topic does not exist: the subscriber is not ready.
    #[serde(skip)]
    pub topic_missing: bool,
}

/// How Kafka is for this process, as `/status` shows it.
#[derive(Serialize)]
struct KafkaStatus {
    /// `up`: every subscriber is in its group, and the brokers answer. Else `down`.
    state: &'static str,
    /// Since when. While it is down: since when there is no sign of it.
    since: Timestamp,
    /// What a client reported last. Bears no secret.
    last_error: Option<String>,
}

#[derive(Debug)]
struct Seat {
    status: Option<TargetStatus>,
    kafka: MembershipView,
    /// Since when Kafka is as it is.
    kafka_since: Timestamp,
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
    kafka: KafkaStatus,
    targets: BTreeMap<&'a str, &'a TargetStatus>,
}

impl Board {
    /// A board with a seat for each subscriber that is to run.
    pub fn new(instance_id: &str, subscribers: &[String]) -> Self {
        let seat = || Seat {
            status: None,
            kafka: MembershipView::default(),
            kafka_since: Timestamp::now(),
            alive_at: None,
        };
        let seats = subscribers
            .iter()
            .map(|name| (name.clone(), seat()))
            .collect();
        Board {
            instance_id: instance_id.into(),
            seats: Arc::new(Mutex::new(seats)),
        }
    }

    /// A subscriber's loop runs and says what its target and its Kafka do. `alive`: its consumer
    /// has shown a sign of life since it last did so.
    pub fn show(&self, subscriber: &str, status: TargetStatus, kafka: MembershipView, alive: bool) {
        if let Ok(mut seats) = self.seats.lock()
            && let Some(seat) = seats.get_mut(subscriber)
        {
            seat.status = Some(status);
            seat.see(kafka);
            if alive {
                seat.alive_at = Some(Instant::now());
            }
        }
    }

    /// No subscriber has begun, since Kafka cannot be reached.
    pub fn unreachable(&self, why: &str) {
        if let Ok(mut seats) = self.seats.lock() {
            let report = Some((Instant::now(), why.to_owned()));
            seats
                .values_mut()
                .for_each(|seat| seat.kafka.report.clone_from(&report));
        }
    }

    /// A subscriber has ended and will begin anew: it has to join its group again.
    pub fn left(&self, subscriber: &str) {
        if let Ok(mut seats) = self.seats.lock()
            && let Some(seat) = seats.get_mut(subscriber)
        {
            let report = seat.kafka.report.take();
            seat.see(MembershipView {
                report,
                ..MembershipView::default()
            });
        }
    }

    /// Those that are not ready, each with the reason.
    pub fn not_ready(&self) -> Vec<String> {
        let Ok(seats) = self.seats.lock() else {
            return Vec::new();
        };
        let reason =
            |(name, seat): (&String, &Seat)| match seat.kafka.proven.map(|proven| proven.elapsed())
            {
                None => Some(format!("{name} has not joined its group")),
                Some(silence) if silence >= UNREADY => Some(format!(
                    "{name} is without Kafka for {} s",
                    silence.as_secs()
                )),
                Some(_)
                    if seat
                        .status
                        .as_ref()
                        .is_some_and(|status| status.topic_missing) =>
                {
                    Some(format!(
                        "{name} has nothing to read: the update topic does not exist"
                    ))
                }
                Some(_) => None,
            };
        seats.iter().filter_map(reason).collect()
    }

    /// Those that are stuck. One that has not begun yet, for want of a broker, is not.
    pub fn stuck(&self) -> Vec<String> {
        let Ok(seats) = self.seats.lock() else {
            return Vec::new();
        };
        let is_stuck = |seat: &Seat| {
            seat.alive_at
                .is_some_and(|alive_at| alive_at.elapsed() > STUCK)
        };
        seats
            .iter()
            .filter(|(_, seat)| is_stuck(seat))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The page `/status`.
    pub fn page(&self) -> String {
        let Ok(seats) = self.seats.lock() else {
            return String::new();
        };
        let targets = seats
            .iter()
            .filter_map(|(name, seat)| Some((name.as_str(), seat.status.as_ref()?)))
            .collect();
        let page = Page {
            version: env!("CARGO_PKG_VERSION"),
            instance_id: &self.instance_id,
            kafka: kafka(&seats),
            targets,
        };
        serde_json::to_string_pretty(&page).unwrap_or_default()
    }
}

impl Seat {
    fn see(&mut self, kafka: MembershipView) {
        if kafka.up != self.kafka.up {
            let silence = kafka
                .proven
                .filter(|_| !kafka.up)
                .map(|proven| proven.elapsed())
                .unwrap_or_default();
            let now = Timestamp::now();
            let since = now
                .checked_sub(silence)
                .and_then(|since| since.round(Unit::Millisecond));
            self.kafka_since = since.unwrap_or(now);
        }
        self.kafka = kafka;
    }
}

/// How Kafka is for all subscribers together: it is up when it is for each of them.
fn kafka(seats: &BTreeMap<String, Seat>) -> KafkaStatus {
    let down = || seats.values().filter(|seat| !seat.kafka.up);
    let since = down()
        .map(|seat| seat.kafka_since)
        .min()
        .or_else(|| seats.values().map(|seat| seat.kafka_since).max());
    let latest = |reports: &mut dyn Iterator<Item = &Seat>| {
        reports
            .filter_map(|seat| seat.kafka.report.as_ref())
            .max_by_key(|(at, _)| *at)
            .map(|(_, words)| words.clone())
    };
    KafkaStatus {
        state: if down().next().is_some() {
            "down"
        } else {
            "up"
        },
        since: since.unwrap_or_default(),
        last_error: latest(&mut down()).or_else(|| latest(&mut seats.values())),
    }
}

#[cfg(test)]
mod tests;
