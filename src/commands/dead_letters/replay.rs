//! `dead-letters replay`: a plan, a question, and then what the plan says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::commands::bar::Bar;
use crate::commands::dead_letters::{ConfigArgs, FilterArgs, failed, mention, open};
use crate::commands::run::stop_signal;
use crate::commands::{Exit, ask, can_ask, fail, note, say};
use crate::model::text;
use crate::operator::choice::{Choice, Mended};
use crate::operator::history::{Chosen, History};
use crate::operator::plan::{LetterPlan, PlannedAction};
use crate::operator::plan_line::{line, remark};
use crate::operator::replay::{self, Pace, Summary};
use crate::operator::table::{count, of, table};
use crate::operator::tally::Tally;
use crate::operator::{Desk, changes, mend};

/// How many examples of each action the plan shows.
const SAMPLES: usize = 3;

/// Puts dead letters back on the update topic, without what newer updates have overwritten.
///
/// Shows a plan and asks before it sends anything. What is sent is recorded with the sending, so it
/// can be interrupted at any point and run again.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    user-courier dead-letters replay --config config/user-courier.toml \\\n      --target valt --reason user_not_found --dry-run\n  \
    user-courier dead-letters replay --config config/user-courier.toml \\\n      --since 2h --rate 50 --yes\n  \
    user-courier dead-letters replay --config config/user-courier.toml \\\n      --from mended.jsonl\n\n\
    Exits 0 when all is done, 1 if something was refused or another replay took over, 2 for wrong usage, 3 if Kafka cannot be reached.")]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Replays these lines of `export`, mended by hand.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "reason", "user", "since", "until", "all"])]
    from: Option<PathBuf>,
    /// Shows the plan and sends nothing.
    #[arg(long)]
    dry_run: bool,
    /// The plan as one JSON object a line, with all dead letters in it.
    #[arg(long)]
    json: bool,
    /// Sends no more events a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Sends without asking.
    #[arg(long)]
    yes: bool,
    /// Sends also events that were replayed three times, and those whose later updates are unknown.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &ReplayArgs) -> Result<Exit, Exit> {
    let mut filter = Default::default();
    let desk = open(&args.config, |config| {
        filter = args.filter.filter(config)?;
        if !args.dry_run && !args.yes && !can_ask() {
            return Err(fail(
                Exit::Usage,
                "there is no terminal to ask at: add --yes to send, or --dry-run to see the plan only",
            ));
        }
        Ok(())
    })?;
    let mut bar = Bar::new();
    let (mut choice, mended) = match &args.from {
        Some(path) => from_file(&desk, path, &mut bar)?,
        None => (
            Choice::by_filter(&desk, &filter, &mut bar).map_err(failed)?,
            Mended::new(),
        ),
    };
    mention(choice.aside);
    let mut history = choice.history(&desk, &mut bar).map_err(failed)?;
    choice.without_settled(&history);
    let plan = plan(&desk, &history, &choice.letters, args);
    if args.dry_run {
        return Ok(Exit::Done);
    }
    let to_do: usize = [
        PlannedAction::Send,
        PlannedAction::Trim,
        PlannedAction::Supersede,
    ]
    .into_iter()
    .map(|action| plan.tally.of(action))
    .sum();
    if to_do == 0 {
        return Ok(if plan.tally.of(PlannedAction::Refuse) == 0 {
            Exit::Done
        } else {
            Exit::Failed
        });
    }
    if !args.yes && !agreed(&plan) {
        note("nothing was sent");
        return Ok(Exit::Done);
    }
    carry_out(&desk, &mut history, &choice.letters, &mended, args, bar)
}

/// Sends and settles what the plan says, and tells what came of it.
fn carry_out(
    desk: &Desk,
    history: &mut History<'_>,
    letters: &[Chosen],
    mended: &Mended,
    args: &ReplayArgs,
    mut bar: Bar,
) -> Result<Exit, Exit> {
    let (mut summary, began) = (Summary::default(), Instant::now());
    // Until here a signal ends the process at once; from here on the batch that is under way is
    // finished first.
    let stop = stop_signal();
    let pace = Pace {
        force: args.force,
        rate: args.rate,
        stop: &|| stop.is_asked(),
    };
    let done = replay::run(desk, history, letters, mended, pace, &mut bar, &mut summary);
    drop(bar);
    tell(desk, &summary, letters.len(), began);
    done.map_err(failed)?;
    let refused = summary
        .counts
        .get(&PlannedAction::Refuse)
        .is_some_and(|refused| *refused > 0);
    Ok(if refused || summary.stopped {
        Exit::Failed
    } else {
        Exit::Done
    })
}

fn from_file(desk: &Desk, path: &PathBuf, bar: &mut Bar) -> Result<(Choice, Mended), Exit> {
    let text = std::fs::read(path)
        .map_err(|error| fail(Exit::Usage, format!("--from {}: {error}", path.display())))?;
    let file = mend::read(desk, &text, bar).map_err(failed)?;
    if !file.mistakes.is_empty() {
        let mut words = format!(
            "--from {}: nothing was sent, {} to correct first",
            path.display(),
            of(file.mistakes.len(), "line", "lines")
        );
        for mistake in &file.mistakes {
            words += &format!("\n  line {}: {}", mistake.line, mistake.words);
        }
        return Err(fail(Exit::Usage, words));
    }
    let choice = Choice::of(desk, &file.letters, &file.mended).map_err(failed)?;
    Ok((choice, file.mended))
}

