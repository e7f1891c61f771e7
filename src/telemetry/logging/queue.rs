//! The queue between those who log and standard error: whoever logs never waits for it, and memory
//! stays bounded.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::IntCounter;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::model::text;

/// Bytes of lines that may wait.
const WAITING: usize = 8 << 20;
/// Bytes that are written at once, more or less.
const AT_ONCE: usize = 64 << 10;

enum Queued {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
    /// The last line, after which nothing more is written.
    End(Vec<u8>, SyncSender<()>),
}

#[derive(Default)]
struct QueueCounts {
    waiting: AtomicUsize,
    left_out: AtomicU64,
    /// The metric of the same.
    metric: OnceLock<IntCounter>,
}

/// Takes lines, and leaves out those for which there is no room.
#[derive(Clone)]
pub(super) struct Queue {
    sender: Sender<Queued>,
    counts: Arc<QueueCounts>,
}

impl Queue {
    /// A queue to `out`, written by a thread of its own. `json` is the form of the line that says
    /// how many were left out.
    pub(super) fn start(out: impl Write + Send + 'static, json: bool) -> Self {
        let (sender, receiver) = channel();
        let counts = Arc::<QueueCounts>::default();
        let mut lines = LineWriter {
            receiver,
            counts: counts.clone(),
            out,
            json,
            told: 0,
        };
        // If no thread can be started, every line counts as left out; the service works all the
        // same.
        let _ = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || lines.write());
        Queue { sender, counts }
    }

    pub(super) fn count(&self, left_out: IntCounter) {
        // Only the first one counts; there is no second.
        let _ = self.counts.metric.set(left_out);
    }

    /// Waits until what was logged so far is written.
    pub(super) fn flush(&self, patience: Duration) {
        let (done, written) = sync_channel(1);
        if self.sender.send(Queued::Flush(done)).is_ok() {
            // Lines not written by then are lost.
            let _ = written.recv_timeout(patience);
        }
    }

    /// Writes these words last, and nothing that is logged from now on. They are written when this
    /// returns, or standard error took nothing for so long.
    pub(super) fn end(&self, last: Vec<u8>, patience: Duration) {
        let (done, written) = sync_channel(1);
        if self.sender.send(Queued::End(last, done)).is_ok() {
            let _ = written.recv_timeout(patience);
        }
    }

    fn push(&self, line: &[u8]) {
        let waiting = self.counts.waiting.fetch_add(line.len(), Ordering::Relaxed);
        let has_room = waiting == 0 || waiting + line.len() <= WAITING;
        if !has_room || self.sender.send(Queued::Line(line.to_vec())).is_err() {
            self.counts.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.counts.left_out.fetch_add(1, Ordering::Relaxed);
            if let Some(metric) = self.counts.metric.get() {
                metric.inc();
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Queue;

    fn make_writer(&'a self) -> &'a Queue {
        self
    }
}

impl Write for &Queue {
    /// One call is one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The other end of the queue.
struct LineWriter<W> {
    receiver: Receiver<Queued>,
    counts: Arc<QueueCounts>,
    out: W,
    json: bool,
    /// Lines left out that were already reported.
    told: u64,
}

impl<W: Write> LineWriter<W> {
    fn write(&mut self) {
        let mut bytes = Vec::new();
        let mut flushed = Vec::new();
        while let Ok(first) = self.receiver.recv() {
            let (mut next, mut waited) = (Some(first), 0);
            while let Some(message) = next {
                match message {
                    Queued::Line(line) => {
                        waited += line.len();
                        bytes.extend(fit_to_be_seen(&line).bytes());
                    }
                    Queued::Flush(done) => flushed.push(done),
                    Queued::End(last, done) => {
                        self.put(&mut bytes, waited, &last);
                        flushed.push(done);
                        return answer(&mut flushed);
                    }
                }
                next = if bytes.len() < AT_ONCE {
                    self.receiver.try_recv().ok()
                } else {
                    None
                };
            }
            self.put(&mut bytes, waited, &[]);
            answer(&mut flushed);
        }
    }

    /// Writes the lines, which took so much room while they waited, how many were left out, and
    /// what comes last.
    fn put(&mut self, bytes: &mut Vec<u8>, waited: usize, last: &[u8]) {
        self.tell(bytes);
        bytes.extend(last);
        // There is nowhere else to say that standard error takes nothing.
        let _ = self.out.write_all(bytes).and_then(|()| self.out.flush());
        self.counts.waiting.fetch_sub(waited, Ordering::Relaxed);
        bytes.clear();
    }

    /// Says how many lines were left out since this was last said, once there is room again.
    fn tell(&mut self, bytes: &mut Vec<u8>) {
        let left_out = self.counts.left_out.load(Ordering::Relaxed);
        let (lines, at_ease) = (
            left_out - self.told,
            self.counts.waiting.load(Ordering::Relaxed) <= WAITING / 2,
        );
        if lines > 0 && at_ease {
            self.told = left_out;
            bytes.extend(self.line(lines).bytes());
        }
    }

    fn line(&self, lines: u64) -> String {
        const MESSAGE: &str =
            "log lines were left out: standard error did not take them fast enough";
        const TARGET: &str = "user_courier::telemetry::logging";
        let now = Timestamp::now();
        if self.json {
            let fields = json!({ "message": MESSAGE, "lines": lines });
            format!(
                "{}\n",
                json!({ "timestamp": format!("{now:.6}"), "level": "WARN", "fields": fields, "target": TARGET })
            )
        } else {
            format!("{now:.6}  WARN {TARGET}: {MESSAGE} lines={lines}\n")
        }
    }
}

/// Names and words from outside may hide what they are, and the log may be a terminal. Lines of
/// JSON stay what they were.
fn fit_to_be_seen(line: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(line) {
        Cow::Borrowed(line) => text::printable_in_color(line),
        Cow::Owned(line) => Cow::Owned(text::printable_in_color(&line).into_owned()),
    }
}

/// Tells those who wait that their lines are written.
fn answer(waiting: &mut Vec<SyncSender<()>>) {
    for done in waiting.drain(..) {
        // They may have lost patience.
        let _ = done.try_send(());
    }
}
