//! `user-courier console`: the operator's page.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tracing::level_filters::LevelFilter;
use tracing::warn;

use crate::commands::run::stop_signal;
use crate::commands::{Exit, fail, load, say};
use crate::console;
use crate::telemetry::logging;

/// Serves the operator's page: what every target does now, the dead letters and their replay, and
/// what is known of a user.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  user-courier console --config config/user-courier.toml \\\n      --listen 127.0.0.1:9465\n\n\
    Reading is free on loopback. Replaying needs console.token_file, and so does reading where --listen is not loopback."
)]
pub struct ConsoleArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The address and port of the page; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9465")]
    listen: SocketAddr,
    /// Sets a key over file and environment (repeatable).
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the command.
pub async fn run(args: ConsoleArgs) -> Exit {
    let config = match load(&args.config, &args.set) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if !args.listen.ip().is_loopback() && config.console.token.is_none() {
        let words = format!(
            "--listen {}: whoever reaches this address could read names and numbers of users. Name a file with a token in console.token_file \
             (such as one made by `openssl rand -hex 32`), or listen on 127.0.0.1",
            args.listen
        );
        return fail(Exit::Usage, words);
    }
    let mut levels = config.log.level.clone();
    if levels.all < LevelFilter::INFO
        && !levels
            .of
            .iter()
            .any(|(module, _)| module.starts_with("user_courier::console"))
    {
        // Replays and their authors are logged, however quiet the rest.
        levels
            .of
            .push(("user_courier::console".to_owned(), LevelFilter::INFO));
    }
    let logging = logging::start(&levels, config.log.format);
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let ended = console::run(config, args.listen, stop_signal(), |address| {
        say(format_args!("http://{address}"))
    })
    .await;
    logging.flush();
    match ended {
        Ok(()) => Exit::Done,
        Err(error) => fail(Exit::Failed, format!("{error:#}")),
    }
}
