//! The configuration: a TOML file, the environment over it, flags over both. All mistakes are
//! reported at once.
//!
//! `tree` reads the file, `overlay` lays the others over it. `keys` is the table of all keys; each
//! section is a struct, plain data, whose `read` takes them from a `section` by that table.
//! [`Config::load`] puts them together.

mod address;
mod admin;
mod change;
mod console;
mod credentials;
mod delivery;
pub(crate) mod duration;
mod guard;
mod kafka;
mod keys;
mod kind;
mod librdkafka;
mod log;
mod mistake;
mod overlay;
mod properties;
mod protected;
mod proxy;
mod route;
mod secret;
pub mod secret_file;
mod section;
mod target;
#[cfg(test)]
mod tests;
mod timing;
mod tls;
mod traces;
mod tree;

use std::path::Path;

pub use admin::{Admin, Shutdown};
pub use change::{Change, Keys};
pub use console::Console;
pub use credentials::{Client, Credentials};
pub use delivery::{Delivery, Retry};
pub use guard::Guard;
pub use kafka::{Kafka, Topics};
pub(crate) use librdkafka::{TRANSACTION_TIMEOUT_MS, fit_into_transaction};
pub use log::{Levels, Log, LogFormat};
pub use mistake::{Mistake, Mistakes, Needed, Origin};
pub use properties::{Properties, PropertyValue};
pub use protected::Protected;
pub use proxy::{Proxy, ProxyAccount};
pub use target::{Target, UNCLAIMED};
pub(crate) use timing::{heartbeat_interval, statistics_interval};
pub use tls::{ClientCertificate, Tls};
pub use traces::Traces;

use mistake::ConfigReading;
use section::Section;
use tree::Node;

use crate::model::route::Route;

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
    /// Warnings for the log of each start. They hold no secret.
    pub warnings: Vec<String>,
    /// The keys that were set, for comparing them with a later reading.
    pub keys: Keys,
}

impl Config {
    /// Reads the file, lays the variables `USER_COURIER__SECTION__KEY` and then the flags (key and
    /// value) over it, and checks all of it without touching the network.
    ///
    /// # Errors
    /// Every mistake there is, in the order of their places.
    pub fn load(
        file: &Path,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Config, Mistakes> {
        Config::load_with(Needed::All, file, environment, flags)
    }

    /// The same, for somebody who needs only a part of the secrets and certificates that it names.
    /// The others may be missing.
    ///
    /// # Errors
    /// Every mistake there is, in the order of their places.
    pub fn load_with(
        needed: Needed,
        file: &Path,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Config, Mistakes> {
        let mut reading = ConfigReading::new(environment);
        reading.needed = needed;
        let Some(root) = layers(file, flags, &reading) else {
            return Err(reading.into_mistakes());
        };
        let keys = Keys::of(&root);
        let section = Section::open("", String::new(), &root, &reading);
        section.check_names(|_| None);
        let (kafka, timing) = Kafka::read(&section.section("kafka"));
        let named = section.section("targets");
        let targets = Target::read_all(&named, &timing);
        let routes = route::read_all(&section, named.entries);
        let admin = Admin::read(&section.section("admin"));
        let console = Console::read(&section.section("console"), &admin);
        let log = Log::read(&section.section("log"));
        let traces = Traces::read(&section.section("traces"));
        let shutdown = Shutdown::read(&section.section("shutdown"), Some(&timing));
        let warnings = reading.finish()?;
        Ok(Config {
            kafka,
            targets,
            routes,
            admin,
            console,
            log,
            traces,
            shutdown,
            warnings,
            keys,
        })
    }

    /// Reads `[admin]` alone. Mistakes elsewhere do not matter: a service may run all the same,
    /// with the configuration from before.
    ///
    /// # Errors
    /// The mistakes in that section, or the file's if it cannot be read at all.
    pub fn load_admin(
        file: &Path,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Admin, Mistakes> {
        let whole = ConfigReading::new(environment);
        let Some(root) = layers(file, flags, &whole) else {
            return Err(whole.into_mistakes());
        };
        let reading = ConfigReading::new(std::iter::empty());
        let root = Section::open("", String::new(), &root, &reading);
        let admin = Admin::read(&root.section("admin"));
        reading.finish()?;
        Ok(admin)
    }

    /// How this configuration differs from the one that was read before it.
    pub fn change_since(&self, before: &Config) -> Change {
        self.keys.change_since(&before.keys)
    }
}

/// The file with the environment and the flags over it; none if it cannot be read.
fn layers(file: &Path, flags: &[(String, String)], reading: &ConfigReading) -> Option<Node> {
    let mut root = tree::read(file, reading)?;
    overlay::environment(&mut root, reading);
    overlay::flags(&mut root, flags, reading);
    Some(root)
}
