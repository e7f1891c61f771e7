//! `user-courier explain`: what is known of one user at one target.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::commands::bar::Bar;
use crate::commands::dead_letters::{ConfigArgs, failed, open, time, user};
use crate::commands::sheet::{Section, Sheet};
use crate::commands::table::{of, times};
use crate::commands::{Exit, fail, say};
use crate::model::event::UserId;
use crate::model::outcome::{OutcomeData, timestamp};
use crate::model::text;
use crate::operator::Letter;
use crate::operator::explain::{Changed, Explanation, Waiting};
use crate::operator::judge::Lane;

/// How far back outcomes are read unless said.
pub(crate) const LATELY: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long the admin endpoint may take.
const STATUS: Duration = Duration::from_secs(1);

/// Tells what waits for a user and behind what, what was delivered lately, what is dead, and which fields last changed when.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  user-courier explain valt 52 --config config/user-courier.toml")]
pub struct ExplainArgs {
    /// The target, as the configuration names it.
    target: String,
    /// The user's number there.
    #[arg(value_name = "USER", value_parser = user)]
    user: UserId,
    #[command(flatten)]
    config: ConfigArgs,
    /// How far back outcomes are read: a time, a date, or an age such as 30d. Seven days unless said.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: ExplainArgs) -> Exit {
    // The Kafka client's calls block.
    match tokio::task::spawn_blocking(move || explain(&args)).await {
        Ok(Ok(exit) | Err(exit)) => exit,
        Err(_) => fail(Exit::Failed, "a panic: please report this, it is a fault of this program"),
    }
}

fn explain(args: &ExplainArgs) -> Result<Exit, Exit> {
    let mut admin = None;
    let desk = open(&args.config, |config| {
        admin = Some(config.admin.listen);
        if config.targets.iter().any(|target| target.name == args.target) {
            return Ok(());
        }
        let names: Vec<_> = config.targets.iter().map(|target| target.name.as_str()).collect();
        Err(fail(Exit::Usage, format!("there is no target {}; the configuration has {}", args.target, names.join(", "))))
    })?;
    let since = args.since.unwrap_or_else(|| Timestamp::now().checked_sub(LATELY).unwrap_or(Timestamp::MIN));
    let lane = Lane { target: args.target.clone(), user: args.user };
    let found = Explanation::read(&desk, lane, since, &mut Bar::new()).map_err(failed)?;
    let state = admin.and_then(|address| status(address, &args.target));
    say(if args.json {
        json(&found, state).to_string()
    } else {
        sheet(&found, state.map(|state| ("the instance on this machine", state)), since).to_string().trim_end().to_owned()
    });
    Ok(Exit::Done)
}

/// What an instance on this machine says of the target, if one answers.
fn status(address: SocketAddr, target: &str) -> Option<Value> {
    let mut stream = TcpStream::connect_timeout(&address, STATUS).ok()?;
    stream.set_read_timeout(Some(STATUS)).ok()?;
    write!(stream, "GET /status HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.take(1 << 20).read_to_string(&mut answer).ok()?;
    let status: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    Some(status["targets"][target].clone()).filter(Value::is_object)
}

fn json(found: &Explanation, state: Option<Value>) -> Value {
    let dead: Vec<_> = found
        .dead
        .iter()
        .map(|letter| json!({ "place": letter.place().to_string(), "reason": letter.facts.reason.as_str(), "failed_at": timestamp(letter.facts.failed_at) }))
        .collect();
    json!({
        "target": found.lane.target, "user": found.lane.user.get(), "state": state,
        "waiting": { "count": found.waiting_count, "first": found.waiting },
        "delivered": { "count": found.delivered_count, "last": found.delivered },
        "dead": dead, "fields": found.fields,
    })
}

/// All that is told of the user. `state`: who says what of the target.
pub(crate) fn sheet(found: &Explanation, state: Option<(&str, Value)>, since: Timestamp) -> Sheet {
    let mut sheet = Sheet { title: format!("user {} at {}", found.lane.user, found.lane.target), ..Sheet::default() };
    let target = sheet.section("target");
    match state {
        Some((who, state)) => {
            let text = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
            let cause = if text("cause") == "none" { String::new() } else { format!(" ({})", text("cause")) };
            target.line(format!("{}{cause} since {}, as {who} says", text("state"), text("since")));
            if text("state") != "flowing" {
                let next = Some(text("next_probe_at"))
                    .filter(|next| !next.is_empty())
                    .map_or_else(|| "under way".to_owned(), |next| format!("at {next}"));
                target.line(format!("because: {}; next probe {next}", text::name(&text("last_error"), 200)));
            }
        }
        None => drop(target.line("no instance answers at admin.listen, so what the target does is not known here")),
    }

    waiting(sheet.section("waiting"), found);
    delivered(sheet.section(format!("delivered since {}", timestamp(since))), found);

    let dead = sheet.section("dead letters");
    if found.dead.is_empty() {
        dead.line("none is open");
    } else {
        let row =
            |letter: &Letter| vec![timestamp(letter.facts.failed_at), letter.facts.reason.as_str().to_owned(), letter.place().to_string()];
        dead.rows(&["given up (UTC)", "reason", "place"], found.dead.iter().map(row).collect());
        dead.line("`user-courier dead-letters show PLACE` tells more of each");
    }

    let fields = sheet.section("fields last changed");
    if found.fields.is_empty() {
        fields.line("none in that time");
    } else {
        let row = |(field, changed): (&String, &Changed)| vec![text::name(field, 60), changed.at.clone(), changed.record.to_string()];
        fields.rows(&["field", "confirmed (UTC)", "record"], found.fields.iter().map(row).collect());
    }
    sheet
}

fn waiting(section: &mut Section, found: &Explanation) {
    if found.waiting.is_empty() {
        section.line("nothing");
        return;
    }
    section.line(format!("{}, called in this order, one after the other", of(found.waiting_count, "update", "updates")));
    let row = |(at, update): (usize, &Waiting)| {
        let behind = match at {
            0 if update.attempts > 0 => format!("next, called {} so far", times(update.attempts)),
            0 => "next".to_owned(),
            1 => "behind the first".to_owned(),
            more => format!("behind {more} others"),
        };
        vec![update.written_at.clone().unwrap_or_default(), behind, names(&update.fields), update.record.to_string()]
    };
    section.rows(&["written (UTC)", "stands", "fields", "record"], found.waiting.iter().enumerate().map(row).collect());
}

fn delivered(section: &mut Section, found: &Explanation) {
    if found.delivered.is_empty() {
        section.line("nothing");
        return;
    }
    let more = if found.delivered_count > found.delivered.len() { ", of which the last" } else { "" };
    section.line(format!("{}{more}", of(found.delivered_count, "update", "updates")));
    let row = |data: &OutcomeData| {
        let into = data.into.as_ref().map_or_else(String::new, |into| format!(" into {}", into.offset));
        vec![
            data.finished_at.clone(),
            format!("{}{into}", data.outcome.as_str()),
            names(data.fields.as_deref().unwrap_or_default()),
            data.record.to_string(),
        ]
    };
    section.rows(&["confirmed (UTC)", "outcome", "fields", "record"], found.delivered.iter().map(row).collect());
}

fn names(fields: &[String]) -> String {
    text::name(&fields.join(", "), 60)
}
