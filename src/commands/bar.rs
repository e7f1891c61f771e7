//! The progress bar: on standard error, and only if that is a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use crate::operator::Watch;
use crate::operator::table::number;

/// The characters of the bar.
const WIDTH: u64 = 24;
/// How often it is drawn.
const DRAW: Duration = Duration::from_millis(100);

/// Shows how far a task is.
pub(super) struct Bar {
    terminal: bool,
    what: String,
    steps: u64,
    began: Instant,
    drawn: Instant,
}

impl Bar {
    /// On standard error, or nowhere if that is no terminal.
    pub(super) fn new() -> Self {
        let terminal =
            stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let now = Instant::now();
        Bar {
            terminal,
            what: String::new(),
            steps: 0,
            began: now,
            drawn: now,
        }
    }

    fn line(&self, done: u64, took: Duration) -> String {
        let done = done.min(self.steps);
        let full =
            usize::try_from((done * WIDTH).checked_div(self.steps).unwrap_or(WIDTH)).unwrap_or(0);
        let empty = usize::try_from(WIDTH).unwrap_or(0) - full;
        let seconds = took.as_secs_f64().max(0.001);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is shown roughly"
        )]
        let (rate, left) = {
            let rate = done as f64 / seconds;
            (
                rate as u64,
                ((self.steps - done) as f64 / rate.max(1.0)).ceil() as u64,
            )
        };
        let [of, done] = [self.steps, done].map(number);
        format!(
            "{} {}{} {done} of {of}, {}/s, {left} s left",
            self.what,
            "█".repeat(full),
            "░".repeat(empty),
            number(rate)
        )
    }
}

impl Watch for Bar {
    fn begin(&mut self, what: &str, steps: u64) {
        self.what = what.to_owned();
        self.steps = steps;
        self.began = Instant::now();
        self.drawn = self.began;
    }

    fn advance(&mut self, done: u64) {
        if self.terminal && self.drawn.elapsed() >= DRAW {
            self.drawn = Instant::now();
            let _ = write!(
                stderr(),
                "\r\x1b[K{}",
                self.line(done, self.began.elapsed())
            );
        }
    }

    fn end(&mut self) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_share_rate_and_rest() {
        let mut bar = Bar::new();
        bar.begin("reading updates", 2_000_000);
        let wanted = format!(
            "reading updates {}{} 500,000 of 2,000,000, 250,000/s, 6 s left",
            "█".repeat(6),
            "░".repeat(18)
        );
        assert_eq!(bar.line(500_000, Duration::from_secs(2)), wanted);
        bar.begin("nothing", 0);
        assert!(
            bar.line(0, Duration::ZERO)
                .starts_with(&format!("nothing {} 0 of 0", "█".repeat(24)))
        );
    }
}
