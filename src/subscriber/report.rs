//! Reports: what a subscriber shows of itself in metrics, status and log, and what it finds odd.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Unit};
use tracing::{debug, info, warn};

use super::Subscriber;
use crate::engine::{Cause, State};
use crate::event::UserId;
use crate::metrics::names;
use crate::status::TargetStatus;

/// A partition whose lowest unsettled offset stands still for so long, while its target flows, is named in the log; and again after as long.
const STALL: Duration = Duration::from_secs(120);

/// Watches each partition's lowest unsettled offset.
#[derive(Debug, Default)]
pub(super) struct Stalls(HashMap<i32, Standing>);

#[derive(Debug)]
struct Standing {
    offset: i64,
    since: Instant,
    told: Instant,
}

impl Stalls {
    /// Looks at a partition; `waits`: something waits there that could be called. Returns for how long it has stood still, when that is to be told.
    fn look(&mut self, partition: i32, offset: i64, waits: bool, now: Instant) -> Option<Duration> {
        let standing = self.0.entry(partition).or_insert(Standing { offset, since: now, told: now });
        if standing.offset != offset || !waits {
            *standing = Standing { offset, since: now, told: now };
        }
        let tell = now.saturating_duration_since(standing.told) >= STALL;
        tell.then(|| {
            standing.told = now;
            now.saturating_duration_since(standing.since)
        })
    }
}

/// The time of day of a moment, worked out once for each: two looks at the same moment tell the same time.
#[derive(Debug, Default)]
pub(super) struct TimeOfDay(Option<(Instant, Timestamp)>);

impl TimeOfDay {
    fn of(&mut self, moment: Instant) -> Timestamp {
        if let Some((known, time)) = self.0
            && known == moment
        {
            return time;
        }
        let (now, today) = (Instant::now(), Timestamp::now());
        let shifted = if moment >= now { today.checked_add(moment - now) } else { today.checked_sub(now - moment) };
        let time = shifted.and_then(|time| time.round(Unit::Millisecond)).unwrap_or(today);
        self.0 = Some((moment, time));
        time
    }
}

impl Subscriber {
    /// Says once what the target does now.
    pub(super) fn show_state(&mut self) {
        let now = self.engine.state();
        let (state, cause) = names(now);
        if (state, cause) == self.state {
            return;
        }
        // Probes come and go; told is that it holds, and why, whenever that changes.
        let told = self.state.0 != "flowing" && self.state.1 == cause;
        self.state = (state, cause);
        self.metrics.state(now);
        let error = self.last_error.as_deref();
        match now {
            State::Flowing => info!(target = self.name, state, cause, "the target flows again"),
            State::Holding { probe_at, .. } if !told => {
                let next_probe_in_ms = u64::try_from(probe_at.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX);
                warn!(target = self.name, state, cause, error, next_probe_in_ms, "the target holds: its updates wait, none is lost");
            }
            State::Holding { .. } | State::Probing { .. } => debug!(target = self.name, state, cause, error, "the target is probed"),
        }
        self.show_status();
    }

    pub(super) fn look_around(&mut self) {
        let gauges = self.engine.gauges();
        if let (State::Holding { cause: Cause::Unauthorized, .. }, Some(caller)) = (gauges.state, &self.caller)
            && caller.credentials_changed()
        {
            info!(target = self.name, "the credentials have changed: probing at once");
            self.engine.credentials_changed(Instant::now());
        }
        self.metrics.in_flight.set(i64::try_from(gauges.in_flight).unwrap_or(i64::MAX));
        self.metrics.waiting.set(i64::try_from(gauges.waiting).unwrap_or(i64::MAX));
        self.metrics.refused.set(i64::try_from(gauges.aside).unwrap_or(i64::MAX));
        self.metrics.concurrency_limit.set(i64::try_from(gauges.concurrency_limit).unwrap_or(i64::MAX));
        let mut lags = HashMap::new();
        let mut oldest: Option<i64> = None;
        for (partition, lowest, update) in self.engine.oldest() {
            if let Some(end) = self.ends.get(&partition) {
                let lag = (end.end - lowest).max(0);
                lags.insert(partition, lag);
                let waits = lag > 0 && gauges.state == State::Flowing;
                if let Some(stalled) = self.stalls.look(partition, lowest, waits, Instant::now()) {
                    let user = update.and_then(|update| update.user).map(UserId::get);
                    warn!(
                        target = self.name,
                        partition,
                        offset = lowest,
                        lag,
                        user,
                        stalled_ms = u64::try_from(stalled.as_millis()).unwrap_or(u64::MAX),
                        "this partition makes no progress: the update at this offset is not settled"
                    );
                }
            }
            let written = update.and_then(|update| update.record.timestamp_ms);
            oldest = [oldest, written].into_iter().flatten().min();
        }
        self.metrics.lag(&self.topic, lags);
        let age = oldest.map_or(0, |written| Timestamp::now().as_millisecond() - written);
        self.metrics.oldest_unsettled(Duration::from_millis(u64::try_from(age).unwrap_or(0)));
        self.show_status();
    }

    fn show_status(&mut self) {
        let gauges = self.engine.gauges();
        let (state, cause) = names(gauges.state);
        let next_probe_at = match gauges.state {
            State::Holding { probe_at, .. } => Some(self.next_probe_at.of(probe_at)),
            State::Flowing | State::Probing { .. } => None,
        };
        let polls = self.consumer.polls();
        let polled = polls != self.polls || !self.releasing.is_empty();
        self.polls = polls;
        let status = TargetStatus {
            state,
            cause,
            since: self.since.of(gauges.since),
            next_probe_at,
            lag: self.metrics.total_lag(),
            in_flight: gauges.in_flight,
            waiting: gauges.waiting,
            concurrency_limit: gauges.concurrency_limit,
            last_error: self.last_error.clone(),
        };
        self.board.show(&self.name, status, self.consumer.joined(), polled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_stands_still_is_named_and_one_that_moves_or_holds_is_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stalls = Stalls::default();
        assert_eq!(stalls.look(0, 5, true, at(0)), None);
        assert_eq!(stalls.look(0, 5, true, at(119)), None);
        assert_eq!(stalls.look(0, 5, true, at(120)), Some(Duration::from_secs(120)));
        assert_eq!(stalls.look(0, 5, true, at(121)), None);
        assert_eq!(stalls.look(0, 5, true, at(240)), Some(Duration::from_secs(240)));
        assert_eq!(stalls.look(0, 6, true, at(400)), None);
        assert_eq!(stalls.look(0, 6, false, at(519)), None);
        assert_eq!(stalls.look(0, 6, true, at(600)), None);
    }
}
