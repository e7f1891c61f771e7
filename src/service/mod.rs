//! The service: builds the parts, lets them run, and drains them.

mod keeper;
mod supervisor;

pub mod admin;
pub mod process;
pub mod reload;
pub mod renewal;
pub mod server;
mod topics;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use self::keeper::Keeper;
use self::supervisor::Supervisor;
use crate::config::{Config, UNCLAIMED};
use crate::kafka::{Unreachable, ask_for_ends, create_them, missing_topics};
use crate::model::route::Router;
use crate::subscriber::Context;
use crate::subscriber::status::Board;
use crate::subscriber::stop::Stop;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Tracer;

/// The pause between two looks for the broker.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the service ended otherwise than in order.
#[derive(Debug, thiserror::Error)]
pub enum ServiceFailure {
    /// Topics are missing.
    #[error("{0}")]
    Topics(String),
    /// Another instance runs under our name.
    #[error(
        "another instance has joined the consumer group as `{0}`: give each instance its own kafka.instance_id (by default it is the host's name)"
    )]
    InstanceTaken(String),
    /// A subscriber, or one of its threads, panicked.
    #[error(
        "the subscriber of `{0}` panicked: please report this with the log, which names the place. It is a fault of this service"
    )]
    Panicked(String),
    /// The threads of a subscriber that broke do not end, so it cannot restart beside them.
    #[error(
        "the subscriber of `{0}` broke, and its Kafka client does not end: start the service again"
    )]
    Stuck(String),
    /// A subscriber ended, though nobody had asked it to.
    #[error(
        "the subscriber of `{0}` ended by itself: please report this with the log. It is a fault of this service"
    )]
    Quit(String),
    /// The admin endpoint ended.
    #[error(
        "the admin endpoint ended: please report this with the log. It is a fault of this service"
    )]
    Admin,
    /// An orderly end took too long.
    #[error(
        "these targets did not drain in time and were left behind: {0}. What they had in flight is called again"
    )]
    Late(String),
    /// Something could not be set up.
    #[error(transparent)]
    Setup(#[from] anyhow::Error),
}

/// Runs the service until `stop` says so, then drains it.
///
/// # Errors
/// [`ServiceFailure`], if it cannot begin or cannot go on.
///
/// Later configurations apply only as far as subscribers can take them up: see
/// [`crate::config::Change`].
pub async fn run(
    configs: watch::Receiver<Arc<Config>>,
    only: HashSet<String>,
    metrics: Metrics,
    tracer: Option<Tracer>,
    mut stop: Stop,
) -> Result<(), ServiceFailure> {
    let config = configs.borrow().clone();
    let names = names_of(&config, &only);
    let board = Board::new(&config.kafka.instance_id, &names);
    let handles: Vec<_> = names
        .iter()
        .map(|name| (name.clone(), metrics.target(name)))
        .collect();
    let admin = admin::serve(config.admin.listen, metrics.clone(), board.clone()).await?;
    if !await_topics(&config, &board, &mut stop).await? {
        return Ok(());
    }
    tokio::spawn(topics::run(config.kafka.clone(), metrics));
    let router = Arc::new(Router::new(
        config
            .targets
            .iter()
            .map(|target| target.name.clone())
            .collect(),
        config.routes.clone(),
    ));
    let told = ask_for_ends(&config.kafka)?;
    let mut supervisor = Supervisor::new(config.shutdown.drain_timeout);
    for (name, metrics) in handles {
        let (router, tracer, told, board) =
            (router.clone(), tracer.clone(), told.clone(), board.clone());
        let context = Context {
            router,
            metrics,
            tracer,
            told,
            board,
            offsets: Arc::default(),
            outrun: None,
        };
        let keeper = Keeper {
            name: name.clone(),
            configs: configs.clone(),
            context,
            stop: supervisor.stop(),
        };
        supervisor.spawn(&name, keeper.run());
    }
    supervisor.watch(stop, admin).await
}

/// Waits for the broker, and looks whether the topics are there. False: stopped meanwhile.
async fn await_topics(
    config: &Config,
    board: &Board,
    stop: &mut Stop,
) -> Result<bool, ServiceFailure> {
    loop {
        if stop.is_asked() {
            return Ok(false);
        }
        let kafka = config.kafka.clone();
        let look = tokio::task::spawn_blocking(move || missing_topics(&kafka));
        let found = tokio::select! {
            found = look => found.map_err(anyhow::Error::from)?,
            // The look may take long, and the process can end without it.
            () = stop.asked() => continue,
        };
        match found {
            Ok(missing) if missing.is_empty() => return Ok(true),
            Ok(missing) => {
                return Err(ServiceFailure::Topics(create_them(&config.kafka, &missing)));
            }
            Err(error) if !error.is::<Unreachable>() => return Err(ServiceFailure::Setup(error)),
            Err(error) => {
                warn!(brokers = config.kafka.bootstrap_servers, %error, "waiting for Kafka");
                board.unreachable(&error.to_string());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.asked() => {}
        }
    }
}

/// The names of all subscribers that this process runs.
fn names_of(config: &Config, only: &HashSet<String>) -> Vec<String> {
    let all = config
        .targets
        .iter()
        .map(|target| target.name.as_str())
        .chain([UNCLAIMED]);
    all.filter(|name| only.is_empty() || only.contains(*name))
        .map(str::to_owned)
        .collect()
}
