//! Logging: to standard error, as text on a terminal and as JSON lines elsewhere.

use std::io::{IsTerminal, stderr};

use tracing::{Level, error};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::LogFormat;
use crate::kafka::headers::panic_is_expected;

/// Sets the level of a log that has begun. Where `RUST_LOG` is set, that stays in force.
pub struct LevelSwitch(reload::Handle<EnvFilter, Registry>);

impl LevelSwitch {
    /// Logs from this level on.
    pub fn set(&self, level: Level) {
        // It fails only where nobody logs any more.
        let _ = self.0.reload(filter(level));
    }
}

fn filter(level: Level) -> EnvFilter {
    // Other crates speak up only when something is wrong: what they say below that, they say of bytes on the wire. What the crate rdkafka
    // says of its own, our callbacks hear too, and say better.
    let default = format!("warn,user_courier={level},librdkafka={level},rdkafka=off");
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default))
}

/// Begins to log. `RUST_LOG` wins over `level`. Panics go the way of the log.
pub fn start(level: Level, format: LogFormat) -> LevelSwitch {
    let (filter, switch) = reload::Layer::new(filter(level));
    let json = match format {
        LogFormat::Auto => !stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let lines = fmt::layer().with_writer(stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match json {
        true => registry.with(lines.json().flatten_event(false)).try_init(),
        false => registry.with(lines.with_ansi(stderr().is_terminal())).try_init(),
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            if !panic_is_expected() {
                let place = panic.location().map(ToString::to_string).unwrap_or_default();
                // Not the message: it may quote what was being worked on.
                error!(place, "a panic: please report this, it is a fault of this service");
            }
        }));
    }
    LevelSwitch(switch)
}
