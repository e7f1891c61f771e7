//! The stage: the broker, the stand-ins and the configuration that brings the service among
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
use crate::demo::findings::{ApiState, DemoFindings};
use crate::demo::samples::{AIPIX, DIRECTORY, FIRST_USER, NOBODY, Sample, TARGETS, VALT, id_at};
use crate::model::route::Route;

/// How long every call of a stand-in takes.
const LATENCY: Duration = Duration::from_millis(15);
/// The API of [`DIRECTORY`]; the other targets have the names of theirs.
const SCIM: &str = "scim";
/// Calls that an update gets.
const MAX_ATTEMPTS: u32 = 5;

/// Everything around the service.
pub(super) struct Environment {
    pub(super) broker: Broker,
    pub(super) aipix: StandIn,
    pub(super) valt: StandIn,
    directory: StandIn,
    pub(super) config: Config,
    _secrets: Secrets,
}

impl Environment {
    /// Sets it.
    pub(super) async fn set() -> anyhow::Result<Self> {
        let topics = Topics::default();
        let broker = Broker::start(&topics).await?;
        let aipix = StandIn::on_loopback(AIPIX).await?;
        let valt = StandIn::on_loopback(VALT).await?;
        let directory = StandIn::on_loopback(SCIM).await?;
        let secrets = Secrets::new()?;
        let (token, password) = (
            format!("{:032x}", fastrand::u128(..)),
            format!("{:032x}", fastrand::u128(..)),
        );
        aipix.accept_token(&token);
        directory.accept_token(&token);
        for (target, api) in TARGETS.into_iter().zip([&aipix, &valt, &directory]) {
            api.set(|settings| {
                settings.password.clone_from(&password);
                settings.latency = LATENCY;
                settings.users = Users::except([id_at(target, NOBODY).as_str()]);
                settings.permissions = Some(BTreeSet::from_iter(1..=30));
            });
        }
        bad_days(&aipix, &valt, &directory);
        let password = secrets.keep("valt-password", &password)?;
        let login = api::by_name(VALT)
            .and_then(|valt| Credentials::login(valt, "courier", password))
            .context("VALT has no login")?;
        let token = Credentials::Token(secrets.keep("token", &token)?);
        let scim_url = format!("{}/scim/v2", directory.base_url());
        let targets = vec![
            target(AIPIX, AIPIX, &aipix.base_url(), token.clone())?,
            target(VALT, VALT, &valt.base_url(), login)?,
            target(DIRECTORY, SCIM, &scim_url, token)?,
        ];
        let config = config(&broker, topics, targets)?;
        Ok(Environment {
            broker,
            aipix,
            valt,
            directory,
            config,
            _secrets: secrets,
        })
    }

    /// The final content of the topics and the APIs.
    pub(super) async fn findings(
        &self,
        samples: &[Sample],
        spots: Vec<Spot>,
    ) -> anyhow::Result<DemoFindings> {
        let (broker, topics) = (self.broker.clone(), self.config.kafka.topics.clone());
        let read = move || {
            anyhow::Ok((
                broker.read(&topics.updates)?,
                broker.read(&topics.outcomes)?,
                broker.read(&topics.dead_letters)?,
            ))
        };
        let (updates, outcomes, dead_letters) = tokio::task::spawn_blocking(read).await??;
        let stand_ins = TARGETS
            .into_iter()
            .zip([&self.aipix, &self.valt, &self.directory]);
        let apis = stand_ins.map(|(target, api)| ApiState {
            target,
            overlaps: api.stats().overlaps,
            users: samples
                .iter()
                .filter(|sample| sample.subscriber == target)
                .filter_map(|sample| {
                    let fields = api.fields(sample.user.as_str())?;
                    Some((sample.user.clone(), fields))
                })
                .collect(),
        });
        let samples = spots.into_iter().zip(samples.iter().cloned()).collect();
        DemoFindings::new(
            &self.config.kafka.group_id,
            samples,
            &updates,
            &outcomes,
            dead_letters.len(),
            apis.collect(),
        )
    }
}

/// Faults that APIs have even on a good day.
fn bad_days(aipix: &StandIn, valt: &StandIn, directory: &StandIn) {
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
    let first = id_at(DIRECTORY, FIRST_USER);
    directory.fault(Rule::status(503).user(first.as_str()).times(1));
}

fn target(
    name: &str,
    api: &str,
    base_url: &str,
    credentials: Credentials,
) -> anyhow::Result<Target> {
    Ok(Target {
        paused: false,
        protected: Protected::default(),
        guard: None,
        name: name.to_owned(),
        api: api::by_name(api).context("there is no such API")?,
        base_url: base_url.parse()?,
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
