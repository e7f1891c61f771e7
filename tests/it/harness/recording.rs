//! A recording: what a running service exposes, one scrape after the other, and which alerts ring
//! when Prometheus has seen that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::service::Service;

/// Whether a series is a counter's.
fn counts(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    ["_total", "_count", "_sum", "_bucket"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// The seconds between two scrapes, as Prometheus is to take it.
const STEP: usize = 15;

/// Scrapes at equal distances. What vanishes between two of them is gone, as for Prometheus.
#[derive(Default)]
pub(crate) struct Recording(Vec<BTreeMap<String, String>>);

impl Recording {
    /// Scrapes these services now; `instance` is the place in the list.
    pub(crate) fn scrape(&mut self, services: &[&Service]) {
        let mut series = BTreeMap::new();
        for (number, service) in services.iter().enumerate() {
            let (status, text) = service.get("/metrics");
            assert_eq!(status, 200);
            for (name, value) in text
                .lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(|line| line.rsplit_once(' '))
            {
                let (name, labels) = name
                    .strip_suffix('}')
                    .and_then(|name| name.split_once('{'))
                    .unwrap_or((name, ""));
                let comma = if labels.is_empty() { "" } else { "," };
                series.insert(
                    format!("{name}{{{labels}{comma}instance=\"{number}\"}}"),
                    value.to_owned(),
                );
            }
        }
        self.0.push(series);
    }

    /// Scrapes twice, and takes it that all goes on like that for so many minutes: what counts has
    /// grown, and grows on.
    pub(crate) fn hold(&mut self, services: &[&Service], minutes: usize) {
        self.scrape(services);
        let (before, began) = (self.0.pop().unwrap_or_default(), Instant::now());
        // The time over which is counted.
        std::thread::sleep(Duration::from_secs(1));
        self.scrape(services);
        let (now, took) = (
            self.0.pop().unwrap_or_default(),
            began.elapsed().as_secs_f64(),
        );
        for step in 0..minutes * 60 / STEP {
            let passed = (step * STEP) as f64;
            let go_on = |(name, value): (&String, &String)| {
                let (from, to) = (
                    before.get(name).and_then(|value| value.parse::<f64>().ok()),
                    value.parse::<f64>().ok(),
                );
                let grown = from
                    .zip(to)
                    .filter(|(from, to)| counts(name) && to > from)
                    .map(|(from, to)| to + (to - from) / took * passed);
                (
                    name.clone(),
                    grown.map_or_else(|| value.clone(), |value| value.to_string()),
                )
            };
            self.0.push(now.iter().map(go_on).collect());
        }
    }

    /// The seconds since the first scrape.
    pub(crate) fn seconds(&self) -> usize {
        self.0.len().saturating_sub(1) * STEP
    }

    /// Fails unless just these alerts ring at this second, each once or more.
    #[track_caller]
    pub(crate) fn rings(&self, second: usize, alerts: &[&str]) {
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test.d/promtool");
        let found = Command::new(tool).output().expect("the script can be run");
        let promtool = String::from_utf8(found.stdout).unwrap();
        assert!(
            found.status.success() && !promtool.is_empty(),
            "no promtool: {}",
            String::from_utf8_lossy(&found.stderr)
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("recorded.yml");
        std::fs::write(&file, self.test(second, alerts)).unwrap();
        let output = Command::new(promtool.trim())
            .args(["test", "rules"])
            .arg(&file)
            .output()
            .expect("promtool can be run");
        assert!(
            output.status.success(),
            "at {second} s: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// A test for promtool.
    fn test(&self, second: usize, alerts: &[&str]) -> String {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
        let mut text = format!(
            "rule_files: [{}]\nevaluation_interval: {STEP}s\ntests:\n  - interval: {STEP}s\n    input_series:\n",
            rules.display()
        );
        let names: BTreeSet<_> = self.0.iter().flat_map(BTreeMap::keys).collect();
        for name in names {
            // What a scrape lacks is stale at once.
            let values: Vec<_> = self
                .0
                .iter()
                .map(|scrape| scrape.get(name).map_or("stale", String::as_str))
                .collect();
            write!(
                text,
                "      - series: '{name}'\n        values: {}\n",
                values.join(" ")
            )
            .unwrap();
        }
        let expected = "    promql_expr_test:\n      - expr: group by (alertname) (ALERTS{alertstate=\"firing\"})";
        write!(
            text,
            "{expected}\n        eval_time: {second}s\n        exp_samples:{}\n",
            if alerts.is_empty() { " []" } else { "" }
        )
        .unwrap();
        for alert in alerts {
            write!(
                text,
                "          - labels: '{{alertname=\"{alert}\"}}'\n            value: 1\n"
            )
            .unwrap();
        }
        text
    }
}
