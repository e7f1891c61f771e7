//! Tests of whole configurations.

mod changes;
mod layers;
mod mistakes;
mod needed;
mod properties;
mod random;
mod table;
mod targets;
mod traces;
mod whole;

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::api;

/// What is required and no more. Cases are added from line 7 on.
const LEAST: &str = "[kafka]
bootstrap_servers = \"localhost:9092\"
[targets.aipix]
api = \"aipix\"
base_url = \"https://vms.example.com\"
token_file = \"DIR/token\"
";

/// A folder with secrets in it and the configuration beside them.
struct Fixture(TempDir);

impl Fixture {
    fn new() -> Self {
        let fixture = Fixture(tempfile::tempdir().unwrap());
        for (name, content) in [
            ("token", &b"t0ken-s3cret\n"[..]),
            ("password", b"p4ssword\n"),
            ("empty", b"\n"),
            ("binary", b"hunter2\xff"),
        ] {
            fs::write(fixture.0.path().join(name), content).unwrap();
        }
        fixture
    }

    fn folder(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// Loads the text, in which DIR is the folder.
    fn load(
        &self,
        text: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Config, Mistakes> {
        let file = self.0.path().join("config.toml");
        fs::write(&file, text.replace("DIR", self.folder())).unwrap();
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.replace("DIR", self.folder())))
                .collect()
        };
        Config::load(&file, owned(environment).into_iter(), &owned(flags))
    }

    /// The lines of the report, with DIR for the folder.
    fn mistakes(
        &self,
        text: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Vec<String> {
        let names: Vec<_> = api::ALL.iter().map(|api| api.name).collect();
        match self.load(text, environment, flags) {
            Ok(_) => Vec::new(),
            Err(mistakes) => mistakes
                .to_string()
                .replace(self.folder(), "DIR")
                .replace(&names.join(", "), "APIS")
                .lines()
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// The value of a property that was written as it is.
fn plain<'a>(properties: &'a Properties, name: &str) -> &'a str {
    match &properties.0[name] {
        PropertyValue::Plain(text) => text,
        PropertyValue::Secret(_) => panic!("{name} comes from elsewhere"),
    }
}

/// Loads each case and compares the report's lines, the counting one apart, without the path of the
/// file before them.
fn check(text: &str, expected: &[&str]) {
    let fixture = Fixture::new();
    let mut lines = fixture.mistakes(text, &[("EMPTY", ""), ("SET", "x")], &[]);
    lines.pop();
    let without_path = |line: &String| {
        line.trim_start_matches("DIR/config.toml")
            .trim_start_matches(':')
            .trim_start()
            .to_owned()
    };
    let lines: Vec<String> = lines.iter().map(without_path).collect();
    assert_eq!(lines, expected, "for:\n{text}");
}

/// The least configuration with this added from line 7 on.
fn check_added(cases: &[(&str, &[&str])]) {
    for (added, expected) in cases {
        check(&format!("{LEAST}{added}"), expected);
    }
}

/// The least configuration with one text of it replaced.
fn check_replaced(cases: &[(&str, &str, &str)]) {
    for (from, to, expected) in cases {
        assert!(LEAST.contains(from), "{from}");
        check(&LEAST.replace(from, to), &[*expected]);
    }
}
