//! The pace that one instance must keep: how soon it may call, what it may call while its target holds, and which failures are an update's own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use user_courier::engine::Ticket;
use user_courier::verdict::Verdict;

use super::{Call, Checked, Record};

pub(super) const INITIAL_BACKOFF: Duration = Duration::from_millis(50);
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// So many users who fail in a row are an outage.
const SEVERAL: usize = 3;
/// So far calls may run ahead of an even rate.
const CATCH_UP: Duration = Duration::from_millis(10);
/// So long a delivery proves that others are delivered.
const PROOF: Duration = Duration::from_secs(60);

pub(super) const FAILED: Verdict = Verdict::Retry { unreachable: false };

/// What an instance has heard of its API, judged anew without the engine.
#[derive(Default)]
pub(super) struct Pace {
    held: Option<Held>,
    /// Users whose calls failed since the last good answer.
    failing: BTreeSet<u64>,
    last_delivered: Option<Instant>,
    /// When each record was first called from here.
    called: BTreeMap<(i32, i64), Instant>,
    /// When the next call would be due at an even rate.
    due: Option<Instant>,
}

/// Nothing may be called but one probe at a time.
struct Held {
    failed_probes: u32,
    not_before: Instant,
    probe: Option<Ticket>,
}

impl Pace {
    /// A call starts.
    pub(super) fn start(&mut self, ticket: Ticket, run: &[Record], rate_limit: u32, now: Instant) -> Checked {
        if let Some(held) = &mut self.held {
            if held.probe.is_some() {
                return Err(format!("{run:?} is called beside a probe"));
            }
            if now < held.not_before {
                return Err(format!("{run:?} is called {:?} before a probe is due", held.not_before - now));
            }
            held.probe = Some(ticket);
        }
        if rate_limit > 0 {
            let due = self.due.map_or(now, |due| due.max(now));
            if due > now + CATCH_UP {
                return Err(format!("{run:?} is called {:?} ahead of {rate_limit} calls a second", due - now));
            }
            self.due = Some(due + Duration::from_secs(1) / rate_limit);
        }
        for record in run {
            self.called.entry((record.partition, record.offset)).or_insert(now);
        }
        Ok(())
    }

    /// A call was given up: if it was the probe, another may follow at once.
    pub(super) fn cancelled(&mut self, ticket: Ticket, now: Instant) {
        if let Some(held) = self.held.as_mut().filter(|held| held.probe == Some(ticket)) {
            (held.probe, held.not_before) = (None, now);
        }
    }

    /// An answer came. Returns whether it may count against its update.
    pub(super) fn hear(&mut self, call: &Call, now: Instant) -> bool {
        let is_probe = self.held.as_ref().is_some_and(|held| held.probe == Some(call.ticket));
        match call.verdict {
            Verdict::Delivered | Verdict::Rejected { .. } => {
                if is_probe {
                    self.held = None;
                }
                if self.held.is_none() {
                    self.failing.clear();
                }
                if call.verdict == Verdict::Delivered {
                    self.last_delivered = Some(now);
                }
            }
            FAILED => {
                self.failing.insert(call.user());
                if is_probe || self.failing.len() >= SEVERAL {
                    self.hold(call.verdict, is_probe, now);
                }
                return self.held.is_none() && self.failing.len() == 1 && self.delivers_others(&call.run[0], now);
            }
            _ => self.hold(call.verdict, is_probe, now),
        }
        false
    }

    fn hold(&mut self, verdict: Verdict, is_probe: bool, now: Instant) {
        let asked = match verdict {
            Verdict::Throttled { retry_after } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let failed_probes = match &mut self.held {
            None => 1,
            Some(held) if is_probe => held.failed_probes + 1,
            // The answer to a call from before. While a probe is under way, only the probe's is listened to.
            Some(held) => {
                if held.probe.is_none() {
                    held.not_before = held.not_before.max(now + asked);
                }
                return;
            }
        };
        let doublings = 1 << (failed_probes - 1).min(20);
        let pause = match verdict {
            Verdict::Unauthorized => (Duration::from_secs(5) * doublings).min(Duration::from_secs(60)),
            _ => (INITIAL_BACKOFF * doublings).min(MAX_BACKOFF) / 2,
        };
        self.held = Some(Held { failed_probes, not_before: now + pause.max(asked), probe: None });
    }

    fn delivers_others(&self, record: &Record, now: Instant) -> bool {
        let called = self.called.get(&(record.partition, record.offset));
        self.last_delivered.zip(called).is_some_and(|(delivered, called)| delivered > *called && now - delivered <= PROOF)
    }
}
