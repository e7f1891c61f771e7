//! Now: what every target does, over all instances, and how it went in the last minutes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Config, UNCLAIMED};
use crate::console::exposition::Histogram;
use crate::console::instances::{self, Grown, Instance, Seen};
use crate::model::outcome::timestamp;

/// How often the instances are asked.
const PERIOD: Duration = Duration::from_secs(1);
/// Number of samples kept: ten minutes.
const KEPT: usize = 600;
/// Number of samples in a quantile, since one second may have seen only a few calls.
const WINDOW: usize = 10;

/// The latest state of the group.
pub(super) struct Now(Mutex<GroupSeen>);

struct GroupSeen {
    instances: Vec<Instance>,
    targets: Vec<TargetSeen>,
    looked_at: Option<Timestamp>,
}

struct TargetSeen {
    name: String,
    api: Option<&'static str>,
    samples: VecDeque<Look>,
    calls: VecDeque<Histogram>,
    deliveries: VecDeque<Histogram>,
}

/// One look at a target.
struct Look {
    /// In seconds since 1970: it tells the page what it has seen already.
    at: i64,
    /// Updates delivered each second; `None` if it is unknown.
    rate: Option<f64>,
    dead: f64,
    call_p99: Option<f64>,
    delivery_p99: Option<f64>,
    lag: i64,
    state: Option<String>,
}

impl Now {
    /// Nothing is known yet.
    pub(super) fn new(config: &Config) -> Self {
        let target = |name: &str, api| TargetSeen {
            name: name.to_owned(),
            api,
            samples: VecDeque::new(),
            calls: VecDeque::new(),
            deliveries: VecDeque::new(),
        };
        let targets = config
            .targets
            .iter()
            .map(|one| target(&one.name, Some(one.api.name)))
            .chain([target(UNCLAIMED, None)]);
        let instances = config.console.instances.iter().cloned().map(Instance::new);
        Now(Mutex::new(GroupSeen {
            instances: instances.collect(),
            targets: targets.collect(),
            looked_at: None,
        }))
    }

    /// Asks the instances again and again.
    pub(super) async fn watch(&self) {
        let client = instances::client();
        let mut looks = interval(PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let urls: Vec<_> = self
                .group()
                .instances
                .iter()
                .map(|instance| instance.url().clone())
                .collect();
            let answers = join_all(urls.iter().map(|url| instances::ask(&client, url))).await;
            self.group().take(answers);
        }
    }

    /// The data for the page, with the samples after that second only.
    pub(super) fn page(&self, after: i64) -> Value {
        let group = self.group();
        json!({
            "now": timestamp(Timestamp::now()),
            "looked": group.looked_at.is_some(),
            "kept": KEPT,
            "instances": group.instances.iter().map(Instance::shown).collect::<Vec<_>>(),
            "targets": group.targets.iter().map(|target| group.card(target, after)).collect::<Vec<_>>(),
        })
    }

    /// The instances that are without Kafka, and whether any other answers.
    pub(super) fn stranded(&self) -> (Value, bool) {
        let group = self.group();
        let stranded: Vec<_> = group
            .instances
            .iter()
            .filter_map(Instance::stranded)
            .collect();
        let others = group.instances.iter().filter(|one| one.answers()).count() > stranded.len();
        (json!(stranded), others)
    }

    /// The targets that do not flow, the worst first, and why.
    pub(super) fn troubles(&self) -> Value {
        let group = self.group();
        let mut found: Vec<_> = group
            .targets
            .iter()
            .filter_map(|TargetSeen { name, .. }| {
                let (_, worst) = worst(&group.seen(name))?;
                let stranded = group.stranded(name).is_some();
                let state = if stranded { "failed" } else { &worst.state };
                (state != "flowing")
                    .then(|| json!({ "name": name, "state": state, "cause": worst.cause }))
            })
            .collect();
        let order = ["failed", "holding", "probing"];
        found.sort_by_key(|one| order.iter().position(|state| one["state"] == *state));
        json!(found)
    }

    /// The worst instance's id, and its report on a target.
    pub(super) fn state(&self, target: &str) -> Option<(String, Value)> {
        let group = self.group();
        let (id, seen) = worst(&group.seen(target))?;
        Some((id.to_owned(), serde_json::to_value(seen).ok()?))
    }

    fn group(&self) -> std::sync::MutexGuard<'_, GroupSeen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupSeen {
    fn take(&mut self, answers: Vec<instances::Answer>) {
        let now = Timestamp::now();
        self.looked_at = Some(now);
        let grown: Vec<_> = self
            .instances
            .iter_mut()
            .zip(answers)
            .map(|(instance, answer)| instance.take(answer))
            .collect();
        for at in 0..self.targets.len() {
            let (state, lag) = {
                let name = &self.targets[at].name;
                let seen = self.seen(name);
                let state = worst(&seen).map(|(_, seen)| seen.state.clone());
                let state = if self.stranded(name).is_some() {
                    Some("failed".to_owned())
                } else {
                    state
                };
                (state, seen.iter().map(|(_, seen)| seen.lag).sum())
            };
            self.targets[at].take(now.as_second(), &grown, state, lag);
        }
    }

