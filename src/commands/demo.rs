//! `user-courier demo`: the whole system in one process, with nothing installed.

use clap::Args;

use crate::commands::{Exit, fail};

/// Shows the whole system in one process: an embedded broker, stand-ins for both APIs, sample
/// traffic, and a verdict at the end.
///
/// Nothing needs to be installed, nothing leaves this machine, and nothing is left behind. Exits 0
/// only if every promise was kept.
#[derive(Args, Clone, Copy, Debug)]
#[command(
    after_help = "Examples:\n  user-courier demo\n  user-courier demo --faults\n  user-courier demo --events 20000"
)]
pub struct DemoArgs {
    /// How many events are sent.
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub events: u32,
    /// Adds an outage of one API and a throttle at the other.
    #[arg(long)]
    pub faults: bool,
}

/// Runs the demo.
#[cfg(feature = "demo")]
pub async fn run(args: DemoArgs) -> Exit {
    use crate::demo::{self, Options, Screen};
    let options = Options {
        events: args.events as usize,
        faults: args.faults,
    };
    match demo::run(
        options,
        &mut Screen::stdout(),
        crate::commands::run::stop_signal(),
    )
    .await
    {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Failed,
        Err(error) => fail(Exit::Failed, format!("{error:#}")),
    }
}

/// Says what is missing.
#[cfg(not(feature = "demo"))]
pub async fn run(_: DemoArgs) -> Exit {
    fail(
        Exit::Usage,
        "this build has no embedded broker: build it with the cargo feature `demo` (cargo run -- demo)",
    )
}
