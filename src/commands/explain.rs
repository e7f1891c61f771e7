//! `user-courier explain`: what is known of one user at one target.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::commands::bar::Bar;
use crate::commands::dead_letters::{ConfigArgs, failed, open};
use crate::commands::{Exit, blocking, fail, say};
use crate::operator::explain::Explanation;
use crate::operator::input;
use crate::operator::judge::TargetUser;
use crate::operator::user_sheet::{LATELY, json, sheet};

/// How long the admin endpoint may take.
const STATUS: Duration = Duration::from_secs(1);

/// Tells what waits for a user and behind what, what was delivered lately, what is dead, and which
/// fields last changed when.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  user-courier explain valt 52 --config config/user-courier.toml"
)]
pub struct ExplainArgs {
    /// The target, as the configuration names it.
    target: String,
    /// The user's id there.
    user: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// How far back outcomes are read: a time, a date, or an age such as 30d. Seven days unless
    /// said.
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    since: Option<Timestamp>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: ExplainArgs) -> Exit {
    blocking(move || explain(&args)).await
}

fn explain(args: &ExplainArgs) -> Result<Exit, Exit> {
    let (mut admin, mut user) = (None, None);
    let desk = open(&args.config, |config| {
        admin = Some(config.admin.listen);
        let found = input::target(config, &args.target);
        found.map_err(|why| fail(Exit::Usage, format!("{}: {why}", args.target)))?;
        let id = input::user(config, Some(&args.target), &args.user);
        user = Some(id.map_err(|why| fail(Exit::Usage, format!("{}: {why}", args.user)))?);
        Ok(())
    })?;
    let Some(user) = user else {
        return Err(Exit::Failed);
    };
    let since = args.since.unwrap_or_else(|| {
        Timestamp::now()
            .checked_sub(LATELY)
            .unwrap_or(Timestamp::MIN)
    });
    let lane = TargetUser {
        target: args.target.clone(),
        user,
    };
    let found = Explanation::read(&desk, lane, since, &mut Bar::new()).map_err(failed)?;
    let state = admin.and_then(|address| status(address, &args.target));
    say(if args.json {
        json(&found, state).to_string()
    } else {
        sheet(
            &found,
            state.map(|state| ("the instance on this machine", state)),
            since,
        )
        .to_string()
        .trim_end()
        .to_owned()
    });
    Ok(Exit::Done)
}

/// The target's status from an instance on this machine, if one answers.
pub(super) fn status(address: SocketAddr, target: &str) -> Option<Value> {
    let mut stream = TcpStream::connect_timeout(&address, STATUS).ok()?;
    stream.set_read_timeout(Some(STATUS)).ok()?;
    write!(stream, "GET /status HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.take(1 << 20).read_to_string(&mut answer).ok()?;
    let status: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    Some(status["targets"][target].clone()).filter(Value::is_object)
}
