//! A connection is not the API: one that is dead, or leads to a server that is no longer the right
//! one, stops nothing.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stand_in::{Fault, Rule, StandIn};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::bench::Bench;
use crate::harness::update::Update;

/// Leads each new connection to wherever it is set to then, as a name does, or a load balancer.
/// Those that exist stay.
struct Switch {
    address: SocketAddr,
    to: Arc<Mutex<SocketAddr>>,
}

impl Switch {
    async fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = Arc::new(Mutex::new(to));
        let target = to.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let to = *target.lock().unwrap();
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(to).await {
                        tokio::io::copy_bidirectional(&mut client, &mut server)
                            .await
                            .ok();
                    }
                });
            }
        });
        Switch { address, to }
    }

    fn lead_to(&self, api: &StandIn) {
        *self.to.lock().unwrap() = api.addr();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_connections_that_are_reset_on_their_next_use_cost_nobody_anything() {
    const USERS: u64 = 300;
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.merge", false);
    bench
        .valt
        .set(|settings| settings.latency = Duration::from_millis(200));
    let service = bench.start();
    // Enough at a time for a hundred connections that are kept afterwards.
    let first: Vec<_> = (1..=1500).map(|user| Update::valt(user, "first")).collect();
    let mut places = bench.send(&first);
    bench.outcomes_of(&places);
    let before = bench.valt.stats();
    assert!(before.peak_in_flight >= 100, "{before:?}");
    bench.valt.fault(Rule::fault(Fault::ResetKept));
    bench.valt.set(|settings| settings.latency = Duration::ZERO);
    let began = Instant::now();
    let second: Vec<_> = (1..=USERS)
        .map(|user| Update::valt(user, "second"))
        .collect();
    let sent = bench.send(&second);
    places.extend(sent.iter().cloned());
    let outcomes = bench.outcomes_of(&places);
    let took = began.elapsed();
    let reset = bench
        .valt
        .calls()
        .iter()
        .filter(|call| call.status.is_none())
        .count();
    println!(
        "{reset} kept connections were reset; all of {USERS} updates were delivered after {took:?}"
    );
    assert!(reset > 0);
    assert!(took < Duration::from_secs(10), "{took:?}");
    let outcomes: Vec<_> = outcomes
        .iter()
        .filter(|outcome| sent.contains(&outcome.data.record))
        .collect();
    assert!(
        outcomes
            .iter()
            .all(|outcome| (outcome.ending().as_str(), outcome.data.attempts) == ("delivered", 1))
    );
    assert_eq!(
        service.metrics().sum(
            "attempts_total",
            &[("target", "valt"), ("verdict", "retry")]
        ),
        0.0
    );
    assert!(
        !service.log().contains("\"holding\""),
        "the target never held"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_target_is_probed_where_its_address_leads_now() {
    let mut bench = Bench::new().await;
    let servers = [
        StandIn::on_loopback("valt").await.unwrap(),
        StandIn::on_loopback("valt").await.unwrap(),
    ];
    let switch = Switch::new(servers[0].addr()).await;
    bench.set(
        "targets.valt.base_url",
        format!("http://{}", switch.address),
    );
    let mut service = bench.start();
    let update = |name: &str| {
        (1..=5)
            .map(|user| Update::valt(user, name))
            .collect::<Vec<_>>()
    };
    let mut places = bench.send(&update("first"));
    bench.outcomes_of(&places);
    for (round, rule) in [
        Rule::status(503),
        Rule::fault(Fault::Html),
        Rule::status(403),
    ]
    .into_iter()
    .enumerate()
    {
        // The server that was right answers on, and is not the API any more.
        let (old, new) = (&servers[round % 2], &servers[(round + 1) % 2]);
        old.fault(rule);
        places.extend(bench.send(&update("next")));
        service.wait_until("it holds", |service| {
            service.status()["targets"]["valt"]["state"] != "flowing"
        });
        let calls = old.stats().updates;
        switch.lead_to(new);
        bench.outcomes(places.len());
        let late = old.stats().updates - calls;
        println!("{late} calls went to it after its address led elsewhere");
        assert!(late <= 5, "no more than were on their way");
        service.wait_until("it flows", |service| {
            service.status()["targets"]["valt"]["state"] == "flowing"
        });
        old.clear_faults();
    }
    let outcomes = bench.outcomes_of(&places);
    assert!(
        outcomes
            .iter()
            .all(|outcome| ["delivered", "merged"].contains(&outcome.ending().as_str()))
    );
}
