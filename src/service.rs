//! The service: builds the parts, lets them run, and drains them.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::admin;
use crate::config::{Config, Target};
use crate::kafka::client::try_out;
use crate::kafka::missing_topics;
use crate::metrics::Metrics;
use crate::renewal::Files;
use crate::route::Router;
use crate::status::Board;
use crate::subscriber::{Ended, Subscriber, names_of, try_out_tls};
use crate::topic_watch;
use crate::traces::Tracer;

/// The pause before a broken subscriber begins anew, and between two looks for the broker.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the service ended otherwise than in order.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Topics are missing.
    #[error("{0}")]
    Topics(String),
    /// Another instance runs under our name.
    #[error(
        "another instance has joined the consumer group as `{0}`: give each instance its own kafka.instance_id (by default it is the host's name)"
    )]
    InstanceTaken(String),
    /// Something could not be set up.
    #[error(transparent)]
    Setup(#[from] anyhow::Error),
}

/// Runs the service until `stop` says so, then drains it.
///
/// # Errors
/// [`Failure`], if it cannot begin or another instance has taken its name.
///
/// Of later configurations only what subscribers can take up counts: see [`crate::config::Change`].
pub async fn run(
    configs: watch::Receiver<Arc<Config>>,
    only: HashSet<String>,
    metrics: Metrics,
    tracer: Option<Tracer>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let config = configs.borrow().clone();
    let names = names_of(&config, &only);
    let board = Board::new(&config.kafka.instance_id, &names);
    let handles: Vec<_> = names.iter().map(|name| (name.clone(), metrics.target(name))).collect();
    admin::serve(config.admin.listen, metrics.clone(), board.clone()).await?;
    if !await_topics(&config, &mut stop).await? {
        return Ok(());
    }
    tokio::spawn(topic_watch::run(config.kafka.clone(), metrics));
    let router = Arc::new(Router::new(config.targets.iter().map(|target| target.name.clone()).collect(), config.routes.clone()));
    let mut subscribers = JoinSet::new();
    for (name, metrics) in handles {
        let (configs, router, tracer) = (configs.clone(), router.clone(), tracer.clone());
        let (board, mut stop) = (board.clone(), stop.clone());
        let subscriber = async move {
            let mut first = true;
            while first || !*stop.borrow() {
                let mut configs = configs.clone();
                let config = configs.borrow_and_update().clone();
                let target = config.targets.iter().find(|target| target.name == name);
                let mut files = Files::of(&config.kafka, target);
                let subscriber = match Subscriber::start(&config, target, router.clone(), metrics.clone(), tracer.clone(), board.clone()) {
                    Ok(subscriber) => subscriber,
                    Err(error) if first => return Err(error.into()),
                    Err(error) => {
                        error!(target = name, error = format!("{error:#}"), "the subscriber cannot begin anew; trying again");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                };
                first = false;
                info!(target = name, "subscriber started");
                let (leave, left) = watch::channel(false);
                let mut run = pin!(subscriber.run(configs, left));
                let reason = async {
                    tokio::select! {
                        () = renewed(&mut files, &config, target) => {
                            info!(target = name, "a secret or certificate has changed: the clients are made anew");
                        }
                        () = asked(&mut stop) => {}
                    }
                };
                let ended = tokio::select! {
                    ended = &mut run => ended,
                    () = reason => {
                        leave.send_replace(true);
                        run.await
                    }
                };
                board.left(&name);
                match ended {
                    Ended::Left => {}
                    Ended::InstanceTaken => return Err(Failure::InstanceTaken(config.kafka.instance_id.clone())),
                    Ended::Broken(why) => {
                        error!(target = name, why, "the subscriber ended; it begins anew");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            Ok(())
        };
        // A thread of its own, for the loop and all its calls: what passes between them then costs no other thread's waking, and targets share nothing.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
        subscribers.spawn_blocking(move || {
            let ended = runtime.block_on(subscriber);
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
            ended
        });
    }
    while let Some(ended) = subscribers.join_next().await {
        ended.map_err(|error| Failure::Setup(error.into()))??;
    }
    info!("drained");
    Ok(())
}

/// Waits until a secret or certificate has changed of which the clients are made, and new ones can be made of it.
async fn renewed(files: &mut Files, config: &Arc<Config>, target: Option<&Target>) {
    loop {
        files.changed().await;
        let (config, target) = (config.clone(), target.cloned());
        let usable = tokio::task::spawn_blocking(move || {
            try_out(&config.kafka)?;
            target.map_or(Ok(()), |target| try_out_tls(&target))
        });
        match usable.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                let error = format!("{error:#}");
                warn!(error, "a secret or certificate has changed and cannot be used: the clients stay as they are until it is mended");
            }
            Err(error) => warn!(%error, "whether a changed secret or certificate can be used could not be told"),
        }
    }
}

/// Waits until the service is to stop.
async fn asked(stop: &mut watch::Receiver<bool>) {
    // Nobody can ask any more where the sender is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits for the broker, and looks whether the topics are there. False: stopped meanwhile.
async fn await_topics(config: &Config, stop: &mut watch::Receiver<bool>) -> Result<bool, Failure> {
    loop {
        if *stop.borrow() {
            return Ok(false);
        }
        let kafka = config.kafka.clone();
        let found = tokio::task::spawn_blocking(move || missing_topics(&kafka)).await.map_err(anyhow::Error::from)?;
        match found {
            Ok(missing) if missing.is_empty() => return Ok(true),
            Ok(missing) => return Err(Failure::Topics(create_them(config, &missing))),
            Err(error) => warn!(brokers = config.kafka.bootstrap_servers, %error, "waiting for Kafka"),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = asked(stop) => {}
        }
    }
}

/// Words for missing topics, with the command that makes each.
pub fn create_them(config: &Config, missing: &[String]) -> String {
    let servers = &config.kafka.bootstrap_servers;
    let mut words = format!("missing in Kafka at {servers}: {}. Create what is missing, then start again:", missing.join(", "));
    for topic in missing {
        let topics = &config.kafka.topics;
        let large = if *topic == topics.dead_letters {
            // A dead letter is a record and some headers more.
            " --config retention.ms=2592000000 --config max.message.bytes=2097152"
        } else if *topic == topics.outcomes {
            // They tell which dead letters are open.
            " --config retention.ms=2592000000"
        } else {
            ""
        };
        words += &format!("\n  kafka-topics.sh --bootstrap-server {servers} --create --topic {topic} --partitions 8{large}");
    }
    words += "\nAll three need equally many partitions: where one is there already, take its number in place of 8.";
    words
}
