//! `[traces]`: where traces are sent. OpenTelemetry's own variables win over it, as `RUST_LOG` does over the log's level.

use url::Url;

use super::address;
use super::credentials::read_secret;
use super::mistake::{Origin, Reading};
use super::section::Section;
use crate::secret::Secret;

const EXAMPLE: &str = "http://127.0.0.1:4318";
const PATH: &str = "v1/traces";

/// The export of traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// Where spans are sent, path and all. `None`: the service takes part in no trace, and passes on what came with a record.
    pub endpoint: Option<Url>,
    /// The share of records without a trace of their own that begin one.
    pub sample_ratio: f64,
    /// Headers for the collector, such as `authorization=Bearer …`, separated by commas.
    pub headers: Option<Secret>,
}

impl Default for Traces {
    fn default() -> Self {
        Traces { endpoint: None, sample_ratio: 1.0, headers: None }
    }
}

impl Traces {
    pub(super) fn read(mut section: Section<'_>, reading: &mut Reading) -> Self {
        let endpoint = section.text("endpoint", reading).and_then(|text| match address::parse(&text, EXAMPLE) {
            Ok(url) => Some(below(&url)),
            Err(message) => {
                section.wrong("endpoint", message, reading);
                None
            }
        });
        let sample_ratio = section.ratio("sample_ratio", Traces::default().sample_ratio, reading);
        let headers = read_secret(&mut section, "headers", reading);
        let (endpoint, origin) = match from_environment(reading) {
            Some((endpoint, origin)) => (endpoint, origin),
            None => (endpoint, section.origin_of("endpoint")),
        };
        if endpoint.is_some() && !cfg!(feature = "otlp") {
            reading.mistake(&origin, "traces", "this program was built without the export of traces (its cargo feature `otlp`)");
        }
        if headers.is_some() && endpoint.as_ref().is_some_and(address::is_open) {
            let message = "is http:// and not loopback: the headers' credentials can be read on their way; use https://";
            reading.warn(&origin, "traces.endpoint", message);
        }
        section.finish(reading);
        Traces { endpoint, sample_ratio, headers }
    }
}

/// The collector's address for traces.
fn below(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_path(&format!("{}/{PATH}", url.path().trim_end_matches('/')));
    url
}

/// What OpenTelemetry's variables say, if anything: an address, or that nothing is sent.
fn from_environment(reading: &mut Reading) -> Option<(Option<Url>, Origin)> {
    let variable = |reading: &Reading, name: &str| reading.environment.get(name).filter(|value| !value.is_empty()).cloned();
    let of = |name: &str| Origin::Environment(name.to_owned());
    for (name, off) in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        if variable(reading, name).is_some_and(|value| value.eq_ignore_ascii_case(off)) {
            return Some((None, of(name)));
        }
    }
    let (name, text) = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        .into_iter()
        .find_map(|name| Some((name, variable(reading, name)?)))?;
    let endpoint = match address::parse(&text, EXAMPLE) {
        Ok(url) if name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => Some(url),
        Ok(url) => Some(below(&url)),
        Err(message) => {
            reading.mistake(&of(name), "", message);
            None
        }
    };
    for (what, known) in [("PROTOCOL", "http/protobuf"), ("COMPRESSION", "none")] {
        for name in [format!("OTEL_EXPORTER_OTLP_TRACES_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")] {
            if let Some(value) = variable(reading, &name).filter(|value| value != known) {
                let message = format!("`{}` is not available: traces are sent with `{known}` only", value.escape_debug());
                reading.mistake(&of(&name), "", message);
            }
        }
    }
    Some((endpoint, of(name)))
}
