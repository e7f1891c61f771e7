//! The section on traces, and OpenTelemetry's variables over it.

use super::*;
use crate::config::secret_file::Secret;

fn endpoint(added: &str, environment: &[(&str, &str)]) -> Option<String> {
    let config = Fixture::new()
        .load(&format!("{LEAST}{added}"), environment, &[])
        .unwrap();
    config.traces.endpoint.map(String::from)
}

#[test]
fn traces_are_sent_where_the_section_or_a_variable_says_and_the_variable_wins() {
    const SECTION: &str = "[traces]\nendpoint = \"http://localhost:4318/\"\n";
    assert_eq!(endpoint("", &[]), None);
    assert_eq!(
        endpoint(SECTION, &[]).as_deref(),
        Some("http://localhost:4318/v1/traces")
    );
    let general = (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "https://collector.example.com/otlp",
    );
    let special = (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "https://collector.example.com/here",
    );
    assert_eq!(
        endpoint(SECTION, &[general]).as_deref(),
        Some("https://collector.example.com/otlp/v1/traces")
    );
    assert_eq!(
        endpoint("", &[general, special]).as_deref(),
        Some("https://collector.example.com/here")
    );
    assert_eq!(
        endpoint(SECTION, &[general, ("OTEL_SDK_DISABLED", "true")]),
        None
    );
    assert_eq!(endpoint(SECTION, &[("OTEL_TRACES_EXPORTER", "none")]), None);
}

#[test]
fn its_other_keys_are_read_and_headers_are_a_secret() {
    let text = "[traces]\nendpoint = \"http://collector.example.com\"\nsample_ratio = 0.25\nheaders_file = \"DIR/token\"\n";
    let fixture = Fixture::new();
    let config = fixture.load(&format!("{LEAST}{text}"), &[], &[]).unwrap();
    assert_eq!(config.traces.sample_ratio, 0.25);
    assert_eq!(
        config.traces.headers,
        Some(Secret::File(format!("{}/token", fixture.folder()).into()))
    );
    assert!(
        config.warnings[0].contains("the headers' credentials can be read on their way"),
        "{:?}",
        config.warnings
    );
    assert_eq!(
        Fixture::new()
            .load(LEAST, &[], &[])
            .unwrap()
            .traces
            .sample_ratio,
        1.0
    );
}

#[test]
fn what_is_wrong_is_a_mistake_and_quotes_no_secret() {
    check_added(&[
        (
            "[traces]\nendpoint = \"localhost:4318\"\n",
            &["8:1: traces.endpoint: must begin with https:// or http://"],
        ),
        (
            "[traces]\nsample_ratio = 2\n",
            &["8:1: traces.sample_ratio: must be a number from 0 to 1, such as 0.1"],
        ),
        (
            "[traces]\nheaders = \"authorization=hunter2\"\n",
            &[
                "8:1: traces.headers: a secret is never written in the configuration: name a file in `headers_file` or an environment variable in `headers_env`",
            ],
        ),
    ]);
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let found = Fixture::new().mistakes(LEAST, &environment, &[]);
    let expected = "environment variable OTEL_EXPORTER_OTLP_PROTOCOL: `grpc` is not available: traces are sent with `http/protobuf` only";
    assert_eq!(found[0], expected);
}
