//! Reports: what a subscriber shows of itself in metrics, status and log, and what it finds odd.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Unit};
use tracing::{debug, info, warn};

use crate::http::attempt::Attempt;
use crate::kafka::MembershipView;
use crate::model::error::ApiError;
use crate::subscriber::Subscriber;
use crate::subscriber::status::TargetStatus;
use crate::subscriber::update::Update;
use crate::telemetry::metrics::{FLOWING, PAUSED, StateNames, names};
use engine::{Cause, State};

/// A partition whose lowest unsettled offset stands still for so long, while its target flows, is
/// named in the log; and again after as long.
const STALL: Duration = Duration::from_secs(120);

/// An update that fails is told of while it has failed no more often: the first failure that counts
/// takes the one before with it.
const FIRST_FAILURES: u32 = 2;
/// So many of these lines are told…
const ODD_LINES: u32 = 5;
/// …in so long a time.
const ODD_WINDOW: Duration = Duration::from_secs(10);

/// Watches each partition's lowest unsettled offset.
#[derive(Debug, Default)]
pub(super) struct Stalls(HashMap<i32, Stall>);

#[derive(Debug)]
struct Stall {
    offset: i64,
    since: Instant,
    told: Instant,
}

impl Stalls {
    /// Looks at a partition; `waits`: something waits there that could be called. Returns for how
    /// long it has stood still, when that is to be told.
    fn look(&mut self, partition: i32, offset: i64, waits: bool, now: Instant) -> Option<Duration> {
        let stall = self.0.entry(partition).or_insert(Stall {
            offset,
            since: now,
            told: now,
        });
        if stall.offset != offset || !waits {
            *stall = Stall {
                offset,
                since: now,
                told: now,
            };
        }
        let tell = now.saturating_duration_since(stall.told) >= STALL;
        tell.then(|| {
            stall.told = now;
            now.saturating_duration_since(stall.since)
        })
    }
}

/// Where the partitions end, as far as known.
#[derive(Debug, Default)]
pub(super) struct Ends(HashMap<i32, KnownLag>);

#[derive(Debug)]
struct KnownLag {
    end: i64,
    /// What the client said last that it has seen. While it fetches nothing it says the same again,
    /// however long ago it was true.
    fetched: Option<i64>,
}

impl Ends {
    /// The end that the client has seen when it last fetched.
    pub(super) fn fetched(&mut self, partition: i32, end: i64) {
        let known = self
            .0
            .entry(partition)
            .or_insert(KnownLag { end, fetched: None });
        if known.fetched.replace(end) != Some(end) {
            known.end = end;
        }
    }

    /// The ends that the partitions' leaders have told.
    fn asked(&mut self, ends: &HashMap<i32, i64>) {
        for (partition, end) in ends {
            self.0
                .entry(*partition)
                .or_insert(KnownLag {
                    end: *end,
                    fetched: None,
                })
                .end = *end;
        }
    }

    /// The partition begins anew here.
    pub(super) fn forget(&mut self, partition: i32) {
        self.0.remove(&partition);
    }

    fn get(&self, partition: i32) -> Option<i64> {
        self.0.get(&partition).map(|known| known.end)
    }
}

/// What was said last: of the target, of its partitions, and of Kafka.
#[derive(Debug)]
pub(super) struct Shown {
    state: StateNames,
    /// The cause for which the log says that the target holds.
    told_cause: Option<&'static str>,
    since: TimeOfDay,
    next_probe_at: TimeOfDay,
    /// The polling thread's signs of life.
    beats: u64,
    lags: HashMap<i32, i64>,
    /// When the oldest record was written that is not settled, in milliseconds since 1970.
    oldest: Option<i64>,
    kafka_up: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Shown {
            state: FLOWING,
            told_cause: None,
            since: TimeOfDay::default(),
            next_probe_at: TimeOfDay::default(),
            beats: 0,
            lags: HashMap::new(),
            oldest: None,
            kafka_up: false,
        }
    }
}

/// The time of day of a moment, worked out once for each: two looks at the same moment tell the
/// same time.
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
        let shifted = if moment >= now {
            today.checked_add(moment - now)
        } else {
            today.checked_sub(now - moment)
        };
        let time = shifted
            .and_then(|time| time.round(Unit::Millisecond))
            .unwrap_or(today);
        self.0 = Some((moment, time));
        time
    }
}

/// A window of time in which some lines of one kind were told.
#[derive(Debug, Default)]
pub(super) struct Reminders {
    began: Option<Instant>,
    lines: u32,
}

impl Reminders {
    /// Whether another line may be told, and then how many were left out since the last one.
    fn may_tell(&mut self, now: Instant) -> Option<u32> {
        let left_out = self.lines.saturating_sub(ODD_LINES);
        if self
            .began
            .is_none_or(|began| now.saturating_duration_since(began) >= ODD_WINDOW)
        {
            *self = Reminders {
                began: Some(now),
                lines: 1,
            };
            return Some(left_out);
        }
        self.lines = self.lines.saturating_add(1);
        (self.lines <= ODD_LINES).then_some(0)
    }
}

