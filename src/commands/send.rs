//! `user-courier send`: one update, now, and what becomes of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use tracing::level_filters::LevelFilter;

use crate::commands::dead_letters::failed;
use crate::commands::explain::status;
use crate::commands::preview::open;
use crate::commands::run::stop_signal;
use crate::commands::{Exit, ask, blocking, can_ask, fail, load_with, note, say};
use crate::config::{Config, Needed};
use crate::model::outcome::{Kind, OutcomeData};
use crate::model::record::Place;
use crate::model::text;
use crate::operator::judge::TargetUser;
use crate::operator::preview::events::Events;
use crate::operator::preview::{Fate, Previewer, call_lines};
use crate::operator::send::{NewUpdate, OutcomeWatch, WaitFor, ending, of_fields};
use crate::operator::table::of;
use crate::operator::{Desk, ReadFailure, input};
use crate::telemetry::logging;

/// The longest wait. A clock cannot add any length.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
/// Bytes of a body that are shown.
const BODY: usize = 4_000;

/// Sends one update and tells what becomes of it.
///
/// Shows the call, asks, puts the event on the update topic, and waits for its outcome. What would
/// be a dead letter is not sent.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    user-courier send event.json --config config/user-courier.toml\n  \
    user-courier send --config config/user-courier.toml --target valt --user 52 \\\n      --set 'display_name=\"John Doe\"' --set 'rooms=[37, 39]'\n  \
    user-courier send - --config config/user-courier.toml --yes < event.json\n\n\
    The record's key is the user's id, as text. If the senders of your updates use another key\n\
    for a user, name it with --key: only updates with the same key are kept in order.\n\n\
    A command line is seen by others on this machine and kept by the shell: send a password from\n\
    a file. Settings over the configuration come from the environment, since --set is the\n\
    update's here. No API is called by this command, so it needs no secret of a target.\n\n\
    Exits 0 if the update was delivered, or merged into a later one that was; 1 if it is a dead\n\
    letter, would be one, or has not ended in time (then it stays queued); 2 for wrong usage; 3\n\
    if Kafka cannot be reached.")]
pub struct SendArgs {
    /// A file with one event in CloudEvents' JSON form, or `-` for standard input. An `id`, a
    /// `source` and a `time` are made if it has none.
    #[arg(value_name = "EVENT", conflicts_with_all = ["target", "user", "fields"])]
    event: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The target, in place of an event.
    #[arg(long, value_name = "NAME", requires_all = ["user", "fields"])]
    target: Option<String>,
    /// The user's id there.
    #[arg(long, value_name = "ID", requires = "target")]
    user: Option<String>,
    /// A field to set, and its value as JSON (repeatable).
    #[arg(long = "set", value_name = "FIELD=JSON", requires = "target")]
    fields: Vec<String>,
    /// The record's key, if it is not the user's id.
    #[arg(long, value_name = "KEY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key: Option<String>,
    /// How long the outcome is waited for.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = input::duration)]
    wait: Duration,
    /// Sends without asking. What would be a dead letter is refused all the same.
    #[arg(long)]
    yes: bool,
    /// Prints one JSON object at the end, and nothing else on standard output.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: SendArgs) -> Exit {
    blocking(move || send(&args)).await
}

fn send(args: &SendArgs) -> Result<Exit, Exit> {
    let is_input = args.event.as_deref() == Some(Path::new("-"));
    if !args.yes && (is_input || !can_ask()) {
        let words = match is_input {
            true => "standard input is the event, so there is nobody to ask: add --yes to send it",
            false => "there is no terminal to ask at: add --yes to send it",
        };
        return Err(fail(
            Exit::Usage,
            format!("{words}. `preview` shows the call and sends nothing"),
        ));
    }
    let config = load_with(Needed::Kafka, &args.config, &[])?;
    // Errors are said in words of our own. The log is there for panics.
    let _ = logging::start(&LevelFilter::ERROR.into(), config.log.format);
    let text = event(args, &config)?;
    let draft = NewUpdate::new(&Previewer::new(&config), &text, args.key.clone());
    let Some(lane) = draft.lane() else {
        return Ok(refuse(args, &draft));
    };
    let desk = Desk::open(&config).map_err(failed)?;
    show(args, &draft);
    if !args.yes && !agreed(&config) {
        note("nothing was sent");
        return Ok(Exit::Failed);
    }
    let follow = OutcomeWatch::begin(&desk).map_err(failed)?;
    let place = draft.send(&desk).map_err(failed)?;
    note(format_args!(
        "sent as {place}, event {}",
        text::name(draft.preview.identity.id.as_deref().unwrap_or_default(), 80)
    ));
    let ended = wait(args, &config, &desk, &lane, &place, follow);
    Ok(tell(args, &draft, &lane, &place, ended))
}

/// The event as it was given.
fn event(args: &SendArgs, config: &Config) -> Result<Vec<u8>, Exit> {
    let wrong = |words: String| fail(Exit::Usage, words);
    if let (Some(target), Some(user)) = (&args.target, &args.user) {
        let known = input::target(config, target);
        known.map_err(|why| wrong(format!("--target {target}: {why}")))?;
        let id = input::user_value(config, target, user);
        let id = id.map_err(|why| wrong(format!("--user {user}: {why}")))?;
        // Clap would quote what it refuses, and that may be a password.
        let fields: Result<Vec<_>, _> = args.fields.iter().map(|text| input::field(text)).collect();
        let fields = fields.map_err(|why| wrong(format!("--set: {why}")))?;
        return Ok(of_fields(target, &id, &fields));
    }
    let Some(path) = args.event.as_deref() else {
        return Err(wrong(
            "there is nothing to send: name a file with an event, `-` for standard input, \
             or --target, --user and --set"
                .to_owned(),
        ));
    };
    let (name, input, _) = open(path)?;
    let mut events = Events::new(input).map(|found| {
        let found = found.map_err(|error| wrong(format!("{name}: {error}")))?;
        Ok(found.text)
    });
    let Some(first) = events.next() else {
        return Err(wrong(format!("{name} holds no event")));
    };
    match events.next() {
        None => first,
        Some(_) => Err(wrong(format!(
            "{name} holds more than one event: send them one by one, \
             so that each is seen to its end"
        ))),
    }
}

