//! `user-courier run`: the service, until it is told to stop.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::commands::{Exit, Flags, fail, flags, load, read};
use crate::config::Config;
use crate::operator::input;
use crate::service::reload::Reload;
use crate::service::{self, ServiceFailure};
use crate::subscriber::stop::{self, Stop};
use crate::telemetry::logging;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::TraceSender;

/// Runs the service until SIGTERM or SIGINT, then drains and exits 0.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  user-courier run --config config/user-courier.toml\n  user-courier run --config config/user-courier.toml \\\n      --target valt --set log.level=debug"
)]
pub struct RunArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Runs only this target in this process, or `unclaimed` (repeatable).
    #[arg(long = "target", value_name = "NAME")]
    pub targets: Vec<String>,
    /// Sets a key over file and environment (repeatable).
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// Runs the service.
pub async fn run(args: RunArgs) -> Exit {
    // Before anything else: a signal that nobody listens for ends the process.
    let hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            return fail(
                Exit::Failed,
                format!("signals cannot be listened for: {error}"),
            );
        }
    };
    let stop = stop_signal();
    let (config, flags) = match configuration(&args) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    let metrics = match Metrics::new() {
        Ok(metrics) => metrics,
        Err(error) => return fail(Exit::Failed, error.to_string()),
    };
    let logging = logging::start(&config.log.level, config.log.format);
    logging.count(metrics.log_lines_left_out());
    info!(
        version = env!("CARGO_PKG_VERSION"),
        instance_id = config.kafka.instance_id,
        "user-courier starts"
    );
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let traces = match TraceSender::start(
        &config.traces,
        &config.kafka.instance_id,
        metrics.spans_left_out(),
    ) {
        Ok(traces) => traces,
        Err(error) => {
            logging.flush();
            return fail(Exit::Usage, format!("{error:#}"));
        }
    };
    let tracer = traces.as_ref().map(TraceSender::tracer);
    let (current, configs) = watch::channel(Arc::new(config));
    let file = args.config.clone();
    let load = Box::new(move || read(&args.config, &flags));
    tokio::spawn(
        Reload {
            file,
            load,
            current,
            hangups,
            logging: logging.clone(),
            metrics: metrics.clone(),
        }
        .watch(),
    );
    let ended = service::run(
        configs,
        args.targets.into_iter().collect::<HashSet<_>>(),
        metrics,
        tracer,
        stop,
    )
    .await;
    if let Some(traces) = traces {
        traces.end().await;
    }
    let (exit, why) = exit_of(ended);
    logging.end(why);
    exit
}

/// The configuration, if it has the targets that are asked for, and the flags over it.
fn configuration(args: &RunArgs) -> Result<(Config, Flags), Exit> {
    let config = load(&args.config, &args.set)?;
    for name in &args.targets {
        if let Err(why) = input::target_or_unclaimed(&config, name) {
            return Err(fail(Exit::Usage, format!("--target {name}: {why}")));
        }
    }
    Ok((config, flags(&args.set)?))
}

/// The exit code for how the service ended, and the last line of its log.
fn exit_of(ended: Result<(), ServiceFailure>) -> (Exit, Option<String>) {
    match ended {
        Ok(()) => (Exit::Done, None),
        Err(ServiceFailure::Topics(words)) => (Exit::Unreachable, Some(words)),
        Err(error) => {
            let words = format!("{:#}", anyhow::Error::from(error));
            (Exit::Failed, Some(words))
        }
    }
}

/// Asks to stop with SIGTERM or SIGINT.
pub fn stop_signal() -> Stop {
    let (stopper, stop) = stop::channel();
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    tokio::spawn(async move {
        let [Ok(mut terminate), Ok(mut interrupt)] = signals else {
            warn!("signals cannot be listened for: this process can only be killed");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping: what is in flight may finish");
        stopper.stop();
    });
    stop
}
