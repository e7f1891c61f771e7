//! Ends: whatever fails, the process ends by itself, soon, with the cause as its last line, and
//! after the other targets have drained.

use std::fs::File;
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};

use crate::harness::api::{calls_by_user, wait_for_updates};
use crate::harness::bench::Bench;
use crate::harness::kafka::{OwnBrokers, PATIENCE};
use crate::harness::service::{Ended, Service};
use crate::harness::update::Update;
use crate::secured_kafka::{Way, come_by};

/// Within this time a failed process has ended, whatever else goes on.
const SOON: Duration = Duration::from_secs(30);
const TAKEN: &str = "another instance has joined the consumer group as `one`";

/// Waits for the end of a service that failed, and expects code 1 and a last line with these words
/// in it.
#[track_caller]
fn failed(service: Service, words: &str) -> Ended {
    let began = Instant::now();
    let ended = service.wait();
    let took = began.elapsed();
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    assert!(took < SOON, "it took {took:?}: {}", ended.errors);
    let last = ended.errors.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("user-courier: ") && last.contains(words),
        "{last}"
    );
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_name_the_first_ends_and_the_second_is_left_alone() {
    for (first, second) in [
        (&[][..], &["--target", "valt"][..]),
        (&["--target", "valt"], &[]),
        (&[], &[]),
    ] {
        let mut bench = Bench::new().await;
        let config = bench.config_file();
        // Each of the first one's targets has an update, so that its producers have transactions to
        // make.
        let updates = [Update::aipix(1, &[7]), Update::valt(2, "Anna")];
        bench.send(&updates[if first.is_empty() { 0..2 } else { 1..2 }]);
        let loser = Service::run_with(&config, first);
        bench.outcomes(if first.is_empty() { 2 } else { 1 });
        // A call that the first one has begun at another target is answered late.
        bench
            .aipix
            .set(|settings| settings.latency = Duration::from_secs(2));
        let drains = first.is_empty() && !second.is_empty();
        if drains {
            bench.send(&[Update::aipix(3, &[7])]);
            wait_for_updates(&bench.aipix, 2).await;
        }

        let mut winner = Service::run_with(&config, second);
        if drains {
            loser.wait_for_log("the process ends");
            assert_eq!(
                loser.get("/livez").0,
                200,
                "the admin endpoint answers until the end"
            );
        }
        let ended = failed(loser, TAKEN);
        assert_eq!(
            ended.errors.matches("subscriber started").count(),
            if first.is_empty() { 3 } else { 1 },
            "none begins anew"
        );
        if drains {
            assert_eq!(
                bench.outcomes(3).len(),
                3,
                "its call was finished and settled"
            );
        }
        let before = bench.outcomes_now().len();
        winner.wait_until_ready();
        bench.send(&[Update::valt(4, "Anna")]);
        bench.outcomes(before + 1);
        let log = winner.log();
        let ended = winner.terminate();
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        assert_eq!(
            log.matches("subscriber started").count(),
            if second.is_empty() { 3 } else { 1 },
            "{log}"
        );
        for target in ["aipix", "valt", "unclaimed"] {
            let named = format!("\"target\":\"{target}\"");
            let lost = log
                .lines()
                .filter(|line| line.contains("producer is lost") && line.contains(&named));
            assert!(
                lost.count() <= 1,
                "a producer is not fenced again and again: {log}"
            );
        }
        assert!(
            calls_by_user(&bench.valt)
                .values()
                .all(|calls| calls.len() == 1),
            "no call was made twice"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_under_load_costs_no_outcome_and_few_calls() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.max_concurrency", 10);
    bench
        .valt
        .set(|settings| settings.latency = Duration::from_millis(10));
    let config = bench.config_file();
    let loser = Service::run(&config);
    let places = bench.send(
        &(1..=4000)
            .map(|user| Update::valt(user, "Anna"))
            .collect::<Vec<_>>(),
    );
    wait_for_updates(&bench.valt, 400).await;
    let winner = Service::run_with(&config, &["--target", "valt"]);
    let ended = failed(loser, TAKEN);
    assert!(
        bench
            .outcomes_of(&places)
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    let log = winner.log();
    assert_eq!(winner.terminate().code, Some(0));
    let lost = [&ended.errors, &log].map(|log| log.matches("producer is lost").count());
    assert!(
        lost.iter().all(|lost| *lost <= 1),
        "they take the name back from each other: {lost:?}\n{log}"
    );
    // Until it hears of it, for a second, the first one calls beside the other.
    let again = bench.valt.stats().updates - 4000;
    assert!(again < 1000, "{again} calls were made again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_a_key_of_another_one_end_it_and_check_says_so() {
    let mut bench = Bench::new().await;
    let [key, other] = [0, 1].map(|_| KeyPair::generate().unwrap());
    let certificate = CertificateParams::default().self_signed(&key).unwrap();
    let cert_file = bench.file("cert.pem", &certificate.pem());
    let key_file = bench.file("key.pem", &other.serialize_pem());
    bench.set(
        "targets.valt.base_url",
        bench
            .valt
            .base_url()
            .replace("http://", "https://")
            .replace("127.0.0.1", "localhost"),
    );
    bench.set("targets.valt.tls.client_cert_file", cert_file.clone());
    bench.set("targets.valt.tls.client_key_file", key_file);
    let places = bench.send(&[Update::aipix(1, &[7])]);
    let service = Service::spawn(["run", "--config", bench.config_file().to_str().unwrap()]);
    let ended = failed(service, "the subscriber of `valt` cannot begin");
    assert!(
        ended
            .errors
            .lines()
            .last()
            .unwrap_or_default()
            .contains(&cert_file),
        "{}",
        ended.errors
    );
    for offline in [&["check", "--offline"][..], &["check"]] {
        let (code, words) = bench.command(offline);
        assert_eq!(code, Some(2), "{words}");
        assert!(
            words.contains("✗ valt") && words.contains(&cert_file),
            "{words}"
        );
    }

    bench.unset("targets.valt.tls");
    let service = bench.start();
    bench.outcomes_of(&places);
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_ends_it() {
    let mut bench = Bench::new().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    bench.set("admin.listen", port.local_addr().unwrap().to_string());
    failed(
        Service::spawn(["run", "--config", bench.config_file().to_str().unwrap()]),
        "choose another admin.listen",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_ends_in_time_though_kafka_is_gone_and_something_is_not_settled() {
    // With TLS, since threads that are left behind use its library to the very end.
    let brokers = OwnBrokers::secured("ends");
    let mut bench = Bench::on(&brokers.servers).await;
    come_by(&mut bench, &brokers, Way::Certificate);
    let config = bench.config_file();
    let loser = Service::run(&config);
    // It logs in, which must not take the time of the calls below.
    bench.send(&[Update::aipix(1, &[7])]);
    bench.outcomes(1);
    // Answered when nothing can be settled any more.
    for api in [&bench.aipix, &bench.valt] {
        api.set(|settings| settings.latency = Duration::from_secs(8));
    }
    bench.send(&[Update::aipix(1, &[8])]);
    wait_for_updates(&bench.aipix, 2).await;
    let winner = Service::run_with(
        &config,
        &["--target", "valt", "--set", "shutdown.drain_timeout=5s"],
    );
    bench.send(&[Update::valt(2, "Anna")]);
    loser.wait_for_log("the process ends");
    brokers.command("kill", 1);
    let ended = failed(loser, TAKEN);
    let unsettled = ["left behind", "waits to be settled"]
        .iter()
        .any(|words| ended.errors.contains(words));
    assert!(unsettled, "aipix had something to settle: {}", ended.errors);

    // The same for one who is asked to stop.
    let began = Instant::now();
    let ended = winner.terminate();
    assert!(
        began.elapsed() < Duration::from_secs(30) && ended.code.is_some(),
        "{ended:?} after {:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_to_its_end_does_not_keep_the_process() {
    let bench = Bench::new().await;
    let config = bench.config_file();
    let service = Service::run(&config);
    // A reader of a pipe that nobody writes to waits for ever. The service looks at its
    // configuration every 2 s.
    let pipe = config.with_extension("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    std::fs::rename(&pipe, &config).unwrap();
    // This ends once somebody has opened the pipe to read it, who then waits for what is never
    // written.
    let (sender, opened) = channel();
    std::thread::spawn(move || sender.send(File::options().write(true).open(config)));
    let _pipe = opened
        .recv_timeout(PATIENCE)
        .expect("the service looks at its configuration")
        .unwrap();
    assert_eq!(service.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_never_answers_does_not_keep_who_waits_for_it() {
    let mut bench = Bench::new().await;
    // It accepts, as the system does for it, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    bench.set(
        "kafka.bootstrap_servers",
        silent.local_addr().unwrap().to_string(),
    );
    let service = Service::run_unready(&bench.config_file());
    let _asked = silent.accept().unwrap();
    let began = Instant::now();
    assert_eq!(service.terminate().code, Some(0));
    // A look at the topics takes 5 s at the least.
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}
