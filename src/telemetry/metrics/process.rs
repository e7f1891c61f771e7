//! The metrics of the process, which are no target's.

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntCounter, IntCounterVec, Result};

use super::register::Register;

/// Metrics of the process as a whole.
pub(super) struct Process {
    pub(super) reloads: IntCounterVec,
    pub(super) log_lines_left_out: IntCounter,
    pub(super) spans_left_out: IntCounter,
}

impl Process {
    pub(super) fn register(register: &Register) -> Result<Self> {
        register
            .gauge("build_info", "1, with the version that runs.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        register
            .registry
            .register(Box::new(ProcessCollector::for_self()))?;
        let reloads = register.counter(
            "config_reloads_total",
            "Readings of the configuration while running, by result: taken, refused, unchanged.",
            &["result"],
        )?;
        // A counter that appears with its first event hides that event from `rate` and `increase`.
        for result in ["taken", "refused", "unchanged"] {
            reloads.with_label_values(&[result]);
        }
        Ok(Process {
            reloads,
            log_lines_left_out: register.process_counter(
                "log_lines_left_out_total",
                "Log lines left out, since standard error did not take them fast enough.",
            )?,
            spans_left_out: register.process_counter(
                "spans_left_out_total",
                "Spans of traces left out, since the collector did not take them, or not fast enough.",
            )?,
        })
    }
}
