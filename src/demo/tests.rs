//! Tests of the demo: whole ones, and what it says where a promise was broken.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::Mutex;

use super::evidence::Evidence;
use super::*;
use crate::outcome::Kind;

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
    let kept = run(Options { events, faults }, &mut Screen::plain(paper.clone()), stopped).await.unwrap();
    let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    (kept, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_promise_is_kept_and_shown_in_plain_lines() {
    let (kept, text) = shown(120, false).await;
    assert!(kept, "{text}");
    assert_eq!(text.matches('✓').count(), 4, "{text}");
    assert!(!text.contains(|character: char| character.is_control() && character != '\n'), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let row = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("  {name} ")) && line.contains(" ms")).unwrap().to_owned();
        let numbers: Vec<usize> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // Events, delivered, merged, dead letters.
        (numbers[0], numbers[1] + numbers[2], numbers[4])
    };
    let rows = ["aipix", "valt", "unclaimed"].map(row);
    assert_eq!(rows.iter().map(|row| row.0).sum::<usize>(), 120);
    assert!(rows.iter().all(|(events, delivered, dead)| events == &(delivered + dead)), "{text}");
    assert_eq!(rows[2].1, 0);
    for reason in ["rejected", "user_not_found", "invalid_changes", "expired", "undecodable", "unroutable"] {
        assert!(text.contains(reason), "{reason}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_and_a_throttle_are_shown_and_heal() {
    let (kept, text) = shown(200, true).await;
    assert!(kept, "{text}");
    // How the two mix is a matter of time: a probe may come just before or after the other one's trouble.
    for story in [
        ["VALT goes down", "valt: holding (unreachable)", "VALT is up", "valt flows again"].as_slice(),
        &["aipix answers 429", "aipix: holding (throttled)", "aipix flows again"],
    ] {
        let mut rest = text.as_str();
        for step in story {
            rest = rest.split_once(step).unwrap_or_else(|| panic!("{step}: {text}")).1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_is_stopped_keeps_nothing() {
    let (stop, stopped) = stop::channel();
    stop.stop();
    let paper = Paper::default();
    assert!(!run(Options { events: 10_000, faults: false }, &mut Screen::plain(paper), stopped).await.unwrap());
}

/// A whole demo's evidence without the demo: every event delivered or dead-lettered as it should be.
async fn evidence() -> Evidence {
    let samples: Arc<[_]> = samples::samples(80).into();
    let stage = Stage::set(80).await.unwrap();
    let metrics = Metrics::new().unwrap();
    let (end_service, service_ends) = stop::channel();
    let mut config = stage.config.clone();
    // So that users have several calls, whose order can be broken.
    config.targets.iter_mut().for_each(|target| target.delivery.merge = false);
    let service = tokio::spawn(service::run(watch::channel(Arc::new(config)).1, HashSet::new(), metrics.clone(), None, service_ends));
    let sent = Arc::new(AtomicUsize::new(0));
    let sending = send(&stage, samples.clone(), Duration::ZERO, sent.clone());
    let mut progress = Progress::new(&samples, sent, &metrics);
    let (_tell, notes) = unbounded_channel();
    assert_eq!(progress.watch(&mut Screen::plain(std::io::sink()), notes).await.unwrap(), Ended::Done);
    end_service.stop();
    service.await.unwrap().unwrap();
    stage.evidence(&samples, sending.await.unwrap().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_promise_is_found() {
    let whole = evidence().await;
    let broken = |tamper: fn(&mut Evidence)| -> Vec<String> {
        let mut evidence = whole.clone();
        tamper(&mut evidence);
        let errors = invariants::all(&evidence).into_iter().filter_map(Result::err);
        errors.map(|words| words.split(':').next().unwrap_or_default().to_owned()).collect()
    };
    assert!(broken(|_| {}).is_empty());
    assert_eq!(broken(|evidence| evidence.strays = 1), ["outcomes"]);
    assert_eq!(
        broken(|evidence| {
            let event = evidence.events.values_mut().find(|event| event.kind() == Some(Kind::Delivered)).unwrap();
            event.endings.push(event.endings[0].clone());
        }),
        ["outcomes"]
    );
    assert_eq!(broken(|evidence| evidence.seen[1].overlaps = 1), ["order"]);
    assert_eq!(broken(|evidence| evidence.seen[0].calls.reverse()), ["order"]);
    assert_eq!(broken(|evidence| evidence.seen[0].calls[0].idempotency_key = None), ["order"]);
    assert_eq!(broken(|evidence| drop(evidence.dead_letters.pop())), ["dead letters"]);
    assert_eq!(broken(|evidence| evidence.dead_letters.push(evidence.dead_letters[0].clone())), ["dead letters"]);
    assert_eq!(broken(|evidence| evidence.dead_letters[0].value = None), ["dead letters"]);
    assert_eq!(broken(|evidence| evidence.dead_letters[0].headers.clear()), ["dead letters"]);
    assert_eq!(broken(|evidence| evidence.seen[1].fields.clear()), ["final state"]);
    assert_eq!(
        broken(|evidence| {
            let fields = evidence.seen[0].fields.values_mut().next().unwrap();
            fields.insert("permissions".to_owned(), vec![1000].into());
        }),
        ["final state"]
    );
}
