//! Logging: to standard error, as text on a terminal and as JSON lines elsewhere.

use std::io::{IsTerminal, stderr};

use tracing::{Level, error};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::kafka::headers::panic_is_expected;

/// Begins to log. `RUST_LOG` wins over `level`. Panics go the way of the log.
pub fn start(level: Level, format: LogFormat) {
    // Other crates speak up only when something is wrong: what they say below that, they say of bytes on the wire. What the crate rdkafka
    // says of its own, our callbacks hear too, and say better.
    let default = format!("warn,user_courier={level},librdkafka={level},rdkafka=off");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let json = match format {
        LogFormat::Auto => !stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let started = if json { builder.json().flatten_event(false).try_init() } else { builder.with_ansi(stderr().is_terminal()).try_init() };
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            if !panic_is_expected() {
                let place = panic.location().map(ToString::to_string).unwrap_or_default();
                // Not the message: it may quote what was being worked on.
                error!(place, "a panic: please report this, it is a fault of this service");
            }
        }));
    }
}
