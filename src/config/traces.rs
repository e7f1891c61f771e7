//! `[traces]`: where traces are sent. OpenTelemetry's own variables win over it, as `RUST_LOG` does
//! over the log's level.

use url::Url;

use crate::config::address;
use crate::config::mistake::{ConfigReading, Origin};
use crate::config::secret_file::Secret;
use crate::config::section::{Section, default_of};

const EXAMPLE: &str = "http://127.0.0.1:4318";
const PATH: &str = "v1/traces";

/// The export of traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// The address that spans are sent to, path and all. `None`: the service takes part in no
    /// trace, and passes a record's trace context on.
    pub endpoint: Option<Url>,
    /// The share of records without a trace of their own that begin one.
    pub sample_ratio: f64,
    /// Headers for the collector, such as `authorization=Bearer …`, separated by commas.
    pub headers: Option<Secret>,
}

impl Default for Traces {
    fn default() -> Self {
        default_of("traces", Traces::read)
    }
}

impl Traces {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let endpoint = section
            .parsed("endpoint", |text| address::parse(text, EXAMPLE))
            .map(|url| below(&url));
        let sample_ratio = section.ratio("sample_ratio");
        let headers = section.secret("headers");
        let from_section = (endpoint, section.origin_of("endpoint").clone());
        let (endpoint, origin) = from_environment(section.reading).unwrap_or(from_section);
        if endpoint.is_some() && !cfg!(feature = "otlp") {
            let message =
                "this program was built without the export of traces (its cargo feature `otlp`)";
            section.reading.mistake(&origin, "traces", message);
        }
        if headers.is_some() && endpoint.as_ref().is_some_and(address::is_open) {
            let message = "is http:// and not loopback: the headers' credentials can be read on their way; use https://";
            section.reading.warn(&origin, "traces.endpoint", message);
        }
        Traces {
            endpoint,
            sample_ratio,
            headers,
        }
    }
}

/// The collector's address for traces.
fn below(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_path(&format!("{}/{PATH}", url.path().trim_end_matches('/')));
    url
}

/// The address in OpenTelemetry's variables, or that nothing is sent. `None` if they are silent.
fn from_environment(reading: &ConfigReading) -> Option<(Option<Url>, Origin)> {
    let variable = |name: &str| {
        reading
            .environment
            .get(name)
            .filter(|value| !value.is_empty())
    };
    let of = |name: &str| Origin::Environment(name.to_owned());
    for (name, off) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ] {
        if variable(name).is_some_and(|value| value.eq_ignore_ascii_case(off)) {
            return Some((None, of(name)));
        }
    }
    let names = [
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ];
    let (name, text) = names
        .into_iter()
        .find_map(|name| Some((name, variable(name)?)))?;
    let endpoint = match address::parse(text, EXAMPLE) {
        Ok(url) if name == names[0] => Some(url),
        Ok(url) => Some(below(&url)),
        Err(message) => {
            reading.mistake(&of(name), "", message);
            None
        }
    };
    for (what, known) in [("PROTOCOL", "http/protobuf"), ("COMPRESSION", "none")] {
        for name in [
            format!("OTEL_EXPORTER_OTLP_TRACES_{what}"),
            format!("OTEL_EXPORTER_OTLP_{what}"),
        ] {
            if let Some(value) = variable(&name).filter(|value| *value != known) {
                let message = format!(
                    "`{}` is not available: traces are sent with `{known}` only",
                    value.escape_debug()
                );
                reading.mistake(&of(&name), "", message);
            }
        }
    }
    Some((endpoint, of(name)))
}
