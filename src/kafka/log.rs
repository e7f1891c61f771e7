//! librdkafka's own log, which goes the way of ours, and what a client reports as errors. Neither
//! floods it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::{debug, error, info, warn};

use crate::kafka::client;

/// A client that cannot reach its brokers says so again and again: one line in so long a time is
/// enough.
const QUIET: Duration = Duration::from_secs(10);
/// Lines of one kind within [`QUIET`].
const LINES: u32 = 5;
/// Kinds of lines, at most: librdkafka has some dozens.
const KINDS: usize = 256;

/// Rate limit for the log lines of one client. Lines above it are logged at `debug` and counted in
/// the next line of their kind.
#[derive(Debug, Default)]
pub(super) struct Chatter(Mutex<HashMap<String, LogWindow>>);

#[derive(Debug)]
struct LogWindow {
    began: Instant,
    lines: u32,
}

impl Chatter {
    /// Logs a line of librdkafka's. `target` is the subscriber whose client it is.
    pub(super) fn log(
        &self,
        target: Option<&str>,
        level: RDKafkaLogLevel,
        facility: &str,
        message: &str,
    ) {
        let Some(left_out) = self.let_through(facility, LINES, Instant::now()) else {
            return debug!(target: "librdkafka", target, facility, "{message}");
        };
        let left_out = (left_out > 0).then_some(left_out);
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                error!(target: "librdkafka", target, facility, left_out, "{message}");
            }
            RDKafkaLogLevel::Warning => {
                warn!(target: "librdkafka", target, facility, left_out, "{message}")
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                info!(target: "librdkafka", target, facility, left_out, "{message}")
            }
            RDKafkaLogLevel::Debug => {
                debug!(target: "librdkafka", target, facility, left_out, "{message}")
            }
        }
    }

    /// Logs what a client reports, unless it is no problem or is told elsewhere. Returns what says
    /// the most of it, in words.
    pub(super) fn complain(
        &self,
        target: &str,
        error: &KafkaError,
        reason: &str,
    ) -> Option<String> {
        let code = error.rdkafka_error_code();
        // The end of a partition comes this way too; and what is fatal is told by what follows from
        // it.
        if let Some(
            RDKafkaErrorCode::PartitionEOF
            | RDKafkaErrorCode::Fatal
            | RDKafkaErrorCode::FencedInstanceId,
        ) = code
        {
            return None;
        }
        match self.let_through("error", 1, Instant::now()) {
            Some(left_out) => {
                let (left_out, advice) = (
                    (left_out > 0).then_some(left_out),
                    client::refusal_advice(error, reason),
                );
                warn!(target, %error, reason, advice, left_out, "the Kafka client reports a problem; it goes on trying");
            }
            None => {
                debug!(target, %error, reason, "the Kafka client reports a problem; it goes on trying")
            }
        }
        // That all brokers are down follows from what was reported of each.
        let advice = client::refusal_advice(error, reason)
            .map(|advice| format!(": {advice}"))
            .unwrap_or_default();
        (code != Some(RDKafkaErrorCode::AllBrokersDown)).then(|| format!("{reason}{advice}"))
    }

    /// Whether a line of this kind is told, and then how many were not since the last one that was.
    pub(super) fn let_through(&self, kind: &str, most: u32, now: Instant) -> Option<u32> {
        let Ok(mut windows) = self.0.lock() else {
            return Some(0);
        };
        if let Some(window) = windows.get_mut(kind) {
            if now.saturating_duration_since(window.began) < QUIET {
                window.lines = window.lines.saturating_add(1);
                return (window.lines <= most).then_some(0);
            }
            let left_out = window.lines.saturating_sub(most);
            *window = LogWindow {
                began: now,
                lines: 1,
            };
            return Some(left_out);
        }
        if windows.len() < KINDS {
            windows.insert(
                kind.to_owned(),
                LogWindow {
                    began: now,
                    lines: 1,
                },
            );
        }
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_kind_are_limited_and_counted_and_those_of_another_are_not_touched() {
        let chatter = Chatter::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let told = |kind, seconds| chatter.let_through(kind, 5, at(seconds));
        assert_eq!(
            (0..8)
                .map(|_| told("FAIL", 0))
                .filter(Option::is_some)
                .count(),
            5
        );
        assert_eq!(told("SESSTMOUT", 1), Some(0));
        assert_eq!(told("FAIL", 9), None);
        assert_eq!(told("FAIL", 10), Some(4));
        assert_eq!(told("FAIL", 11), Some(0));
    }
}
