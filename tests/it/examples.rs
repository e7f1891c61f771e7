//! The examples of docs/integrate.md, run as they stand there, but for the names of broker and
//! topics.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::harness::bench::Bench;
use crate::harness::kafka::PATIENCE;

const PAGE: &str = include_str!("../../docs/integrate.md");

/// Fetches the libraries that the page names, once.
static LIBRARIES: LazyLock<()> =
    LazyLock::new(|| run(&mut Command::new("scripts/test.d/examples")));

/// The blocks of code in this language, with the names that they have in this bench.
fn examples(language: &str, bench: &Bench) -> Vec<String> {
    let opening = format!("```{language}\n");
    let blocks = PAGE
        .split(&opening)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default());
    let named = |block: &str| {
        let named = block
            .replace("localhost:9092", &bench.servers)
            .replace("outcome-reader", &bench.id);
        let topics = [("\"user-updates\"", 0), ("\"user-update-outcomes\"", 1)];
        topics.into_iter().fold(named, |named, (topic, number)| {
            named.replace(topic, &format!("\"{}\"", bench.topic(number)))
        })
    };
    blocks.map(named).collect()
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("it can be run");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_integration_page_run_and_their_updates_are_delivered() {
    LazyLock::force(&LIBRARIES);
    let mut bench = Bench::new().await;
    let _service = bench.start();
    let tools = Path::new("target/tools/examples");
    let python = examples("python", &bench);
    let [producer, consumer] = &python[..] else {
        panic!("{} examples in Python", python.len())
    };
    run(Command::new(tools.join("python/bin/python")).args(["-c", producer]));
    let java = examples("java", &bench);
    let [producer] = &java[..] else {
        panic!("{} examples in Java", java.len())
    };
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("Produce.java");
    fs::write(&source, producer).unwrap();
    // Compiles it and runs it.
    run(Command::new("java")
        .arg("-cp")
        .arg(tools.join("libs/*"))
        .arg(&source));

    let endings: Vec<_> = bench
        .outcomes(4)
        .iter()
        .map(|outcome| (outcome.ending(), outcome.data.target.clone()))
        .collect();
    for target in ["valt", "aipix"] {
        let of_target = endings
            .iter()
            .filter(|ending| **ending == ("delivered".to_owned(), Some(target.to_owned())));
        assert_eq!(of_target.count(), 2, "{endings:?}");
    }
    let written = bench.updates();
    for (_, message) in &written {
        let own = written
            .iter()
            .filter(|(_, other)| other.key == message.key)
            .map(|(place, _)| place.partition);
        assert_eq!(
            own.collect::<std::collections::HashSet<_>>().len(),
            1,
            "both languages choose the same partition for a key"
        );
    }

    // The consumer reads on for ever: as many lines as there are outcomes are enough.
    let mut child = Command::new(tools.join("python/bin/python"))
        .args(["-u", "-c", consumer])
        .stdout(Stdio::piped())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok) {
            sender.send(line).ok();
        }
    });
    let lines: Vec<_> = (0..4)
        .map(|_| lines.recv_timeout(PATIENCE).expect("an outcome is printed"))
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        lines.iter().all(|line| line.ends_with(" delivered None")),
        "{lines:?}"
    );
}
