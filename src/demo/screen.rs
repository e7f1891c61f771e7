//! The screen: lines that stay, and on a terminal a block below them that is drawn anew. Elsewhere there are no control characters.

use std::fmt;
use std::io::{self, IsTerminal, Write};

/// Where the demo is shown.
pub struct Screen {
    out: Box<dyn Write + Send>,
    terminal: bool,
    colors: bool,
    drawn: usize,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Waiting,
    Bad,
    Aside,
}

impl Screen {
    /// Standard output, with a block that moves and colors where that is a terminal.
    pub fn stdout() -> Self {
        let out = io::stdout();
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        let terminal = out.is_terminal() && variable("TERM") != "dumb";
        Screen { terminal, colors: terminal && variable("NO_COLOR").is_empty(), out: Box::new(out), drawn: 0 }
    }

    /// Plain lines to anywhere.
    pub fn plain(out: impl Write + Send + 'static) -> Self {
        Screen { out: Box::new(out), terminal: false, colors: false, drawn: 0 }
    }

    /// Whether a block can be drawn.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes lines that stay.
    pub(super) fn say(&mut self, words: &str) -> io::Result<()> {
        self.erase()?;
        writeln!(self.out, "{words}")?;
        self.out.flush()
    }

    /// Draws the block in place of the last one.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        self.erase()?;
        // Without wrapping, so that a line is one line in a narrow window too.
        write!(self.out, "\x1b[?7l")?;
        for line in lines {
            writeln!(self.out, "{line}")?;
        }
        write!(self.out, "\x1b[?7h")?;
        self.drawn = lines.len();
        self.out.flush()
    }

    /// Leaves the block standing: what is said next comes below it.
    pub(super) fn keep(&mut self) {
        self.drawn = 0;
    }

    fn erase(&mut self) -> io::Result<()> {
        if self.drawn > 0 {
            write!(self.out, "\x1b[{}A\x1b[J", self.drawn)?;
            self.drawn = 0;
        }
        Ok(())
    }

    /// The text in the color of its tone.
    pub(super) fn paint(&self, tone: Tone, text: impl fmt::Display) -> String {
        let color = match tone {
            Tone::Good => 32,
            Tone::Waiting => 33,
            Tone::Bad => 31,
            Tone::Aside => 2,
        };
        if self.colors { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// A line with ✓ or ✗ before it.
    pub(super) fn verdict(&self, verdict: &Result<String, String>) -> String {
        match verdict {
            Ok(words) => format!("  {} {words}", self.paint(Tone::Good, "✓")),
            Err(words) => format!("  {} {words}", self.paint(Tone::Bad, "✗")),
        }
    }
}
