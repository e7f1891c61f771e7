//! `dead-letters list`: how many there are of each target and reason, and the latest of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{BufWriter, Write, stdout};

use clap::Args;
use serde_json::json;

use crate::commands::bar::Bar;
use crate::commands::dead_letters::{ConfigArgs, FilterArgs, failed, mention, open};
use crate::commands::{Exit, note, say, tell};
use crate::model::event;
use crate::model::outcome::timestamp;
use crate::model::text;
use crate::operator::table::{count, of, table};
use crate::operator::{Desk, Letter};

/// The rows of the table. Whoever wants more takes a filter, or `--json`.
const ROWS: usize = 50;
/// The characters of the column with the fields.
const FIELDS: usize = 40;

/// Counts dead letters by target and reason, and lists them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    user-courier dead-letters list --config config/user-courier.toml\n  \
    user-courier dead-letters list --config config/user-courier.toml \\\n      --target valt --since 2h --json | jq .place\n\n\
    The table has the latest 50; with --json every one is a line.")]
pub(super) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// One JSON object a line, in the order of the partitions.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ListArgs) -> Result<Exit, Exit> {
    let mut filter = Default::default();
    let desk = open(&args.config, |config| {
        filter = args.filter.filter(config)?;
        Ok(())
    })?;
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    let mut latest: BinaryHeap<Reverse<ListRow>> = BinaryHeap::new();
    let mut out = BufWriter::new(stdout());
    let mut from_before = 0;
    let aside = desk.letters(&filter, &mut Bar::new(), |letter, open| {
        if args.json {
            tell(&mut out, line(&desk, &letter, open));
            return Ok(());
        }
        from_before += usize::from(desk.is_from_before(&letter));
        let facts = &letter.facts;
        match counts.get_mut(&(facts.target.clone(), facts.reason.as_str())) {
            Some(count) => *count += 1,
            None => drop(counts.insert((facts.target.clone(), facts.reason.as_str()), 1)),
        }
        let key = (facts.failed_at, letter.place().clone());
        if latest.len() >= ROWS
            && latest
                .peek()
                .is_some_and(|Reverse(oldest)| key < oldest.key)
        {
            return Ok(());
        }
        latest.push(Reverse(ListRow {
            key,
            cells: cells(&letter, open, args.filter.all),
        }));
        if latest.len() > ROWS {
            latest.pop();
        }
        Ok(())
    });
    mention(aside.map_err(failed)?);
    if args.json {
        let _ = out.flush();
        return Ok(Exit::Done);
    }
    print(args, &counts, latest, from_before);
    Ok(Exit::Done)
}

/// How many there are of each kind, and the latest of them.
fn print(
    args: &ListArgs,
    counts: &BTreeMap<(String, &str), usize>,
    latest: BinaryHeap<Reverse<ListRow>>,
    from_before: usize,
) {
    let total: usize = counts.values().sum();
    let open = if args.filter.all { "" } else { "open " };
    if total == 0 {
        say(format_args!(
            "no {open}dead letters{}",
            if args.filter.all {
                ""
            } else {
                " (--all shows those that were replayed or superseded too)"
            }
        ));
        return;
    }
    say(format_args!(
        "{}\n",
        of(
            total,
            &format!("{open}dead letter"),
            &format!("{open}dead letters")
        )
    ));
    let rows: Vec<_> = counts
        .iter()
        .map(|((target, reason), number)| {
            vec![target.clone(), (*reason).to_owned(), count(*number)]
        })
        .collect();
    say(table(&["target", "reason", ">count"], &rows));
    let shown = latest.len();
    let rows: Vec<_> = latest
        .into_sorted_vec()
        .into_iter()
        .rev()
        .map(|Reverse(row)| row.cells)
        .collect();
    let head = [
        "given up (UTC)",
        "target",
        ">user",
        "reason",
        ">status",
        ">attempts",
        "fields",
        "state",
        "place",
    ];
    let head: Vec<_> = head
        .into_iter()
        .filter(|name| args.filter.all || *name != "state")
        .collect();
    say(table(&head, &rows).trim_end());
    if from_before > 0 {
        note(format_args!(
            "\n{} from before the update topic was made anew: a replay refuses such without --force.",
            of(from_before, "of them is", "of them are")
        ));
    }
    if shown < total {
        note(format_args!(
            "\nThese are the latest {shown}. Narrow it down with --target, --reason, --user, --since; or take --json for all of them."
        ));
    }
}

/// A row of the table, in the order of time.
struct ListRow {
    key: (jiff::Timestamp, crate::model::record::Place),
    cells: Vec<String>,
}

impl PartialEq for ListRow {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for ListRow {}

impl PartialOrd for ListRow {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ListRow {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

fn cells(letter: &Letter, open: bool, all: bool) -> Vec<String> {
    let facts = &letter.facts;
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let fields = event::decode(&letter.record)
        .map(|event| event.fields().join(", "))
        .unwrap_or_default();
    let fields = Some(text::name(&fields, FIELDS)).filter(|fields| !fields.is_empty());
    let mut cells = vec![
        facts.failed_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        facts.target.clone(),
        or_dash(facts.user.as_ref().map(ToString::to_string)),
        facts.reason.as_str().to_owned(),
        or_dash(facts.http_status.map(|status| status.to_string())),
        facts.attempts.to_string(),
        or_dash(fields),
    ];
    if all {
        cells.push(if open { "open" } else { "settled" }.to_owned());
    }
    cells.push(letter.place().to_string());
    cells
}

fn line(desk: &Desk, letter: &Letter, open: bool) -> serde_json::Value {
    let facts = &letter.facts;
    let decoded = event::decode(&letter.record);
    let fields = decoded.as_ref().ok().map(event::Event::fields);
    let identity = decoded.map_or_else(|undecodable| undecodable.identity, |event| event.identity);
    json!({
        "place": letter.place().to_string(),
        "failed_at": timestamp(facts.failed_at),
        "target": facts.target,
        "user": desk.judge.user_value(&facts.target, facts.user.as_ref()),
        "reason": facts.reason.as_str(),
        "error": facts.message,
        "http_status": facts.http_status,
        "attempts": facts.attempts,
        "fields": fields.filter(|fields| !fields.is_empty()),
        "event": { "id": identity.id, "source": identity.source, "type": identity.event_type },
        "record": facts.origin.to_string(),
        "replays": facts.replays,
        "from_before": desk.is_from_before(letter),
        "open": open,
    })
}
