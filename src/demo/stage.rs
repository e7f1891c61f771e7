//! The stage: the broker, the two stand-ins and the configuration that brings the service among
//! them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use globset::Glob;
use stand_in::{Fault, Rule, StandIn, Users};
use tracing::level_filters::LevelFilter;

use crate::api;
use crate::config::secret_file::Secret;
use crate::config::{
    Admin, Config, Credentials, Delivery, Kafka, Keys, Log, LogFormat, Properties, PropertyValue,
    Protected, Retry, Shutdown, Target, Tls, Topics, Traces,
};
use crate::demo::broker::{Broker, Spot};
use crate::demo::findings::{Api, Findings};
use crate::demo::samples::{AIPIX, FIRST_USER, NOBODY, Sample, VALT};
use crate::model::route::Route;

/// How long every call of a stand-in takes.
const LATENCY: Duration = Duration::from_millis(15);
/// Calls that an update gets.
const MAX_ATTEMPTS: u32 = 5;

/// Everything around the service.
pub(super) struct Stage {
    pub(super) broker: Broker,
    pub(super) aipix: StandIn,
    pub(super) valt: StandIn,
    pub(super) config: Config,
    _secrets: Secrets,
}

impl Stage {
    /// Sets it.
    pub(super) async fn set() -> anyhow::Result<Self> {
        let topics = Topics::default();
        let broker = Broker::start(&topics).await?;
        let (aipix, valt) = (
            StandIn::on_loopback(AIPIX).await?,
            StandIn::on_loopback(VALT).await?,
        );
        let secrets = Secrets::new()?;
        let (token, password) = (
            format!("{:032x}", fastrand::u128(..)),
            format!("{:032x}", fastrand::u128(..)),
        );
        aipix.accept_token(&token);
        for api in [&aipix, &valt] {
            api.set(|settings| {
                settings.password.clone_from(&password);
                settings.latency = LATENCY;
                settings.users = Users::except([NOBODY]);
                settings.permissions = Some(BTreeSet::from_iter(1..=30));
            });
        }
        bad_days(&aipix, &valt);
        let password = secrets.keep("valt-password", &password)?;
        let login = api::by_name(VALT)
            .and_then(|valt| Credentials::login(valt, "courier", password))
            .context("VALT has no login")?;
        let targets = vec![
            target(
                AIPIX,
                &aipix,
                Credentials::Token(secrets.keep("aipix-token", &token)?),
            )?,
            target(VALT, &valt, login)?,
        ];
        let config = config(&broker, topics, targets)?;
        Ok(Stage {
            broker,
            aipix,
            valt,
            config,
            _secrets: secrets,
        })
    }

    /// What the topics and the APIs hold in the end.
    pub(super) async fn findings(
        &self,
        samples: &[Sample],
        spots: Vec<Spot>,
    ) -> anyhow::Result<Findings> {
        let (broker, topics) = (self.broker.clone(), self.config.kafka.topics.clone());
        let read = move || {
            anyhow::Ok((
                broker.read(&topics.updates)?,
                broker.read(&topics.outcomes)?,
                broker.read(&topics.dead_letters)?,
            ))
        };
        let (updates, outcomes, dead_letters) = tokio::task::spawn_blocking(read).await??;
        let users: BTreeSet<u64> = samples.iter().map(|sample| sample.user).collect();
        let apis = [(AIPIX, &self.aipix), (VALT, &self.valt)].map(|(target, api)| Api {
            target,
            overlaps: api.stats().overlaps,
            users: users
                .iter()
                .filter_map(|user| Some((*user, api.fields(*user)?)))
                .collect(),
        });
        let samples = spots.into_iter().zip(samples.iter().cloned()).collect();
        Findings::new(
            &self.config.kafka.group_id,
            samples,
            &updates,
            &outcomes,
            dead_letters.len(),
            apis.into(),
        )
    }
}

/// What goes wrong at the APIs even on a good day.
fn bad_days(aipix: &StandIn, valt: &StandIn) {
    aipix.fault(Rule::status(503).user(FIRST_USER).times(2));
    aipix.fault(Rule::status(500).user(FIRST_USER + 1).times(1));
    valt.fault(Rule::fault(Fault::Reset).user(FIRST_USER + 2).times(2));
    // The update was made, but nobody was told: it is called again.
    valt.fault(
        Rule::fault(Fault::Reset)
            .user(FIRST_USER + 3)
            .times(1)
            .applied(),
    );
    // One update too many for its budget; what is left of the fault is overcome.
    valt.fault(
        Rule::status(500)
            .user(FIRST_USER + 4)
            .times(MAX_ATTEMPTS + 2),
    );
}

fn target(name: &str, stand_in: &StandIn, credentials: Credentials) -> anyhow::Result<Target> {
    Ok(Target {
        paused: false,
        protected: Protected::default(),
        guard: None,
        name: name.to_owned(),
        api: api::by_name(name).context("there is no such API")?,
        base_url: stand_in.base_url().parse()?,
        credentials,
        delivery: Delivery {
            request_timeout: Duration::from_secs(2),
            ..Delivery::default()
        },
        // Nobody wants to wait half a minute for a demo's probe.
        retry: Retry {
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            max_attempts: MAX_ATTEMPTS,
        },
        tls: Tls::default(),
        proxy: None,
    })
}

fn config(broker: &Broker, topics: Topics, targets: Vec<Target>) -> anyhow::Result<Config> {
    // The embedded broker knows no cooperative groups.
    let strategy = (
        "partition.assignment.strategy".to_owned(),
        PropertyValue::Plain("range".to_owned()),
    );
    let billing = Route {
        source: Some(Glob::new("/billing/*")?.compile_matcher()),
        event_type: None,
        target: AIPIX.to_owned(),
    };
    Ok(Config {
        kafka: Kafka {
            bootstrap_servers: broker.address().to_owned(),
            group_id: "user-courier".to_owned(),
            instance_id: "demo".to_owned(),
            topics,
            session_timeout: Duration::from_secs(15),
            common: Properties::default(),
            consumer: Properties([strategy].into()),
            producer: Properties::default(),
        },
        targets,
        routes: vec![billing],
        admin: Admin {
            listen: ([127, 0, 0, 1], 0).into(),
        },
        console: Default::default(),
        traces: Traces::default(),
        log: Log {
            level: LevelFilter::WARN.into(),
            format: LogFormat::Auto,
        },
        shutdown: Shutdown::default(),
        warnings: Vec::new(),
        keys: Keys::default(),
    })
}

/// A private folder for the secrets, since the service reads them from files. It goes when this is
/// dropped.
struct Secrets(PathBuf);

impl Secrets {
    fn new() -> anyhow::Result<Self> {
        let folder =
            std::env::temp_dir().join(format!("user-courier-demo-{}", uuid::Uuid::new_v4()));
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.with_context(|| {
            format!("the folder {} for the demo's secrets cannot be made: set TMPDIR to one that can be written to", folder.display())
        })?;
        Ok(Secrets(folder))
    }

    fn keep(&self, name: &str, content: &str) -> anyhow::Result<Secret> {
        let path = self.0.join(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        std::io::Write::write_all(&mut file, content.as_bytes())?;
        Ok(Secret::File(path))
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        // Were it gone already, that is as good.
        let _ = fs::remove_dir_all(&self.0);
    }
}
