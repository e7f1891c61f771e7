//! A process that is measured: its CPU time, its memory, its admin endpoint.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) admin: Option<SocketAddr>,
}

/// The series of one scrape.
pub(crate) struct Scrape(Vec<(String, f64)>);

impl Scrape {
    /// The sum of a metric's series that have all these words in their labels.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let name = format!("user_courier_{name}");
        let is_it = |series: &str| {
            series.split('{').next() == Some(&name)
                && labels.iter().all(|label| series.contains(label))
        };
        self.0
            .iter()
            .filter(|(series, _)| is_it(series))
            .map(|(_, value)| value)
            .sum()
    }
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Process {
            child: command
                .stdin(Stdio::null())
                .spawn()
                .expect("the process starts"),
            admin: None,
        }
    }

    /// A service: waits for the line of its log that says where its admin endpoint is.
    pub(crate) fn service(command: &mut Command) -> Self {
        let mut process = Self::spawn(command.stderr(Stdio::piped()).stdout(Stdio::null()));
        let mut lines = BufReader::new(process.child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("the service ended: {}", seen.join("\n"))
            };
            if line.contains("admin endpoint listening") {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                let fields = line.get("fields").unwrap_or(&line);
                break fields["address"].as_str().unwrap().parse().unwrap();
            }
            seen.push(line);
        };
        process.admin = Some(address);
        // Read on, so that the service never waits for its log; what goes wrong is told.
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .filter(|line| line.contains("\"ERROR\""))
                .for_each(|line| eprintln!("{line}"))
        });
        process
    }

    /// User and system time so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        cpu(&self.child.id().to_string())
    }

    /// Its peak memory, in MiB.
    pub(crate) fn peak_memory(&self) -> f64 {
        memory(&self.child.id().to_string(), "VmHWM")
    }

    /// The memory it has now, in MiB.
    pub(crate) fn memory(&self) -> f64 {
        memory(&self.child.id().to_string(), "VmRSS")
    }

    fn get(&self, path: &str) -> Option<(bool, String)> {
        let mut stream = TcpStream::connect(self.admin?).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.contains(" 200 "), body.to_owned()))
    }

    pub(crate) fn scrape(&self) -> Scrape {
        let (_, text) = self.get("/metrics").expect("the service answers");
        let series = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '));
        Scrape(
            series
                .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)))
                .collect(),
        )
    }

    pub(crate) fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.get("/readyz").is_some_and(|(ok, _)| ok) {
            assert!(
                Instant::now() < deadline,
                "the service is not ready after a minute"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The CPU time of a process so far, in seconds.
fn cpu(process: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    // In hundredths of a second.
    fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

/// The CPU time so far of all Kafka brokers that run on this machine, in seconds.
pub(crate) fn broker_cpu() -> f64 {
    let is_broker = |process: &str| {
        fs::read_to_string(format!("/proc/{process}/cmdline"))
            .is_ok_and(|line| line.contains("kafka.Kafka"))
    };
    let processes = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    processes
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && is_broker(name))
        .map(|name| cpu(&name))
        .sum()
}

/// A line of `/proc/PROCESS/status`, such as `VmHWM`, in MiB.
pub(crate) fn memory(process: &str, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let found = status
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    found
        .and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok())
        .unwrap_or_default()
        / 1024.0
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
