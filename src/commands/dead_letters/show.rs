//! `dead-letters show`: everything about one of them.

use clap::Args;

use crate::commands::bar::Bar;
use crate::commands::dead_letters::{ConfigArgs, failed, open};
use crate::commands::{Exit, fail, say};
use crate::model::record::Place;
use crate::operator::letter_sheet;
use crate::operator::story::Story;

/// Shows one dead letter: the event, why it failed, what happened to its user since, and what a
/// replay would do.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  user-courier dead-letters show user-update-dead-letters/3/17 \\\n      --config config/user-courier.toml"
)]
pub(super) struct ShowArgs {
    /// Its position, as `list` shows it.
    #[arg(value_name = "TOPIC/PARTITION/OFFSET")]
    place: Place,
    #[command(flatten)]
    config: ConfigArgs,
    /// Shows secret values, and what cannot be decoded.
    #[arg(long)]
    reveal: bool,
}

pub(super) fn run(args: &ShowArgs) -> Result<Exit, Exit> {
    let desk = open(&args.config, |_| Ok(()))?;
    let Some(letter) = desk.letter(&args.place).map_err(failed)? else {
        let words = format!(
            "there is no dead letter at {}: `user-courier dead-letters list` shows where they stand",
            args.place
        );
        return Err(fail(Exit::Failed, words));
    };
    let story = Story::read(&desk, letter, &mut Bar::new()).map_err(failed)?;
    say(letter_sheet::sheet(&story, args.reveal)
        .to_string()
        .trim_end());
    Ok(Exit::Done)
}
