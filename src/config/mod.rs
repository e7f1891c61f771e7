//! The configuration: a TOML file, the environment over it, flags over both. All mistakes are reported at once.
//!
//! Each section is a struct in a file of its own, plain data with a `read` that checks it. [`Config::load`] puts them together.

mod address;
mod admin;
mod change;
mod console;
mod credentials;
mod delivery;
mod duration;
mod kafka;
mod librdkafka;
mod log;
mod mistake;
mod overlay;
mod properties;
mod retry;
mod route;
mod secret;
mod section;
mod shutdown;
mod target;
#[cfg(test)]
mod tests;
mod timing;
mod tls;
mod topics;
mod traces;
mod tree;

use std::path::Path;

pub use admin::Admin;
pub use change::{Change, Keys};
pub use console::Console;
pub use credentials::Credentials;
pub use delivery::Delivery;
pub use kafka::Kafka;
pub(crate) use librdkafka::{TRANSACTION_TIMEOUT_MS, fit_into_transaction};
pub use log::{Levels, Log, LogFormat};
pub use mistake::{Mistake, Mistakes, Origin};
pub use properties::{Properties, PropertyValue};
pub use retry::Retry;
pub use route::Route;
pub use shutdown::Shutdown;
pub use target::{Target, UNCLAIMED};
pub(crate) use timing::{heartbeat_interval, statistics_interval};
pub use tls::{ClientCertificate, Tls};
pub use topics::Topics;
pub use traces::Traces;

use mistake::Reading;
use section::Section;

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[kafka]`.
    pub kafka: Kafka,
    /// `[targets.NAME]`, at least one, in the order of the file.
    pub targets: Vec<Target>,
    /// `[[routes]]`; each leads to one of the targets.
    pub routes: Vec<Route>,
    /// `[admin]`.
    pub admin: Admin,
    /// `[console]`.
    pub console: Console,
    /// `[log]`.
    pub log: Log,
    /// `[traces]`.
    pub traces: Traces,
    /// `[shutdown]`.
    pub shutdown: Shutdown,
    /// What is allowed but should be looked at, for the log of each start. No secret stands in it.
    pub warnings: Vec<String>,
    /// What was set, for comparing it with a later reading.
    pub keys: Keys,
}

impl Config {
    /// Reads the file, lays the variables `USER_COURIER__SECTION__KEY` and then the flags (key and value) over it, and checks
    /// all of it without touching the network.
    ///
    /// # Errors
    /// Every mistake there is, in the order of their places.
    pub fn load(file: &Path, environment: impl Iterator<Item = (String, String)>, flags: &[(String, String)]) -> Result<Config, Mistakes> {
        let mut reading = Reading::new(environment);
        let Some(mut root) = tree::read(file, &mut reading) else {
            return Err(reading.into_mistakes());
        };
        overlay::environment(&mut root, &mut reading);
        overlay::flags(&mut root, flags, &mut reading);

        let keys = Keys::of(&root);
        let mut section = Section::open(String::new(), &root, &mut reading);
        let (kafka, timing) = Kafka::read(section.section("kafka", &mut reading), &mut reading);
        let targets = section.section("targets", &mut reading);
        let names: Vec<&str> = targets.entries().iter().map(|(name, _)| name.as_str()).collect();
        let targets = Target::read_all(&targets, &timing, &mut reading);
        let routes = Route::read_all(section.node("routes"), &names, &mut reading);
        let admin = Admin::read(section.section("admin", &mut reading), &mut reading);
        let console = Console::read(section.section("console", &mut reading), &admin, &mut reading);
        let log = Log::read(section.section("log", &mut reading), &mut reading);
        let traces = Traces::read(section.section("traces", &mut reading), &mut reading);
        let shutdown = Shutdown::read(section.section("shutdown", &mut reading), &timing, &mut reading);
        section.finish(&mut reading);
        let warnings = reading.finish()?;
        Ok(Config { kafka, targets, routes, admin, console, log, traces, shutdown, warnings, keys })
    }

    /// How this configuration differs from the one that was read before it.
    pub fn change_since(&self, before: &Config) -> Change {
        self.keys.change_since(&before.keys)
    }
}
