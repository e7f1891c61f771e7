//! The metrics of the process, which are no target's.

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

/// What happens to the process as a whole.
pub(super) struct Process {
    pub(super) reloads: IntCounterVec,
    pub(super) log_lines_left_out: IntCounter,
    pub(super) spans_left_out: IntCounter,
}

impl Process {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let build = IntGaugeVec::new(
            Opts::new("user_courier_build_info", "1, with the version that runs."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let help =
            "Readings of the configuration while running, by result: taken, refused, unchanged.";
        let reloads = IntCounterVec::new(
            Opts::new("user_courier_config_reloads_total", help),
            &["result"],
        )?;
        registry.register(Box::new(reloads.clone()))?;
        // A counter that appears with its first event hides that event from `rate` and `increase`.
        for result in ["taken", "refused", "unchanged"] {
            reloads.with_label_values(&[result]);
        }
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("user_courier_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Process {
            reloads,
            log_lines_left_out: counter(
                "log_lines_left_out_total",
                "Log lines left out, since standard error did not take them fast enough.",
            )?,
            spans_left_out: counter(
                "spans_left_out_total",
                "Spans of traces left out, since the collector did not take them, or not fast enough.",
            )?,
        })
    }
}
