//! Tests of the demo: whole ones, and what it says where a promise was broken.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::Mutex;

use super::*;
use crate::demo::findings::{DemoFindings, SentEvent};
use crate::model::outcome::Kind;

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn shown(events: usize, faults: bool) -> (bool, String) {
    let paper = Paper::default();
    let (_stop, stopped) = stop::channel();
    let kept = run(
        Options { events, faults },
        &mut Screen::plain(paper.clone()),
        stopped,
    )
    .await
    .unwrap();
    let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    (kept, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_is_kept_and_shown_in_plain_lines() {
    let (kept, text) = shown(120, false).await;
    assert!(kept, "{text}");
    assert_eq!(text.matches('✓').count(), 3, "{text}");
    assert!(
        !text.contains(|character: char| character.is_control() && character != '\n'),
        "{text}"
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let row = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("  {name} ")) && line.contains(" ms"))
            .unwrap()
            .to_owned();
        let numbers: Vec<usize> = line
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        // Events, delivered, merged, dead letters.
        (numbers[0], numbers[1] + numbers[2], numbers[4])
    };
    let rows = ["aipix", "valt", "directory", "unclaimed"].map(row);
    assert_eq!(rows.iter().map(|row| row.0).sum::<usize>(), 120);
    assert!(
        rows.iter()
            .all(|(events, delivered, dead)| events == &(delivered + dead)),
        "{text}"
    );
    assert_eq!(rows[3].1, 0);
    for reason in [
        "rejected",
        "user_not_found",
        "invalid_changes",
        "expired",
        "undecodable",
        "unroutable",
    ] {
        assert!(text.contains(reason), "{reason}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_and_a_throttle_are_shown_and_heal() {
    let (kept, text) = shown(200, true).await;
    assert!(kept, "{text}");
    // How the two mix is a matter of time: a probe may come just before or after the other one's
    // trouble.
    for story in [
        [
            "VALT goes down",
            "valt: holding (unreachable)",
            "VALT is up",
            "valt flows again",
        ]
        .as_slice(),
        &[
            "aipix answers 429",
            "aipix: holding (throttled)",
            "aipix flows again",
        ],
    ] {
        let mut rest = text.as_str();
        for step in story {
            rest = rest
                .split_once(step)
                .unwrap_or_else(|| panic!("{step}: {text}"))
                .1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_stopped_keeps_nothing() {
    let (stop, stopped) = stop::channel();
    stop.stop();
    let paper = Paper::default();
    assert!(
        !run(
            Options {
                events: 10_000,
                faults: false
            },
            &mut Screen::plain(paper),
            stopped
        )
        .await
        .unwrap()
    );
}

/// What a whole demo would find: every event delivered or dead-lettered as it should be.
async fn findings() -> DemoFindings {
    let samples: Arc<[_]> = samples::samples(80).into();
    let stage = Environment::set().await.unwrap();
    let metrics = Metrics::new().unwrap();
    let (end_service, service_ends) = stop::channel();
    let config = Arc::new(stage.config.clone());
    let service = tokio::spawn(service::run(
        watch::channel(config).1,
        HashSet::new(),
        metrics.clone(),
        None,
        service_ends,
    ));
    let sending = send(&stage, samples.clone(), Duration::ZERO);
    let (_tell, notes) = unbounded_channel();
    let mut screen = Screen::plain(std::io::sink());
    assert_eq!(
        progress::watch(&samples, &metrics, &mut screen, notes)
            .await
            .unwrap(),
        WatchEnd::Done
    );
    end_service.stop();
    service.await.unwrap().unwrap();
    stage
        .findings(&samples, sending.await.unwrap().unwrap())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_promise_is_found() {
    let whole = findings().await;
    let broken = |tamper: fn(&mut DemoFindings)| -> Vec<String> {
        let mut findings = whole.clone();
        tamper(&mut findings);
        let errors = findings.verdicts().into_iter().filter_map(Result::err);
        errors
            .map(|words| words.split(':').next().unwrap_or_default().to_owned())
            .collect()
    };
    assert!(broken(|_| {}).is_empty());
    assert_eq!(broken(|findings| findings.strays = 1), ["outcomes"]);
    assert_eq!(broken(|findings| findings.dead_letters -= 1), ["outcomes"]);
    assert_eq!(
        broken(|findings| {
            let event = findings
                .events
                .values_mut()
                .find(|event| event.kind() == Some(Kind::Delivered))
                .unwrap();
            event.outcomes.push(event.outcomes[0].clone());
        }),
        ["outcomes"]
    );
    assert_eq!(broken(|findings| findings.apis[1].overlaps = 1), ["order"]);
    assert_eq!(
        broken(|findings| {
            // The outcomes of two events of one user, the other way round.
            let delivered: Vec<_> = findings
                .events
                .iter()
                .filter(|(_, event)| event.kind() == Some(Kind::Delivered))
                .collect();
            let user = |event: &SentEvent| (event.sample.subscriber, event.sample.user.clone());
            let (one, other) = delivered
                .iter()
                .flat_map(|one| delivered.iter().map(move |other| (one, other)))
                .find(|(one, other)| one.0 < other.0 && user(one.1) == user(other.1))
                .unwrap();
            let (one, other) = (*one.0, *other.0);
            let [mut first, mut second] = [one, other].map(|spot| findings.events[&spot].clone());
            std::mem::swap(&mut first.outcomes, &mut second.outcomes);
            findings.events.extend([(one, first), (other, second)]);
        }),
        ["order"]
    );
    assert_eq!(
        broken(|findings| findings.apis[1].users.clear()),
        ["final state"]
    );
    assert_eq!(
        broken(|findings| {
            let fields = findings.apis[0].users.values_mut().next().unwrap();
            fields.insert("permissions".to_owned(), vec![1000].into());
        }),
        ["final state"]
    );
}
