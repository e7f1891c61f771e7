//! The register: makes metrics, each under its name with the service's prefix.

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

/// The metrics shown by `/metrics`: exactly those created here.
#[derive(Default)]
pub(super) struct Register {
    pub(super) registry: Registry,
}

impl Register {
    pub(super) fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(options(name, help), labels)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(options(name, help), labels)?)
    }

    /// A gauge of seconds, of each target.
    pub(super) fn seconds(&self, name: &str, help: &str) -> Result<GaugeVec> {
        self.add(GaugeVec::new(options(name, help), &["target"])?)
    }

    /// A histogram of each target.
    pub(super) fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<HistogramVec> {
        let options = HistogramOpts::from(options(name, help)).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, &["target"])?)
    }

    /// A counter of the process.
    pub(super) fn process_counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::with_opts(options(name, help))?)
    }

    /// A gauge of the process.
    pub(super) fn process_gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::with_opts(options(name, help))?)
    }

    fn add<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(format!("user_courier_{name}"), help)
}
