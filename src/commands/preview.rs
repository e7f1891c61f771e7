//! `user-courier preview`: what would become of events, without sending any.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Write, stdin, stdout};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use tracing::level_filters::LevelFilter;

use crate::commands::bar::Bar;
use crate::commands::dead_letters::{ConfigArgs, failed};
use crate::commands::{Exit, blocking, fail, note, say, tell};
use crate::config::{Config, Needed};
use crate::model::text;
use crate::operator::preview::events::Events;
use crate::operator::preview::{self, Preview, PreviewTally, Previewer, TopicPart};
use crate::operator::table::number;
use crate::operator::{Watch, input};
use crate::telemetry::logging;

/// Events of a file that are shown one by one.
const SHOWN: u64 = 50;

/// Says what would become of events, and sends nothing: the call, or the reason of the dead letter.
///
/// Without EVENTS it reads the update topic, up to where it ends now, and joins no group. No API is
/// asked, and for a file no Kafka.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    user-courier preview event.json --config config/user-courier.toml\n  \
    cat samples/*.json | user-courier preview - --config config/user-courier.toml\n  \
    user-courier preview --config config/user-courier.toml --since 2h\n\n\
    The first 50 events of a file are shown one by one, then all of them in tables. Values of\n\
    secret fields are masked. Secrets that the configuration names need not be there, but for\n\
    those of [kafka] if the topic is read.\n\n\
    Exits 0 if every event would be called for, 1 if any would be a dead letter, 2 for wrong\n\
    usage, a file that cannot be read or holds no event, 3 if Kafka cannot be reached.")]
pub struct PreviewArgs {
    /// A file, or `-` for standard input: one event in CloudEvents' JSON form, which may span
    /// lines, or one a line.
    #[arg(value_name = "EVENTS")]
    events: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Only records written then or later: 2026-11-22T09:00:00Z, 2026-11-22 (midnight UTC), or an
    /// age such as 30m, 2h, 3d.
    #[arg(long, value_name = "TIME", value_parser = input::time, conflicts_with = "events")]
    since: Option<Timestamp>,
    /// Looks at no more events than that, the first that are read.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// One JSON object a line for each event, and nothing else on standard output.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: PreviewArgs) -> Exit {
    blocking(move || preview(&args)).await
}

fn preview(args: &PreviewArgs) -> Result<Exit, Exit> {
    let needed = match args.events {
        Some(_) => Needed::Nothing,
        None => Needed::Kafka,
    };
    let config = args.config.load(needed)?;
    // Errors are said in words of our own. The log is there for panics.
    let _ = logging::start(&LevelFilter::ERROR.into(), config.log.format);
    let mut told = PreviewOutput::new(args);
    let (what, source) = match &args.events {
        Some(path) => ("event", of_file(&config, path, args, &mut told)?),
        None => ("record", of_topic(&config, args, &mut told)?),
    };
    let PreviewOutput { tally, mut out, .. } = told;
    let sheet = preview::sheet(&tally, what, &source, args.events.is_none());
    let _ = out.flush();
    // One event of a file was shown as it is.
    let is_told = args.events.is_some() && tally.events == 1;
    match args.json {
        true => note(&sheet.title),
        false if is_told => {}
        false => say(sheet.to_string().trim_end()),
    }
    Ok(match tally.dead {
        0 => Exit::Done,
        _ => Exit::Failed,
    })
}

/// The output so far.
struct PreviewOutput {
    tally: PreviewTally,
    json: bool,
    /// Events that are still shown one by one.
    left: u64,
    out: BufWriter<std::io::Stdout>,
}

impl PreviewOutput {
    fn new(args: &PreviewArgs) -> Self {
        PreviewOutput {
            tally: PreviewTally::default(),
            json: args.json,
            left: args.events.as_ref().map_or(0, |_| SHOWN),
            out: BufWriter::new(stdout()),
        }
    }

    fn add(&mut self, preview: &Preview) {
        self.tally.add(preview);
        if self.json {
            tell(&mut self.out, preview.json());
        } else if self.left > 0 {
            self.left -= 1;
            let _ = writeln!(self.out, "{}\n", text::printable(&preview::lines(preview)));
        }
    }

    /// Whether nothing is written to the terminal that a progress bar would disturb.
    fn is_silent(&self) -> bool {
        self.left == 0 && !(self.json && stdout().is_terminal())
    }
}

fn of_topic(config: &Config, args: &PreviewArgs, told: &mut PreviewOutput) -> Result<String, Exit> {
    let previewer = Previewer::new(config);
    let part = TopicPart {
        since: args.since,
        limit: args.limit,
    };
    let (mut bar, mut silent) = (Bar::new(), ());
    let watch: &mut dyn Watch = match told.is_silent() {
        true => &mut bar,
        false => &mut silent,
    };
    let seen = preview::of_topic(&config.kafka, &previewer, part, watch, |preview| {
        told.add(&preview);
        Ok(())
    });
    drop(bar);
    if seen.map_err(failed)?.is_cut {
        note("there are more records: --limit ended the reading");
    }
    Ok(config.kafka.topics.updates.clone())
}

fn of_file(
    config: &Config,
    path: &Path,
    args: &PreviewArgs,
    told: &mut PreviewOutput,
) -> Result<String, Exit> {
    let previewer = Previewer::new(config);
    let (name, input, bytes) = open(path)?;
    let mut events = Events::new(input);
    let mut bar = Bar::new();
    bar.begin("reading events", bytes);
    let mut is_cut = false;
    while let Some(found) = events.next() {
        if args.limit.is_some_and(|limit| told.tally.events >= limit) {
            is_cut = true;
            break;
        }
        let found = found.map_err(|error| fail(Exit::Usage, format!("{name}: {error}")))?;
        told.add(&previewer.event(found.line, found.text));
        if bytes > 0 && told.is_silent() {
            bar.advance(events.bytes);
        }
    }
    drop(bar);
    if told.tally.events == 0 {
        return Err(fail(Exit::Usage, format!("{name} holds no event")));
    }
    if is_cut {
        note("there are more events: --limit ended the reading");
    } else if !args.json && told.tally.events > SHOWN {
        let more = number(told.tally.events - SHOWN);
        let _ = writeln!(told.out, "and {more} more: --json shows each\n");
    }
    Ok(name)
}

/// Opens a file, or standard input for `-`: its name, and how long it is if that is known.
pub(super) fn open(path: &Path) -> Result<(String, Box<dyn BufRead>, u64), Exit> {
    if path == Path::new("-") {
        if stdin().is_terminal() {
            note("paste an event, then press Enter and Ctrl-D");
        }
        let name = "standard input".to_owned();
        return Ok((name, Box::new(stdin().lock()), 0));
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| fail(Exit::Usage, format!("{name}: {error}")))?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    Ok((name, Box::new(BufReader::new(file)), bytes))
}