    /// Reports on a target by the instances that answer.
    fn seen(&self, name: &str) -> Vec<(&str, &Seen)> {
        self.instances
            .iter()
            .filter_map(|instance| instance.target(name))
            .collect()
    }

    /// Since when a target is without Kafka on every instance that runs it, if it is.
    fn stranded(&self, name: &str) -> Option<Timestamp> {
        let instances = self
            .instances
            .iter()
            .filter(|instance| instance.target(name).is_some());
        let since: Option<Vec<_>> = instances
            .map(|instance| instance.stranded_for(name))
            .collect();
        since?.into_iter().min()
    }

    /// The age of the oldest update that a target has not settled, in seconds.
    fn oldest(&self, name: &str) -> Option<f64> {
        let ages = self.instances.iter().filter_map(|one| one.oldest(name));
        ages.max_by(f64::total_cmp)
    }

    fn card(&self, target: &TargetSeen, after: i64) -> Value {
        let seen = self.seen(&target.name);
        let worst = worst(&seen).map(|(_, seen)| seen);
        let sum = |of: fn(&Seen) -> u64| seen.iter().map(|(_, seen)| of(seen)).sum::<u64>();
        // Among the instances in the worst state: when the first of them entered it, and when the
        // next of them probes.
        let alike = || {
            seen.iter()
                .filter(|(_, seen)| worst.is_some_and(|worst| worst.state == seen.state))
                .map(|(_, seen)| seen)
        };
        let lag: i64 = seen.iter().map(|(_, seen)| seen.lag).sum();
        json!({
            "name": target.name,
            "api": target.api,
            "state": worst.map(|worst| &worst.state),
            "without_kafka_since": self.stranded(&target.name).map(timestamp),
            "cause": worst.map(|worst| &worst.cause),
            "since": alike().map(|seen| seen.since).min().map(timestamp),
            "next_probe_at": alike().filter_map(|seen| seen.next_probe_at).min().map(timestamp),
            "last_error": worst.and_then(Seen::last_error),
            "lag": (!seen.is_empty()).then_some(lag),
            "partitions": (!seen.is_empty()).then(|| self.instances.iter().filter_map(|one| one.partitions(&target.name)).sum::<u32>()),
            "waiting": (!seen.is_empty()).then(|| sum(|seen| seen.waiting)),
            "oldest_seconds": self.oldest(&target.name),
            "in_flight": (!seen.is_empty()).then(|| sum(|seen| seen.in_flight)),
            "limit": (!seen.is_empty()).then(|| sum(|seen| seen.concurrency_limit)),
            "instances": seen.iter().map(|(id, seen)| json!({ "id": id, "state": seen.state, "cause": seen.cause })).collect::<Vec<_>>(),
            "samples": target.samples.iter().filter(|sample| sample.at > after).map(Look::row).collect::<Vec<_>>(),
        })
    }
}

/// The one in the worst state.
fn worst<'a>(seen: &[(&'a str, &'a Seen)]) -> Option<(&'a str, &'a Seen)> {
    let badness = |state: &str| {
        ["flowing", "probing", "holding"]
            .iter()
            .position(|known| *known == state)
    };
    seen.iter()
        .copied()
        .max_by_key(|(_, seen)| (badness(&seen.state), std::cmp::Reverse(seen.since)))
}

impl TargetSeen {
    fn take(
        &mut self,
        at: i64,
        grown: &[BTreeMap<String, Grown>],
        state: Option<String>,
        lag: i64,
    ) {
        let grown: Vec<&Grown> = grown.iter().filter_map(|of| of.get(&self.name)).collect();
        let sum = |of: fn(&Grown) -> f64| grown.iter().map(|grown| of(grown)).sum::<f64>();
        let sample = Look {
            at,
            rate: (!grown.is_empty())
                .then(|| sum(|grown| grown.counts.delivered / grown.seconds.max(0.001))),
            dead: sum(|grown| grown.counts.dead),
            call_p99: p99(
                &mut self.calls,
                grown.iter().map(|grown| &grown.counts.calls),
            ),
            delivery_p99: p99(
                &mut self.deliveries,
                grown.iter().map(|grown| &grown.counts.deliveries),
            ),
            lag,
            state,
        };
        self.samples.push_back(sample);
        if self.samples.len() > KEPT {
            self.samples.pop_front();
        }
    }
}

fn p99<'a>(
    window: &mut VecDeque<Histogram>,
    grown: impl Iterator<Item = &'a Histogram>,
) -> Option<f64> {
    let add = |mut sum: Histogram, one: &Histogram| {
        sum.add(one);
        sum
    };
    window.push_back(grown.fold(Histogram::default(), add));
    if window.len() > WINDOW {
        window.pop_front();
    }
    window.iter().fold(Histogram::default(), add).quantile(0.99)
}

impl Look {
    /// A short form, since there are hundreds: second, rate, dead letters, p99 of calls, p99 of
    /// deliveries, lag, state.
    fn row(&self) -> Value {
        let round = |value: Option<f64>| value.map(|value| (value * 1e4).round() / 1e4);
        json!([
            self.at,
            round(self.rate),
            self.dead,
            round(self.call_p99),
            round(self.delivery_p99),
            self.lag,
            self.state
        ])
    }
}
