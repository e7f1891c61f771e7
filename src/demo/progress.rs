//! Progress: what each subscriber has done so far, from the service's own metrics, until all events have an outcome.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use super::samples::{SUBSCRIBERS, Sample};
use super::screen::{Screen, Tone};
use crate::metrics::Metrics;

/// How often the metrics are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often a plain line is written.
const LINE: Duration = Duration::from_secs(1);
/// With nothing settled for so long, nothing more is expected.
const STUCK: Duration = Duration::from_secs(30);
/// The characters of a bar.
const BAR: usize = 12;

/// Why watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Every event has an outcome.
    Done,
    /// Nothing has moved for a while.
    Stuck,
}

/// Watches one demo.
pub(super) struct Progress<'a> {
    samples: &'a [Sample],
    sent: Arc<AtomicUsize>,
    metrics: &'a Metrics,
    began: Instant,
    rows: [Row; SUBSCRIBERS.len()],
}

/// What one subscriber has done.
#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    name: &'static str,
    events: usize,
    sent: usize,
    delivered: usize,
    dead: usize,
    retries: usize,
    /// In words; empty while the target flows.
    held: String,
}

impl Row {
    fn settled(&self) -> usize {
        self.delivered + self.dead
    }
}

impl<'a> Progress<'a> {
    /// Nothing has happened yet.
    pub(super) fn new(samples: &'a [Sample], sent: Arc<AtomicUsize>, metrics: &'a Metrics) -> Self {
        let rows = SUBSCRIBERS.map(|name| {
            let events = samples.iter().filter(|sample| sample.subscriber == name).count();
            Row { name, events, ..Row::default() }
        });
        Progress { samples, sent, metrics, began: Instant::now(), rows }
    }

    /// Waits until every subscriber has its partitions, so that the times shown later are those of deliveries.
    pub(super) async fn joined(&self) {
        let mut tick = tokio::time::interval(LOOK);
        let has_joined = |text: &str, name| sum(text, "rebalances_total", name, "kind=\"assigned\"") > 0;
        while !self.metrics.text().is_ok_and(|text| SUBSCRIBERS.into_iter().all(|name| has_joined(&text, name))) {
            tick.tick().await;
        }
    }

    /// Shows it until the end, and in between what `notes` say.
    pub(super) async fn watch(&mut self, screen: &mut Screen, mut notes: UnboundedReceiver<String>) -> io::Result<Ended> {
        let mut tick = tokio::time::interval(LOOK);
        self.began = Instant::now();
        let (mut line_at, mut moved_at) = (self.began + LINE, self.began);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                Some(note) = notes.recv() => self.note(screen, &screen.paint(Tone::Waiting, note))?,
            }
            let before = self.rows.clone();
            self.look();
            for (before, row) in before.iter().zip(&self.rows) {
                if before.held != row.held && (before.held.is_empty() || row.held.is_empty()) {
                    self.note(screen, &turn(row, screen))?;
                }
                if before.settled() != row.settled() {
                    moved_at = Instant::now();
                }
            }
            let done = self.rows.iter().all(|row| row.settled() >= row.events);
            if screen.is_terminal() {
                screen.draw(&self.block(screen))?;
            } else if done || Instant::now() >= line_at {
                line_at += LINE;
                self.note(screen, &self.line())?;
            }
            if done || moved_at.elapsed() >= STUCK {
                screen.keep();
                return Ok(if done { Ended::Done } else { Ended::Stuck });
            }
        }
    }

    fn note(&self, screen: &mut Screen, words: &str) -> io::Result<()> {
        let at = format!("{:>5.1} s", self.began.elapsed().as_secs_f64());
        screen.say(&format!("{}  {words}", screen.paint(Tone::Aside, at)))
    }

    fn look(&mut self) {
        let text = self.metrics.text().unwrap_or_default();
        let sent = self.sent.load(Ordering::Relaxed);
        for row in &mut self.rows {
            let count = |metric: &str, label: &str| sum(&text, metric, row.name, label);
            row.sent = self.samples.iter().take(sent).filter(|sample| sample.subscriber == row.name).count();
            row.dead = count("outcomes_total", "outcome=\"dead_lettered\"");
            row.delivered = count("outcomes_total", "") - row.dead;
            row.retries = count("attempts_total", "verdict=\"retry\"") + count("attempts_total", "verdict=\"throttled\"");
            row.held = held(&text, row.name);
        }
    }

    fn block(&self, screen: &Screen) -> Vec<String> {
        let head = format!("  {:<10} {:<BAR$} {:>6} {:>9} {:>7} {:>6}  state", "target", "", "sent", "delivered", "retries", "dead");
        let row = |row: &Row| {
            let full = (row.settled() * BAR).checked_div(row.events).unwrap_or(BAR).min(BAR);
            let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR - full));
            let state = if row.held.is_empty() { screen.paint(Tone::Good, "flowing") } else { screen.paint(Tone::Waiting, &row.held) };
            let Row { name, sent, delivered, retries, dead, .. } = row;
            format!("  {name:<10} {bar} {sent:>6} {delivered:>9} {retries:>7} {dead:>6}  {state}")
        };
        [screen.paint(Tone::Aside, head)].into_iter().chain(self.rows.iter().map(row)).collect()
    }

    fn line(&self) -> String {
        let row = |row: &Row| {
            let held = if row.held.is_empty() { String::new() } else { format!(" {}", row.held) };
            format!("{} {}/{}{held}", row.name, row.settled(), row.events)
        };
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        format!("settled: {}", rows.join("  "))
    }
}

/// What a target's new state means.
fn turn(row: &Row, screen: &Screen) -> String {
    let name = row.name;
    if row.held.is_empty() {
        screen.paint(Tone::Good, format!("{name} flows again"))
    } else {
        screen.paint(Tone::Waiting, format!("{name}: {}; its updates wait, all others go on", row.held))
    }
}

/// The sum of a counter over all its series of one target that have the label.
fn sum(text: &str, metric: &str, target: &str, label: &str) -> usize {
    let target = format!("target=\"{target}\"");
    let wanted = |line: &&str| line.starts_with(&format!("user_courier_{metric}{{")) && line.contains(&target) && line.contains(label);
    text.lines().filter(wanted).filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok()).sum()
}

/// What a target does now, in words; empty while it flows.
fn held(text: &str, target: &str) -> String {
    let is = |state: &str, cause: &str| {
        let labels = format!("{{cause=\"{cause}\",state=\"{state}\",target=\"{target}\"}} 1");
        text.contains(&format!("user_courier_target_state{labels}"))
    };
    for cause in ["unreachable", "unauthorized", "fault", "throttled"] {
        for state in ["holding", "probing"] {
            if is(state, cause) {
                return format!("{state} ({cause})");
            }
        }
    }
    String::new()
}