/// A plan's tally, with samples.
#[derive(Default)]
struct Plan {
    tally: Tally,
    samples: BTreeMap<PlannedAction, Vec<String>>,
}

fn plan(desk: &Desk, history: &History<'_>, letters: &[Chosen], args: &ReplayArgs) -> Plan {
    let mut plan = Plan::default();
    for one in letters {
        let step = history.step(one, args.force);
        if args.json {
            say(line(desk, one, &step));
        }
        plan.tally.add(one, step.action);
        let samples = plan.samples.entry(step.action).or_default();
        if samples.len() < SAMPLES {
            samples.push(sample(desk, one, &step));
        }
    }
    if !args.json {
        show(&plan, letters.len(), args.filter.all || args.from.is_some());
    }
    plan
}

fn show(plan: &Plan, total: usize, all: bool) {
    if total == 0 {
        say(if all {
            "no dead letters"
        } else {
            "no open dead letters"
        });
        return;
    }
    say(format_args!(
        "the plan for {}\n",
        of(total, "dead letter", "dead letters")
    ));
    let cells = |counts: &BTreeMap<PlannedAction, usize>| {
        PlannedAction::ALL.map(|action| count(counts.get(&action).copied().unwrap_or(0)))
    };
    let row = |((target, reason), counts): (&(String, &str), _)| {
        [target.clone(), (*reason).to_owned()]
            .into_iter()
            .chain(cells(counts))
            .collect()
    };
    let mut rows: Vec<Vec<String>> = plan.tally.counts.iter().map(row).collect();
    if rows.len() > 1 {
        let sums = PlannedAction::ALL.map(|action| count(plan.tally.of(action)));
        rows.push(
            [String::new(), "in all".to_owned()]
                .into_iter()
                .chain(sums)
                .collect(),
        );
    }
    say(table(
        &[
            "target",
            "reason",
            ">send",
            ">trim",
            ">supersede",
            ">refuse",
        ],
        &rows,
    ));
    for (action, samples) in &plan.samples {
        let meaning = match action {
            PlannedAction::Send => "send: all of it goes back",
            PlannedAction::Trim => "trim: what newer updates have overwritten is left out",
            PlannedAction::Supersede => {
                "supersede: newer updates have overwritten all of it, nothing is sent"
            }
            PlannedAction::Refuse => "refuse: it stays where it is",
        };
        say(format_args!("{meaning}, such as"));
        samples
            .iter()
            .for_each(|sample| say(format_args!("  {sample}")));
    }
}

fn sample(desk: &Desk, one: &Chosen, step: &LetterPlan) -> String {
    let place = format!("{}/{}/{}", desk.letters.name, one.spot.0, one.spot.1);
    let whose = one.user.as_ref().map_or_else(
        || one.target.to_string(),
        |user| format!("{} user {user}", one.target),
    );
    let names = |parts: &[String]| text::name(&changes::names(&one.parts, parts).join(", "), 80);
    let mut words = match step.action {
        PlannedAction::Send if step.sent.is_empty() => "as it is".to_owned(),
        PlannedAction::Send => names(&step.sent),
        PlannedAction::Trim => format!("{}, without {}", names(&step.sent), names(&step.left_out)),
        PlannedAction::Supersede => names(&step.left_out),
        PlannedAction::Refuse => String::new(),
    };
    for more in step.why.as_deref().into_iter().chain(remark(one, step)) {
        words += &format!(
            "{}{}",
            if words.is_empty() { "" } else { "; " },
            text::name(more, 200)
        );
    }
    format!("{place}  {whose}: {words}")
}

fn agreed(plan: &Plan) -> bool {
    let [send, trim, supersede] = [
        PlannedAction::Send,
        PlannedAction::Trim,
        PlannedAction::Supersede,
    ]
    .map(|action| plan.tally.of(action));
    ask(&format!(
        "Send {}, and settle {} without sending?",
        of(send + trim, "event", "events"),
        count(supersede)
    ))
}

fn tell(desk: &Desk, summary: &Summary, total: usize, began: Instant) {
    let [send, trim, supersede, refuse] =
        PlannedAction::ALL.map(|action| summary.counts.get(&action).copied().unwrap_or(0));
    let seconds = began.elapsed().as_secs_f64();
    let of_them = if trim > 0 {
        format!(" ({} of them without what was overwritten)", count(trim))
    } else {
        String::new()
    };
    note(format_args!(
        "replayed {}{of_them}, superseded {}, refused {} in {seconds:.1} s",
        of(send + trim, "event", "events"),
        count(supersede),
        count(refuse)
    ));
    for ((partition, offset), why) in &summary.refused {
        note(format_args!(
            "  refused {}/{partition}/{offset}: {}",
            desk.letters.name,
            text::name(why, 300)
        ));
    }
    if refuse > summary.refused.len() {
        note(format_args!(
            "  and {} more",
            count(refuse - summary.refused.len())
        ));
    }
    if summary.settled_elsewhere > 0 {
        note(format_args!(
            "{} had been settled by another replay meanwhile",
            of(summary.settled_elsewhere, "other", "others")
        ));
    }
    let left = total - send - trim - supersede - refuse - summary.settled_elsewhere;
    if left > 0 {
        note(format_args!(
            "stopped before {}: run the same command again to go on",
            of(left, "dead letter", "dead letters")
        ));
    }
}