fn refuse(args: &SendArgs, draft: &NewUpdate) -> Exit {
    if let Fate::Dead(reason, message) = &draft.preview.fate {
        note(format_args!(
            "nothing was sent: it would be a dead letter, {}\n  {}",
            reason.as_str(),
            text::one_line(message)
        ));
    }
    if args.json {
        say(ending(draft, "refused", None, None));
    }
    Exit::Failed
}

/// Shows what would be called.
fn show(args: &SendArgs, draft: &NewUpdate) {
    let Fate::Call(sent) = &draft.preview.fate else {
        return;
    };
    let words = format!(
        "{}, user {}, record key {}\n{}",
        draft.preview.target.as_deref().unwrap_or_default(),
        text::name(&sent.user.to_string(), 80),
        text::name(draft.key.as_deref().unwrap_or_default(), 80),
        call_lines(sent, BODY)
    );
    match args.json {
        true => note(words),
        false => say(words),
    }
}

fn agreed(config: &Config) -> bool {
    let kafka = &config.kafka;
    let topic = &kafka.topics.updates;
    ask(&format!(
        "Send it to {topic} at {}?",
        kafka.bootstrap_servers
    ))
}

fn wait(
    args: &SendArgs,
    config: &Config,
    desk: &Desk,
    lane: &TargetUser,
    place: &Place,
    follow: OutcomeWatch,
) -> Result<Option<OutcomeData>, ReadFailure> {
    let stop = stop_signal();
    let mut waiting = WaitFor {
        until: Instant::now() + args.wait.min(LONGEST),
        is_over: &|| stop.is_asked(),
        status: &|| status(config.admin.listen, &lane.target),
        tell: &mut |words| note(format_args!("waiting: {words}")),
    };
    follow.outcome(desk, lane, place, &mut waiting)
}

/// Tells how it ended, or how to look later.
fn tell(
    args: &SendArgs,
    draft: &NewUpdate,
    lane: &TargetUser,
    place: &Place,
    ended: Result<Option<OutcomeData>, ReadFailure>,
) -> Exit {
    let (name, exit, outcome) = match ended {
        Ok(Some(data)) => match data.outcome {
            Kind::Delivered | Kind::Merged => (data.outcome.as_str(), Exit::Done, Some(data)),
            _ => (data.outcome.as_str(), Exit::Failed, Some(data)),
        },
        Ok(None) => ("waiting", Exit::Failed, None),
        Err(failure) => ("unknown", failed(failure), None),
    };
    if args.json {
        say(ending(draft, name, Some(place), outcome.as_ref()));
    }
    let words = match &outcome {
        Some(data) => ended_so(data, lane, &args.config),
        None => format!(
            "{} It stays queued as {place}, and nothing has to be sent again. To look later:\n  {}",
            match name {
                "waiting" => format!("It has not ended within {:?}.", args.wait),
                _ => "The event was sent, and how it ends is not known here.".to_owned(),
            },
            look_later(lane, &args.config)
        ),
    };
    match args.json {
        true => note(words),
        false => say(words),
    }
    exit
}

fn ended_so(data: &OutcomeData, lane: &TargetUser, config: &Path) -> String {
    let status = match (data.http_status, data.attempts) {
        (Some(status), 1) => format!(", answered {status}"),
        (Some(status), _) => format!(", the last answered {status}"),
        (None, _) => String::new(),
    };
    let calls = of(data.attempts as usize, "call", "calls");
    match data.outcome {
        Kind::Delivered => format!("delivered: {calls}{status}"),
        Kind::Merged => match &data.into {
            Some(into) => format!("merged: delivered inside a later update of this user, {into}"),
            None => "merged: delivered inside a later update of this user".to_owned(),
        },
        _ => {
            let mut words = format!(
                "a dead letter, {}: {calls}{status}",
                data.reason.map_or("", engine::verdict::Reason::as_str)
            );
            if let Some(error) = &data.error {
                words += &format!("\n  {}", text::one_line(&error.message));
                for (field, messages) in &error.fields {
                    let [field, said] =
                        [field, &messages.join(", ")].map(|part| text::one_line(part));
                    words += &format!("\n  {field}: {said}");
                }
            }
            format!(
                "{words}\nTo see it and what can be done:\n  {}",
                letters(lane, config)
            )
        }
    }
}

fn look_later(lane: &TargetUser, config: &Path) -> String {
    format!(
        "user-courier explain {} {} --config {}",
        lane.target,
        quoted(&lane.user.to_string()),
        quoted(&config.display().to_string())
    )
}

fn letters(lane: &TargetUser, config: &Path) -> String {
    format!(
        "user-courier dead-letters list --target {} --user {} --config {}",
        lane.target,
        quoted(&lane.user.to_string()),
        quoted(&config.display().to_string())
    )
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@:+".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_to_copy_is_quoted_as_a_shell_needs_it() {
        for (word, shown) in [
            ("52", "52"),
            ("config/user-courier.toml", "config/user-courier.toml"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }
}