/// What went wrong with a call, and of which update if it may be about that alone.
pub(super) fn error_of(update: &Update, attempt: &Attempt, error: &ApiError) -> String {
    let of_one = !attempt.of_all && !attempt.calls.is_empty();
    match update.user.as_ref().filter(|_| of_one) {
        Some(user) => format!(
            "{} (user {user}, record {})",
            error.message, update.record.place
        ),
        None => error.message.clone(),
    }
}

impl Subscriber {
    /// Says of an update, once or twice, that it fails while others are delivered.
    pub(super) fn show_odd(&mut self, update: &Update, failures: u32) {
        if failures > FIRST_FAILURES {
            return;
        }
        let record = &update.record.place;
        let max_attempts = self.engine.max_attempts();
        match self.odd.may_tell(Instant::now()) {
            Some(left_out) => warn!(
                target = self.name,
                user = update.logged_user(),
                %record,
                attempt = failures,
                max_attempts,
                error = self.last_error,
                left_out = (left_out > 0).then_some(left_out),
                "an update fails while others are delivered: after max_attempts such failures it becomes a dead letter"
            ),
            None => {
                debug!(target = self.name, %record, attempt = failures, max_attempts, "an update fails while others are delivered")
            }
        }
    }

    /// What the target does now, and why.
    fn state_names(&self) -> StateNames {
        if self.pause.is_paused() {
            PAUSED
        } else {
            names(self.engine.state())
        }
    }

    /// Says once what the target does now.
    pub(super) fn show_state(&mut self) {
        let (state, cause) = self.state_names();
        if (state, cause) == self.shown.state {
            return;
        }
        self.shown.state = (state, cause);
        self.metrics.state(self.shown.state);
        if self.pause.is_paused() {
            self.shown.told_cause = Some(cause);
            info!(
                target = self.name,
                state, cause, "the target is paused: its updates wait until `paused` is false"
            );
        } else {
            self.tell_state(self.engine.state());
        }
        self.show_status();
    }

    fn tell_state(&mut self, now: State) {
        let (state, cause) = self.shown.state;
        let error = self.last_error.as_deref();
        // Probes come and go; told is that it holds, and why, whenever that changes. What the first
        // probe refutes at once is not.
        match now {
            State::Flowing if self.shown.told_cause.take().is_some() => {
                info!(target = self.name, state, cause, "the target flows again")
            }
            State::Flowing => debug!(target = self.name, state, cause, "the target flows on"),
            State::Holding { probe_at, .. } if self.shown.told_cause != Some(cause) => {
                self.shown.told_cause = Some(cause);
                let next_probe_in_ms = u64::try_from(
                    probe_at
                        .saturating_duration_since(Instant::now())
                        .as_millis(),
                )
                .unwrap_or(u64::MAX);
                warn!(
                    target = self.name,
                    state,
                    cause,
                    error,
                    next_probe_in_ms,
                    "the target holds: its updates wait, none is lost"
                );
            }
            State::Holding { .. } | State::Probing { .. } => debug!(
                target = self.name,
                state, cause, error, "the target is probed"
            ),
        }
    }

    pub(super) fn look_around(&mut self) {
        let gauges = self.engine.gauges();
        if let (
            State::Holding {
                cause: Cause::Unauthorized,
                ..
            },
            Some(caller),
        ) = (gauges.state, &self.caller)
            && caller.credentials_changed()
        {
            info!(
                target = self.name,
                "the credentials have changed: probing at once"
            );
            self.engine.credentials_changed(Instant::now());
        }
        self.metrics
            .in_flight
            .set(i64::try_from(gauges.in_flight).unwrap_or(i64::MAX));
        self.metrics
            .waiting
            .set(i64::try_from(gauges.waiting).unwrap_or(i64::MAX));
        self.metrics
            .refused
            .set(i64::try_from(gauges.aside).unwrap_or(i64::MAX));
        self.metrics
            .concurrency_limit
            .set(i64::try_from(gauges.concurrency_limit).unwrap_or(i64::MAX));
        self.hear_of_ends();
        let standing = self.membership.standing(Instant::now());
        self.show_partitions(&standing);
        self.show_kafka(&standing);
        self.show_status();
    }

    fn hear_of_ends(&mut self) {
        if self.told.has_changed().unwrap_or(false) {
            let told = self.told.borrow_and_update();
            self.ends.asked(&told.ends);
            if let Some(at) = told.answered {
                self.membership.answered(at);
            }
        }
    }

