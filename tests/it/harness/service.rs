//! The service as a process: started with a configuration file, watched through its log and its
//! admin endpoint, ended by signals.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::kafka::PATIENCE;

/// A running service. Killed when dropped.
pub(crate) struct Service {
    child: Child,
    log: Arc<Log>,
    admin: Option<SocketAddr>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None where a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote to standard error.
    pub(crate) errors: String,
}

/// What the process wrote to standard error so far, line by line.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Log {
    fn collect(&self, errors: ChildStderr) {
        for line in BufReader::new(errors).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            self.lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .0
                .push(line);
            self.changed.notify_all();
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    /// Waits for what `find` finds in the lines; none where they ended or time ran out before.
    fn wait_for<T>(&self, find: impl Fn(&[String], bool) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut guard = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (lines, ended) = &*guard;
            if let Some(found) = find(lines, *ended) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if *ended || left.is_zero() {
                return None;
            }
            guard = self
                .changed
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn text(&self) -> String {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .join("\n")
    }
}

impl Service {
    /// Starts `user-courier` with these arguments, and waits for nothing.
    pub(crate) fn spawn<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_user-courier"))
            .args(arguments)
            .env_remove("RUST_LOG")
            // Nobody is asked there: a proxy is what the configuration says.
            .envs(
                ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:9")),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service can be started");
        let log = Arc::new(Log::default());
        let errors = child.stderr.take().expect("standard error is piped");
        let collector = Arc::clone(&log);
        std::thread::spawn(move || collector.collect(errors));
        Service {
            child,
            log,
            admin: None,
        }
    }

    /// Starts `user-courier run`, and waits until it says that it is ready.
    #[track_caller]
    pub(crate) fn run(config: &Path) -> Self {
        let mut service = Self::run_unready(config);
        service.wait_until_ready();
        service
    }

    /// Starts `user-courier run` for one target, and waits until it is ready.
    #[track_caller]
    pub(crate) fn run_only(config: &Path, target: &str) -> Self {
        let mut service = Self::spawn([
            "run",
            "--target",
            target,
            "--config",
            config.to_str().expect("a path of text"),
        ]);
        service.find_address("admin endpoint listening");
        service.wait_until_ready();
        service
    }

    /// Starts `user-courier run`, and waits for its admin endpoint only.
    #[track_caller]
    pub(crate) fn run_unready(config: &Path) -> Self {
        let mut service =
            Self::spawn(["run", "--config", config.to_str().expect("a path of text")]);
        service.find_address("admin endpoint listening");
        service
    }

    /// Starts `user-courier run` with these flags, such as `--target`, and waits until it is ready.
    #[track_caller]
    pub(crate) fn run_with(config: &Path, flags: &[&str]) -> Self {
        let config = config.to_str().expect("a path of text");
        let mut service = Self::spawn(
            ["run", "--config", config]
                .into_iter()
                .chain(flags.iter().copied()),
        );
        service.find_address("admin endpoint listening");
        service.wait_until_ready();
        service
    }

    /// Starts `user-courier console` on a free port of the loopback address, and waits until it
    /// listens. [`Service::get`] asks it then.
    #[track_caller]
    pub(crate) fn console(config: &Path) -> Self {
        Self::console_at(config, "127.0.0.1:0")
    }

    /// The same on another address.
    #[track_caller]
    pub(crate) fn console_at(config: &Path, listen: &str) -> Self {
        let mut console = Self::spawn([
            "console",
            "--config",
            config.to_str().expect("a path of text"),
            "--listen",
            listen,
        ]);
        console.find_address("console listening");
        console
    }

    #[track_caller]
    fn find_address(&mut self, words: &str) {
        let address = self
            .log
            .wait_for(|lines, _| lines.iter().find_map(|line| address_in(line, words)));
        self.admin = Some(address.expect("it logs where it listens"));
    }

    /// Where its admin endpoint, or its page, listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.admin.expect("it has an address")
    }

    #[track_caller]
    pub(crate) fn wait_until_ready(&mut self) {
        self.wait_until("it is ready", |service| service.get("/readyz").0 == 200);
    }

    /// Asks again until the answer is yes. For what the service tells on its admin endpoint only.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(
                Instant::now() < deadline,
                "waited {PATIENCE:?} until {what}"
            );
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "the service ended before {what}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal, such as `TERM`, `KILL`, `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill can be run").success());
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until a line of its log has this in it.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, words: &str) {
        self.wait_for_logs(words, 1);
    }

    /// Waits until so many lines of its log have this in them.
    #[track_caller]
    pub(crate) fn wait_for_logs(&self, words: &str, count: usize) {
        let found = self.log.wait_for(|lines, _| {
            (lines.iter().filter(|line| line.contains(words)).count() >= count).then_some(())
        });
        assert!(found.is_some(), "the log never said {words} {count} times");
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let ended = self.log.wait_for(|_, ended| ended.then_some(()));
        assert!(
            ended.is_some(),
            "the service did not end within {PATIENCE:?}"
        );
        let code = self.child.wait().unwrap().code();
        Ended {
            code,
            errors: self.log.text(),
        }
    }

    /// Asks for an orderly end, and waits for it.
    #[track_caller]
    pub(crate) fn terminate(self) -> Ended {
        self.signal("TERM");
        self.wait()
    }

    /// `GET` on the admin endpoint: status and body.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let address = self.admin.expect("the service has an admin endpoint");
        let mut stream = TcpStream::connect(address).expect("the admin endpoint accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Version 1.0, so that the body ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("an answer of text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// `GET /status`.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status").1).expect("the status is JSON")
    }

    /// `GET /metrics`: each series, such as `user_courier_waiting{target="valt"}`, with its value.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics(
            lines
                .filter_map(|line| line.rsplit_once(' '))
                .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
                .collect(),
        )
    }
}

/// One scrape.
#[derive(Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// The sum of the series of a metric (without the prefix) that have all these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matches = |series: &str| {
            let (metric, rest) = series.split_once('{').unwrap_or((series, ""));
            let has = |(label, value): &(&str, &str)| {
                let wanted = format!("{label}=\"{value}\"");
                rest.trim_end_matches('}')
                    .split(',')
                    .any(|found| found == wanted)
            };
            metric.strip_prefix("user_courier_") == Some(name) && labels.iter().all(has)
        };
        self.0
            .iter()
            .filter(|(series, _)| matches(series))
            .map(|(_, value)| value)
            .sum()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- the log of the service ---\n{}\n---", self.log.text());
        }
    }
}

/// The address in the log line that begins with these words.
fn address_in(line: &str, words: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    if !fields.get("message")?.as_str()?.starts_with(words) {
        return None;
    }
    fields.get("address")?.as_str()?.parse().ok()
}
