//! Progress: what each subscriber has done so far, from the service's own metrics, until all events
//! have an outcome.

use std::io;
use std::time::{Duration, Instant};

use console::style;
use indicatif::ProgressBar;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::demo::samples::{SUBSCRIBERS, Sample};
use crate::demo::screen::Screen;
use crate::telemetry::metrics::{Metrics, causes};

/// How often the metrics are read.
const LOOK: Duration = Duration::from_millis(100);
/// How often a plain line is written.
const LINE: Duration = Duration::from_secs(1);
/// If nothing is settled for so long, nothing more is expected.
const STUCK: Duration = Duration::from_secs(30);

/// Why watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchEnd {
    /// Every event has an outcome.
    Done,
    /// Nothing has moved for a while.
    Stuck,
}

/// The progress of one subscriber.
struct ProgressRow {
    name: &'static str,
    events: usize,
    settled: usize,
    dead: usize,
    retries: usize,
    /// Why its target is held; empty while it flows.
    held: String,
    bar: Option<ProgressBar>,
}

/// Waits until every subscriber has its partitions, so that the times shown later are those of
/// deliveries.
pub(super) async fn joined(metrics: &Metrics) {
    let mut tick = tokio::time::interval(LOOK);
    let has_joined = |name| {
        metrics.sum(
            "rebalances_total",
            &[("target", name), ("kind", "assigned")],
        ) > 0
    };
    while !SUBSCRIBERS.into_iter().all(has_joined) {
        tick.tick().await;
    }
}

/// Shows the progress until the end, and in between what `notes` say.
pub(super) async fn watch(
    samples: &[Sample],
    metrics: &Metrics,
    screen: &mut Screen,
    mut notes: UnboundedReceiver<String>,
) -> io::Result<WatchEnd> {
    let mut rows = SUBSCRIBERS.map(|name| {
        let events = samples
            .iter()
            .filter(|sample| sample.subscriber == name)
            .count();
        ProgressRow {
            name,
            events,
            settled: 0,
            dead: 0,
            retries: 0,
            held: String::new(),
            bar: screen.bar(name, events),
        }
    });
    let mut tick = tokio::time::interval(LOOK);
    let began = Instant::now();
    let (mut line_at, mut moved_at) = (began + LINE, began);
    let note = |screen: &mut Screen, words: String| {
        let at = style(format!("{:>5.1} s", began.elapsed().as_secs_f64())).dim();
        screen.say(&format!("{at}  {words}"))
    };
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            Some(words) = notes.recv() => note(screen, style(words).yellow().to_string())?,
        }
        for row in &mut rows {
            let settled = row.settled;
            if let Some(words) = row.look(metrics) {
                note(screen, words)?;
            }
            if settled != row.settled {
                moved_at = Instant::now();
            }
        }
        let done = rows.iter().all(|row| row.settled >= row.events);
        if rows[0].bar.is_none() && (done || Instant::now() >= line_at) {
            line_at += LINE;
            let rows: Vec<_> = rows
                .iter()
                .map(|row| format!("{} {}/{}", row.name, row.settled, row.events))
                .collect();
            note(screen, format!("settled: {}", rows.join("  ")))?;
        }
        if done || moved_at.elapsed() >= STUCK {
            rows.iter()
                .filter_map(|row| row.bar.as_ref())
                .for_each(ProgressBar::abandon);
            return Ok(if done {
                WatchEnd::Done
            } else {
                WatchEnd::Stuck
            });
        }
    }
}

impl ProgressRow {
    /// Looks what the target does. Returns words if it holds since the last look, or flows again.
    fn look(&mut self, metrics: &Metrics) -> Option<String> {
        let was_held = !self.held.is_empty();
        let count = |family: &str, label: (&str, &str)| {
            metrics.sum(family, &[("target", self.name), label])
        };
        self.settled = metrics.sum("outcomes_total", &[("target", self.name)]);
        self.dead = count("outcomes_total", ("outcome", "dead_lettered"));
        self.retries = ["retry", "throttled"]
            .iter()
            .map(|verdict| count("attempts_total", ("verdict", verdict)))
            .sum();
        self.held = held(metrics, self.name);
        if let Some(bar) = &self.bar {
            bar.set_position(self.settled as u64);
            let state = if self.held.is_empty() {
                style("flowing").green()
            } else {
                style(self.held.as_str()).yellow()
            };
            bar.set_message(format!(
                "{:>4} retries {:>4} dead  {state}",
                self.retries, self.dead
            ));
        }
        let ProgressRow { name, held, .. } = self;
        match (was_held, held.is_empty()) {
            (true, true) => Some(style(format!("{name} flows again")).green().to_string()),
            (false, false) => {
                let words = format!("{name}: {held}; its updates wait, all others go on");
                Some(style(words).yellow().to_string())
            }
            _ => None,
        }
    }
}

/// Why a target is held; empty while it flows. A probe is a part of the hold, and too short to be
/// seen each time.
fn held(metrics: &Metrics, target: &str) -> String {
    for cause in causes() {
        for state in ["holding", "probing"] {
            if metrics.sum(
                "target_state",
                &[("target", target), ("state", state), ("cause", cause)],
            ) > 0
            {
                return format!("holding ({cause})");
            }
        }
    }
    String::new()
}
