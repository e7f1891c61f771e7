//! The `user-courier` command: reads the arguments and hands over to a command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use user_courier::commands::{
    Exit, check, console, dead_letters, demo, explain, fail, health, init, preview, run, say,
    schema, send, stand_in, warn,
};
use user_courier::service::process;

/// Calls are made of many small pieces of memory that one thread takes and another gives back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Carries user updates from Apache Kafka to user-management APIs: in order per user, with retries,
/// outcomes and replayable dead letters.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  user-courier run --config config/user-courier.toml"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::RunArgs),
    Demo(demo::DemoArgs),
    Check(check::CheckArgs),
    DeadLetters(dead_letters::DeadLettersArgs),
    Preview(preview::PreviewArgs),
    Send(send::SendArgs),
    Explain(explain::ExplainArgs),
    Console(console::ConsoleArgs),
    StandIn(stand_in::StandInArgs),
    Init(init::InitArgs),
    Health(health::HealthArgs),
    /// Prints the JSON Schemas and the AsyncAPI document of the events.
    #[command(after_help = "Example:\n  user-courier schema > schemas.json")]
    Schema,
}

fn main() -> ExitCode {
    process::use_small_pages();
    process::keep_openssl_to_the_end();
    if let Err(error) = process::forbid_core_dumps() {
        warn(format_args!(
            "core dumps cannot be switched off ({error}): if it crashes, one may hold passwords"
        ));
    }
    let command = Arguments::parse().command;
    let exit = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let exit = runtime.block_on(run(command));
            // A blocking call that never returns, such as a look at a file, does not keep the
            // process.
            runtime.shutdown_background();
            exit
        }
        Err(error) => fail(Exit::Failed, format!("no threads to run on: {error}")),
    };
    ExitCode::from(exit as u8)
}

async fn run(command: Command) -> Exit {
    match command {
        Command::Run(args) => run::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::DeadLetters(args) => dead_letters::run(args).await,
        Command::Preview(args) => preview::run(args).await,
        Command::Send(args) => send::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Console(args) => console::run(args).await,
        Command::StandIn(args) => match stand_in::run(args).await {
            Ok(()) => Exit::Done,
            Err(error) => fail(Exit::Failed, format!("{error:#}")),
        },
        Command::Init(args) => init::run(&args),
        Command::Health(args) => health::run(args).await,
        Command::Schema => {
            say(schema::run());
            Exit::Done
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Lines of examples, of that command and of those below it, that a terminal of 80 columns
    /// would break.
    fn broken(command: &clap::Command) -> Vec<String> {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let example = |line: &&str| line.starts_with("  ") && line.chars().count() > 80;
        let own = help
            .lines()
            .filter(example)
            .map(str::to_owned)
            .collect::<Vec<_>>();
        own.into_iter()
            .chain(command.get_subcommands().flat_map(broken))
            .collect()
    }

    #[test]
    fn no_terminal_breaks_an_example_so_that_half_of_it_is_copied() {
        assert_eq!(broken(&Arguments::command()), Vec::<String>::new());
    }
}
