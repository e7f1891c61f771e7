//! The screen: lines that stay, and on a terminal a bar for each target below them.

use std::io::{self, Write};

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::demo::findings::Verdict;

/// The output of the demo.
pub struct Screen {
    /// Empty if the output is no terminal.
    bars: Option<MultiProgress>,
    out: Box<dyn Write + Send>,
}

impl Screen {
    /// Standard output, with bars and colours if that is a terminal.
    pub fn stdout() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        Screen {
            bars: (!bars.is_hidden()).then_some(bars),
            out: Box::new(io::stdout()),
        }
    }

    /// Plain lines to anywhere.
    pub fn plain(out: impl Write + Send + 'static) -> Self {
        Screen {
            bars: None,
            out: Box::new(out),
        }
    }

    /// A bar for a target with so many events; none if the output is no terminal.
    pub(super) fn bar(&self, target: &str, events: usize) -> Option<ProgressBar> {
        // A template that is wrong is seen by every test.
        let style =
            ProgressStyle::with_template("  {prefix:<10} {bar:12} {pos:>6} of {len:<6} {msg}")
                .ok()?;
        let bar = ProgressBar::new(events as u64)
            .with_style(style)
            .with_prefix(target.to_owned());
        Some(self.bars.as_ref()?.add(bar))
    }

    /// Writes lines that stay.
    pub(super) fn say(&mut self, words: &str) -> io::Result<()> {
        match &self.bars {
            Some(bars) => bars.suspend(|| writeln!(self.out, "{words}")),
            None => writeln!(self.out, "{words}"),
        }
    }

    /// Says whether a promise was kept.
    pub(super) fn verdict(&mut self, verdict: &Verdict) -> io::Result<()> {
        let line = match verdict {
            Ok(words) => format!("  {} {words}", style("✓").green()),
            Err(words) => format!("  {} {words}", style("✗").red()),
        };
        self.say(&line)
    }
}