    /// Lag and age. While the group may have given the partitions away, and nobody says so, they
    /// are told of as they were.
    fn show_partitions(&mut self, standing: &MembershipView) {
        let flows = self.state_names() == FLOWING;
        let (mut lags, mut oldest) = if standing.member {
            Default::default()
        } else {
            (self.shown.lags.clone(), self.shown.oldest)
        };
        for (partition, lowest, update) in self.engine.oldest() {
            if let Some(end) = self.ends.get(partition) {
                let lag = (end - lowest).max(0);
                lags.insert(partition, lag);
                let waits = lag > 0 && flows && standing.up;
                if let Some(stalled) = self.stalls.look(partition, lowest, waits, Instant::now()) {
                    let user = update.and_then(Update::logged_user);
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
            oldest = [oldest, update.map(Update::written_ms)]
                .into_iter()
                .flatten()
                .min();
        }
        (self.shown.lags, self.shown.oldest) = (lags, oldest);
        // A subscriber that begins anew knows nothing yet, and what the one before it has shown may
        // stand until it does.
        if standing.proven.is_some() {
            self.metrics.lag(&self.topic, self.shown.lags.clone());
            let age = oldest.map_or(0, |written| Timestamp::now().as_millisecond() - written);
            self.metrics
                .oldest_unsettled(Duration::from_millis(u64::try_from(age).unwrap_or(0)));
        }
    }

    fn show_kafka(&mut self, standing: &MembershipView) {
        self.metrics.kafka_up(standing.up);
        let silence = standing.proven.map(|proven| proven.elapsed());
        if let (false, Some(silence)) = (standing.up, silence) {
            self.metrics.kafka_round_trip(silence);
        }
        if self.shown.kafka_up == standing.up {
            return;
        }
        self.shown.kafka_up = standing.up;
        if standing.up {
            info!(
                target = self.name,
                "in its consumer group, and Kafka answers"
            );
        } else {
            let error = standing.report.as_ref().map(|(_, words)| words);
            let silence_ms =
                silence.map(|silence| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX));
            warn!(
                target = self.name,
                error,
                silence_ms,
                "without Kafka: updates wait there until it is back, none is lost"
            );
        }
    }

    /// The end: the partitions are not ours any more. While Kafka is gone they are nobody else's
    /// either.
    pub(super) fn show_nothing(&mut self) {
        if self.membership.standing(Instant::now()).up {
            self.metrics.lag(&self.topic, HashMap::new());
            self.metrics.oldest_unsettled(Duration::ZERO);
        }
        self.metrics.kafka_up(false);
        self.metrics.in_flight.set(0);
        self.metrics.waiting.set(0);
    }

    fn show_status(&mut self) {
        let gauges = self.engine.gauges();
        let (state, cause) = self.state_names();
        let next_probe_at = match gauges.state {
            State::Holding { probe_at, .. } if !self.pause.is_paused() => {
                Some(self.shown.next_probe_at.of(probe_at))
            }
            _ => None,
        };
        let beats = self.consumer.beats();
        let alive = beats != self.shown.beats || !self.releasing.is_empty();
        self.shown.beats = beats;
        let status = TargetStatus {
            state,
            cause,
            since: self.shown.since.of(self.pause.since(gauges.since)),
            next_probe_at,
            lag: self.metrics.total_lag(),
            in_flight: gauges.in_flight,
            waiting: gauges.waiting,
            concurrency_limit: gauges.concurrency_limit,
            last_error: self
                .topic_missing
                .then(|| format!("the update topic {} does not exist", self.topic))
                .or(self.last_error.clone()),
            topic_missing: self.topic_missing,
        };
        self.board.show(
            &self.name,
            status,
            self.membership.standing(Instant::now()),
            alive,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_ends_where_the_latest_news_says() {
        let mut ends = Ends::default();
        assert_eq!(ends.get(0), None);
        ends.fetched(0, 50);
        ends.asked(&[(0, 1050)].into());
        // Paused, the client repeats what it saw last.
        ends.fetched(0, 50);
        assert_eq!(ends.get(0), Some(1050));
        // It reads on.
        ends.fetched(0, 1200);
        assert_eq!(ends.get(0), Some(1200));
        // The topic was made anew.
        ends.asked(&[(0, 3)].into());
        assert_eq!(ends.get(0), Some(3));
        ends.forget(0);
        assert_eq!(ends.get(0), None);
    }

    #[test]
    fn a_partition_that_stands_still_is_named_and_one_that_moves_or_holds_is_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stalls = Stalls::default();
        assert_eq!(stalls.look(0, 5, true, at(0)), None);
        assert_eq!(stalls.look(0, 5, true, at(119)), None);
        assert_eq!(
            stalls.look(0, 5, true, at(120)),
            Some(Duration::from_secs(120))
        );
        assert_eq!(stalls.look(0, 5, true, at(121)), None);
        assert_eq!(
            stalls.look(0, 5, true, at(240)),
            Some(Duration::from_secs(240))
        );
        assert_eq!(stalls.look(0, 6, true, at(400)), None);
        assert_eq!(stalls.look(0, 6, false, at(519)), None);
        assert_eq!(stalls.look(0, 6, true, at(600)), None);
    }

    #[test]
    fn a_few_lines_are_told_and_the_others_counted() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut told = Reminders::default();
        let lines: Vec<_> = (0..8).map(|_| told.may_tell(at(0))).collect();
        assert_eq!(
            lines,
            [
                Some(0),
                Some(0),
                Some(0),
                Some(0),
                Some(0),
                None,
                None,
                None
            ]
        );
        assert_eq!(told.may_tell(at(9)), None);
        assert_eq!(told.may_tell(at(10)), Some(4));
        assert_eq!(told.may_tell(at(11)), Some(0));
    }
}
