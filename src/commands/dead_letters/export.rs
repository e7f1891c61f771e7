//! `dead-letters export`: dead letters as JSON lines, to be mended by hand and given to `replay
//! --from`.

use std::io::{BufWriter, Write, stdout};

use clap::Args;

use crate::commands::bar::Bar;
use crate::commands::dead_letters::{ConfigArgs, FilterArgs, failed, mention, open};
use crate::commands::{Exit, tell};
use crate::operator::{export, mend};

/// Writes dead letters as JSON lines, for `replay --from` after they were mended.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    user-courier dead-letters export --config config/user-courier.toml \\\n      --reason rejected > letters.jsonl\n  \
    $EDITOR letters.jsonl\n  \
    user-courier dead-letters replay --config config/user-courier.toml \\\n      --from letters.jsonl\n\n\
    Each line has the event in CloudEvents' JSON form. A value that is left as \"***\" is sent as it stands in the dead letter.")]
pub(super) struct ExportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Shows secret values, and what cannot be decoded.
    #[arg(long)]
    reveal: bool,
}

pub(super) fn run(args: &ExportArgs) -> Result<Exit, Exit> {
    let mut filter = Default::default();
    let desk = open(&args.config, |config| {
        filter = args.filter.filter(config)?;
        Ok(())
    })?;
    let mut out = BufWriter::new(stdout());
    let aside = desk.letters(&filter, &mut Bar::new(), |letter, _| {
        let original = if letter.is_shortened() {
            mend::original(&desk, &letter)?
        } else {
            None
        };
        let content = if letter.is_shortened() {
            original.as_ref()
        } else {
            Some(&letter.record)
        };
        tell(
            &mut out,
            export::object(&desk, &letter, content, args.reveal),
        );
        Ok(())
    });
    mention(aside.map_err(failed)?);
    let _ = out.flush();
    Ok(Exit::Done)
}
