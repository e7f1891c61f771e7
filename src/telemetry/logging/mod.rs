//! Logging: to standard error, as text on a terminal and as JSON lines elsewhere.

#[cfg(test)]
mod captured;
mod queue;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use prometheus::IntCounter;
use tracing::error;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

#[cfg(test)]
pub(crate) use self::captured::Captured;
use self::queue::Queue;
use crate::config::{Levels, LogFormat};
use crate::model::text;
use crate::telemetry::panics;

/// How long the end of a process waits for its last lines to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// A log that has begun.
#[derive(Clone)]
pub struct Logging {
    levels: reload::Handle<EnvFilter, Registry>,
    queue: Queue,
}

impl Logging {
    /// Logs these levels from now on. Where `RUST_LOG` is set, that stays in force.
    pub fn set(&self, levels: &Levels) {
        // It fails only if nobody logs any more.
        let _ = self.levels.reload(filter(levels));
    }

    /// Counts in this counter too the lines that are left out because standard error is too slow.
    pub fn count(&self, left_out: IntCounter) {
        self.queue.count(left_out);
    }

    /// Waits until everything logged so far is written, for a second at most.
    pub fn flush(&self) {
        self.queue.flush(FLUSH);
    }

    /// Ends the log. Why the process ends, if there is anything to say, is the last line whatever
    /// is still logged, by threads that were left behind. Waits for it for a second at most:
    /// standard error may take nothing.
    pub fn end(&self, why: Option<String>) {
        let last = why
            .map(|why| text::printable(&format!("user-courier: {why}\n")).into_owned())
            .unwrap_or_default();
        self.queue.end(last.into_bytes(), FLUSH);
    }
}

fn filter(levels: &Levels) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives(levels)))
}

fn directives(Levels { all, of }: &Levels) -> String {
    // Other crates speak up only when something is wrong: what they say below that, they say of
    // bytes on the wire. What the crate rdkafka says of its own, our callbacks hear too, and say
    // better.
    let mut directives = format!("warn,user_courier={all},librdkafka={all},rdkafka=off");
    for (module, level) in of {
        directives += &format!(",{module}={level}");
    }
    directives
}

/// A queue to that output, as the log has one to standard error.
#[cfg(test)]
pub(crate) fn queue_to(
    out: impl std::io::Write + Send + 'static,
) -> impl Clone + Send + for<'a> fmt::MakeWriter<'a> + 'static {
    Queue::start(out, true)
}

/// Begins to log. `RUST_LOG` wins over `levels`. Panics go the way of the log.
pub fn start(levels: &Levels, format: LogFormat) -> Logging {
    let (filter, handle) = reload::Layer::new(filter(levels));
    let json = match format {
        LogFormat::Auto => !stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let queue = Queue::start(stderr(), json);
    let lines = fmt::layer().with_writer(queue.clone());
    let registry = tracing_subscriber::registry().with(filter);
    let started = match json {
        true => registry.with(lines.json().flatten_event(false)).try_init(),
        false => registry
            .with(lines.with_ansi(stderr().is_terminal()))
            .try_init(),
    };
    let logging = Logging {
        levels: handle,
        queue: queue.clone(),
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(move |panic| {
            if !panics::is_expected() {
                let place = panic
                    .location()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                // Not the message: it may quote what was being worked on.
                error!(
                    place,
                    "a panic: please report this, it is a fault of this service"
                );
                // It may be the last line.
                queue.flush(FLUSH);
            }
        }));
    }
    logging
}
