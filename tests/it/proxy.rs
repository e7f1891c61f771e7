//! Calls through a proxy.

use stand_in::proxy::ProxyServer;

use crate::harness::bench::Bench;
use crate::harness::update::Update;

/// What the accounts `courier:first-Canary` and `courier:second-Canary` show.
const FIRST: &str = "Basic Y291cmllcjpmaXJzdC1DYW5hcnk=";
const SECOND: &str = "Basic Y291cmllcjpzZWNvbmQtQ2FuYXJ5";

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_called_through_its_proxy_and_a_renewed_password_of_it_is_taken_up() {
    let mut bench = Bench::new().await;
    let proxy = ProxyServer::start(Some(bench.valt.addr()), FIRST)
        .await
        .unwrap();
    let file = bench.file("proxy-password", "first-Canary\n");
    // A name that only the proxy could look up.
    bench.set("targets.valt.base_url", "http://valt.invalid");
    bench.set("targets.valt.proxy", proxy.url());
    bench.set("targets.valt.proxy_user", "courier");
    bench.set("targets.valt.proxy_password_file", file);
    let service = bench.start();
    let mut places = bench.send(&[Update::valt(52, "Anna"), Update::aipix(7, &[9])]);
    bench.outcomes_of(&places);
    let heads = proxy.heads();
    let is_valts = |head: &String| head.starts_with("POST http://valt.invalid/api/v3/");
    assert!(!heads.is_empty() && heads.iter().all(is_valts), "{heads:?}");

    // Not on kept connections, which show the account no more.
    assert_eq!(service.terminate().code, Some(0));
    proxy.ask_for(SECOND);
    let service = bench.start();
    places.extend(bench.send(&[Update::valt(53, "Berta")]));
    service.wait_for_logs("the proxy refused the account (407)", 1);
    bench.file("proxy-password", "second-Canary\n");
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    assert_eq!(
        bench.valt.stats().updates,
        2,
        "and nothing was called again"
    );
    assert_eq!(bench.aipix.stats().updates, 1);
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0));
    for secret in ["Canary", &FIRST[6..], &SECOND[6..]] {
        assert!(!ended.errors.contains(secret), "{}", ended.errors);
    }
}
