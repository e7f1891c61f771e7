//! A configuration that changes while the service runs.

use std::io::Write;
use std::time::Duration;

use crate::harness::api::{calls_by_user, wait_for_updates};
use crate::harness::bench::Bench;
use crate::harness::service::Service;
use crate::harness::update::Update;

/// Updates in one round, of one user each.
const USERS: u64 = 200;

fn round(number: u64) -> Vec<Update> {
    (1..=USERS)
        .map(|user| Update::valt(user, &number.to_string()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_the_log_level_change_under_load_and_nothing_is_lost_or_called_twice() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.max_concurrency", 2);
    bench.set("targets.valt.delivery.merge", false);
    bench
        .valt
        .set(|settings| settings.latency = Duration::from_millis(10));
    let mut service = bench.start();
    let mut places = bench.send(&round(0));
    wait_for_updates(&bench.valt, 20).await;
    assert!(
        !service.log().contains(r#""level":"DEBUG""#),
        "{}",
        service.log()
    );

    bench.set("targets.valt.delivery.max_concurrency", 40);
    bench.set("log.level", "debug");
    bench.config_file();
    service.signal("HUP");
    service.wait_for_log("the changed configuration is in force");
    places.extend(bench.send(&round(1)));
    let limit = |service: &Service| {
        service
            .metrics()
            .sum("concurrency_limit", &[("target", "valt")])
    };
    service.wait_until("the new limit is grown into", |service| {
        limit(service) > 2.0
    });
    service.wait_for_log(r#""level":"DEBUG""#);

    // Without a signal, the file alone. What needs a restart keeps all of it out.
    bench.set("targets.valt.delivery.max_concurrency", 1);
    bench.set("targets.valt.delivery.request_timeout", "3s");
    bench.config_file();
    service.wait_for_log("targets.valt.delivery.request_timeout");
    places.extend(bench.send(&round(2)));
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered" && outcome.data.attempts == 1)
    );
    assert!(
        limit(&service) > 2.0,
        "nothing of a refused change is taken up"
    );
    for (user, calls) in calls_by_user(&bench.valt) {
        let rounds: Vec<_> = calls
            .iter()
            .map(|call| call.body["display_name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(rounds, ["0", "1", "2"], "the calls of user {user}");
    }

    // A file with mistakes changes nothing either, and each mistake is told.
    std::fs::write(
        bench.config_file(),
        "[kafka]\nbootstrap = 1\n[log]\nlevel = \"loud\"\n",
    )
    .unwrap();
    service.wait_for_log("kafka.bootstrap");
    service.wait_for_log("the one before stays in force");
    assert_eq!(service.terminate().code, Some(0));
}

#[test]
fn a_hangup_before_the_configuration_is_read_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("user-courier.toml");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let service = Service::spawn(["run", "--config", pipe.to_str().unwrap()]);
    // Opening it waits for the service, which then waits for what stands in it.
    let mut config = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    service.signal("HUP");
    config.write_all(b"[kafka]\nbootstrap = 1\n").unwrap();
    drop(config);
    let ended = service.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
}
