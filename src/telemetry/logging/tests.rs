use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// An output that takes nothing until it is told to, and then shows what it took.
struct Gate {
    opened: Receiver<()>,
    written: Sender<Vec<u8>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.opened.recv().map_err(io::Error::other)?;
        self.written
            .send(bytes.to_vec())
            .map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_output_holds_up_nobody_and_what_was_left_out_is_counted_and_told() {
    let (open, opened) = channel();
    let (written, taken) = channel();
    let queue = Queue::start(Gate { opened, written }, true);
    let metric = IntCounter::new("left_out", "Lines.").unwrap();
    queue.count(metric.clone());
    let line = format!("{}\n", "x".repeat(1023));
    let pushed = 20_000;
    for _ in 0..pushed {
        queue.make_writer().write_all(line.as_bytes()).unwrap();
    }
    let left_out = metric.get();
    assert!(
        left_out > 0 && left_out < pushed,
        "{left_out} of {pushed} for which there was no room"
    );
    let _ = open.send(());
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("left out") {
        text.extend(taken.recv_timeout(Duration::from_secs(10)).unwrap());
        let _ = open.send(());
    }
    let text = String::from_utf8(text).unwrap();
    let told: Value =
        serde_json::from_str(text.lines().find(|line| line.contains("left out")).unwrap()).unwrap();
    assert_eq!(
        (&told["level"], &told["fields"]["lines"]),
        (&"WARN".into(), &left_out.into())
    );
}

#[test]
fn a_flush_waits_for_what_was_logged_and_not_for_ever() {
    let (open, opened) = channel();
    let (written, taken) = channel();
    let queue = Queue::start(Gate { opened, written }, false);
    queue.make_writer().write_all(b"one\n").unwrap();
    let began = Instant::now();
    queue.flush(Duration::from_millis(50));
    assert!(
        began.elapsed() >= Duration::from_millis(50),
        "nothing can have been written"
    );
    let _ = open.send(());
    queue.flush(Duration::from_secs(10));
    assert_eq!(taken.try_recv().unwrap(), b"one\n");
}

#[test]
fn the_last_words_are_the_last_line_and_an_output_that_takes_nothing_holds_up_no_end() {
    let (open, opened) = channel();
    let (written, taken) = channel();
    let queue = Queue::start(Gate { opened, written }, false);
    queue.make_writer().write_all(b"one\n").unwrap();
    queue.end(b"the cause\n".to_vec(), Duration::from_millis(50));
    // By threads that were left behind.
    queue.make_writer().write_all(b"late\n").unwrap();
    let _ = (open.send(()), open.send(()), open.send(()));
    let mut text = Vec::new();
    // Ends once the queue has let its output go.
    while let Ok(bytes) = taken.recv_timeout(Duration::from_secs(10)) {
        text.extend(bytes);
    }
    assert_eq!(String::from_utf8(text).unwrap(), "one\nthe cause\n");
}

#[test]
fn the_levels_of_modules_come_after_the_level_of_all() {
    let levels = Levels {
        all: LevelFilter::DEBUG,
        of: vec![(
            "user_courier::subscriber::ending".to_owned(),
            LevelFilter::WARN,
        )],
    };
    assert_eq!(
        directives(&levels),
        "warn,user_courier=debug,librdkafka=debug,rdkafka=off,user_courier::subscriber::ending=warn"
    );
}
