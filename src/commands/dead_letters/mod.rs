//! `user-courier dead-letters`: what could not be delivered, why, and how it is put back.

mod export;
mod list;
pub(crate) mod replay;
pub(crate) mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use tracing::level_filters::LevelFilter;

use crate::commands::{Exit, blocking, fail, load, load_with, note};
use crate::config::{Config, Needed};
use crate::operator::desk::Remarks;
use crate::operator::{Desk, Filter, ReadFailure, input};
use crate::telemetry::logging;
use engine::verdict::Reason;

/// Lists dead letters, shows one, replays them, or exports them for mending.
///
/// Without `--all` the commands speak of the open ones: those neither replayed nor superseded.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    user-courier dead-letters list --config config/user-courier.toml --since 2h\n  \
    user-courier dead-letters show user-update-dead-letters/3/17 \\\n      --config config/user-courier.toml\n  \
    user-courier dead-letters replay --config config/user-courier.toml \\\n      --target valt --reason rejected --dry-run")]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    command: LettersCommand,
}

#[derive(Subcommand, Debug)]
enum LettersCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Replay(replay::ReplayArgs),
    Export(export::ExportArgs),
}

/// The source of the configuration.
#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Sets a key over file and environment (repeatable).
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    /// Loads the configuration, for a command that needs only these of the secrets.
    pub(in crate::commands) fn load(&self, needed: Needed) -> Result<Config, Exit> {
        load_with(needed, &self.config, &self.set)
    }
}

/// Which dead letters.
#[derive(Args, Debug)]
struct FilterArgs {
    /// Only those of this target, or `unclaimed`.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only those for this reason.
    #[arg(long, value_name = "REASON", value_parser = input::reason)]
    reason: Option<Reason>,
    /// Only those of the user with this id.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only those given up then or later: 2026-11-22T09:00:00Z, 2026-11-22 (midnight UTC), or an
    /// age such as 30m, 2h, 3d.
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    since: Option<Timestamp>,
    /// Only those given up then or earlier.
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    until: Option<Timestamp>,
    /// Also those that were replayed or superseded; a replay refuses these without --force.
    #[arg(long)]
    all: bool,
}

impl FilterArgs {
    fn filter(&self, config: &Config) -> Result<Filter, Exit> {
        if let Some(name) = &self.target {
            input::target_or_unclaimed(config, name)
                .map_err(|why| fail(Exit::Usage, format!("--target {name}: {why}")))?;
        }
        if self
            .since
            .zip(self.until)
            .is_some_and(|(since, until)| since > until)
        {
            return Err(fail(
                Exit::Usage,
                "--since is later than --until: nothing can lie between them",
            ));
        }
        let user = self.user.as_deref().map(|user| {
            let found = input::user(config, self.target.as_deref(), user);
            found.map_err(|why| fail(Exit::Usage, format!("--user {user}: {why}")))
        });
        let user = user.transpose()?;
        let FilterArgs {
            target,
            reason,
            since,
            until,
            all,
            user: _,
        } = self;
        Ok(Filter {
            target: target.clone(),
            reason: *reason,
            user,
            since: *since,
            until: *until,
            all: *all,
        })
    }
}

/// Runs the command.
pub async fn run(args: DeadLettersArgs) -> Exit {
    let work = move || match args.command {
        LettersCommand::List(args) => list::run(&args),
        LettersCommand::Show(args) => show::run(&args),
        LettersCommand::Replay(args) => replay::run(&args),
        LettersCommand::Export(args) => export::run(&args),
    };
    blocking(work).await
}

/// Loads the configuration and opens the topics.
pub(super) fn open(
    args: &ConfigArgs,
    check: impl FnOnce(&Config) -> Result<(), Exit>,
) -> Result<Desk, Exit> {
    let config = load(&args.config, &args.set)?;
    check(&config)?;
    // Errors are said in words of our own. The log is there for panics.
    let _ = logging::start(&LevelFilter::ERROR.into(), config.log.format);
    Desk::open(&config).map_err(failed)
}

pub(super) fn failed(failure: ReadFailure) -> Exit {
    match failure {
        ReadFailure::Unreachable(words) => fail(Exit::Unreachable, words),
        ReadFailure::Fenced(words) => fail(Exit::Failed, words),
        ReadFailure::Other(error) => fail(Exit::Failed, format!("{error:#}")),
    }
}

fn mention(aside: Remarks) {
    if aside.strangers > 0 {
        note(format_args!(
            "passed over {} records of the dead-letter topic that are no dead letters of this service",
            crate::operator::table::number(aside.strangers)
        ));
    }
}
