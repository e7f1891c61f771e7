//! Traces: if a collector is configured, each record has a span from its arrival to its commit, and
//! each call one below it.
//!
//! A record's own trace is continued; one without begins its own, as often as `sample_ratio` says.
//! Without a collector no spans are made, and a record's trace context is passed on unchanged.

#[cfg(feature = "otlp")]
mod export;
mod span;
#[cfg(test)]
mod tests;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use prometheus::IntCounter;

use crate::config;

pub use self::span::{Arrived, AttemptSpan, DeliverSpan};

/// Makes the spans. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracer(SdkTracer);

/// Traces that are being sent.
pub struct TraceSender {
    tracer: Tracer,
    #[cfg(feature = "otlp")]
    export: export::Export,
}

impl TraceSender {
    /// Begins to send traces to the collector, if one is configured. Spans that are lost on the way
    /// are counted.
    ///
    /// # Errors
    /// If the exporter rejects the values of OpenTelemetry's variables.
    pub fn start(
        config: &config::Traces,
        instance_id: &str,
        left_out: IntCounter,
    ) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &config.endpoint else {
            return Ok(None);
        };
        let mut provider = SdkTracerProvider::builder().with_resource(resource(instance_id));
        // If the standard variable is set, the provider follows it.
        if std::env::var_os("OTEL_TRACES_SAMPLER").is_none() {
            provider = provider.with_sampler(Sampler::ParentBased(Box::new(
                Sampler::TraceIdRatioBased(config.sample_ratio),
            )));
        }
        #[cfg(feature = "otlp")]
        {
            let (processor, export) = export::start(
                endpoint,
                config.headers.clone(),
                &resource(instance_id),
                left_out,
            )?;
            let tracer = tracer(&provider.with_span_processor(processor).build());
            Ok(Some(TraceSender { tracer, export }))
        }
        #[cfg(not(feature = "otlp"))]
        {
            let _ = (endpoint, left_out);
            Ok(Some(TraceSender {
                tracer: tracer(&provider.build()),
            }))
        }
    }

    /// The tracer that makes the spans.
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Sends what is left, for 5 s at most.
    pub async fn end(self) {
        #[cfg(feature = "otlp")]
        self.export.end().await;
    }
}

fn tracer(provider: &SdkTracerProvider) -> Tracer {
    let scope = InstrumentationScope::builder("user-courier")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    Tracer(provider.tracer_with_scope(scope))
}

/// The service's resource attributes; OpenTelemetry's variables take precedence.
fn resource(instance_id: &str) -> Resource {
    let resource = Resource::builder_empty()
        .with_service_name("user-courier")
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance_id.to_owned()),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}
