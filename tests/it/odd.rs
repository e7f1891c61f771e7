//! Users whose updates the API always answers oddly, while it delivers those of others: whom that
//! costs what, and how it ends.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use stand_in::{Fault, Rule};

use crate::harness::api::calls_by_user;
use crate::harness::bench::Bench;
use crate::harness::kafka::Place;
use crate::harness::outcome::Outcome;
use crate::harness::service::Service;
use crate::harness::update::Update;

const EXHAUSTED: &str = "dead_lettered attempts_exhausted";
/// As a framework shows an error that nobody caught, with status 200.
const PHP_ERROR: &str =
    "<br />\n<b>Fatal error</b>: Uncaught TypeError in /var/www/api/users.php:52<br />";

/// Far below what the others waited for while such users made the target hold, and far above what
/// they wait on a quiet machine.
const LOADED: Duration = Duration::from_secs(2);

/// When each record was sent.
type Sent = HashMap<Place, Timestamp>;

/// Sends an update for each of these users at VALT, one every `pace`.
async fn flow(bench: &Bench, users: impl IntoIterator<Item = u64>, pace: Duration) -> Sent {
    let mut tick = tokio::time::interval(pace);
    let mut sent = Sent::new();
    for user in users {
        tick.tick().await;
        let now = Timestamp::now();
        sent.extend(
            bench
                .send(&[Update::valt(user, "Anna")])
                .into_iter()
                .map(|place| (place, now)),
        );
    }
    sent
}

/// The time within which 99 of 100 of these updates had their last answer, from when they were
/// sent.
fn p99<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>, sent: &Sent) -> Duration {
    let taken = |outcome: &Outcome| {
        outcome
            .data
            .finished_at
            .duration_since(sent[&outcome.data.record])
            .unsigned_abs()
    };
    let mut times: Vec<_> = outcomes.into_iter().map(taken).collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// How often the target began to hold, as the log tells.
fn holds(service: &Service) -> usize {
    service
        .log()
        .lines()
        .filter(|line| line.contains("the target holds"))
        .count()
}

/// The outcomes of the odd users, and those of all others.
fn split(outcomes: &[Outcome], odd: impl Fn(u64) -> bool) -> (Vec<&Outcome>, Vec<&Outcome>) {
    outcomes
        .iter()
        .partition(|outcome| odd(outcome.user().unwrap()))
}

fn places(sent: &Sent) -> Vec<Place> {
    sent.keys().cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_who_is_always_forbidden_costs_300_others_nothing_and_ends() {
    const ODD: u64 = 7;
    let mut bench = Bench::new().await;
    bench.valt.fault(Rule::status(403).user(ODD));
    let service = bench.start();
    let sent = flow(&bench, (1..=300).chain(1..=300), Duration::from_millis(8)).await;
    let outcomes = bench.outcomes_of(&places(&sent));
    let (odd, others) = split(&outcomes, |user| user == ODD);
    println!(
        "p99 of the others {:?}, {} holds",
        p99(others.iter().copied(), &sent),
        holds(&service)
    );
    assert!(
        odd.iter()
            .all(|outcome| outcome.ending() == EXHAUSTED && outcome.data.http_status == Some(403)),
        "{odd:?}"
    );
    // Failures before the first delivery of another user do not count.
    assert!(
        odd.iter()
            .all(|outcome| (8..30).contains(&outcome.data.attempts)),
        "{odd:?}"
    );
    assert!(
        others
            .iter()
            .all(|outcome| outcome.ending() == "delivered" && outcome.data.attempts == 1)
    );
    assert!(p99(others, &sent) < LOADED);
    // The first call of all may be the odd one.
    assert!(holds(&service) <= 1);
    let place = &odd[0].data.record;
    service.wait_for_log(&format!(
        "\"record\":\"{}/{}/{}\",\"attempt\":2,\"max_attempts\":8",
        place.topic, place.partition, place.offset
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_api_answers_to_one_user_it_ends_and_the_others_go_on() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.retry.max_attempts", 4);
    bench.set("targets.valt.delivery.request_timeout", "1s");
    let page = "<html><title>Access denied</title></html>";
    let rules = [
        Rule::status(403),
        Rule::status(403).body(page),
        Rule::status(422).body("Unprocessable Entity"),
        Rule::status(400).body(page),
        Rule::status(404).body(page),
        Rule::status(409).body("null"),
        Rule::status(418),
        Rule::status(201),
        Rule::status(200).body(PHP_ERROR),
        Rule::status(200).body(serde_json::json!({ "data": {} })),
        Rule::status(500),
        Rule::fault(Fault::Html),
        Rule::fault(Fault::NotJson),
        Rule::fault(Fault::Redirect),
        Rule::fault(Fault::Reset),
        Rule::fault(Fault::HalfClose),
        Rule::fault(Fault::Hang),
        // This speaks of the account: the target must believe it for a moment.
        Rule::status(401),
    ];
    let (p99, holds) = all_end_among_others(&mut bench, rules.to_vec()).await;
    println!("p99 of the others {p99:?}, {holds} holds");
    assert!(p99 < LOADED);
}

/// An API may limit how often one user is changed. Nobody can tell from its first answers that it
/// means that user alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_for_whom_a_pause_is_always_asked_ends_and_costs_the_others_a_few_pauses() {
    let mut bench = Bench::new().await;
    bench.set("targets.valt.retry.max_attempts", 4);
    let (p99, holds) = all_end_among_others(
        &mut bench,
        vec![Rule::status(429), Rule::status(503).retry_after(1)],
    )
    .await;
    println!("p99 of the others {p99:?}, {holds} holds");
    assert!(holds <= 8);
}

/// The first users meet these rules, one each, among others who do not. Returns the p99 of those,
/// and how often the target held.
async fn all_end_among_others(bench: &mut Bench, rules: Vec<Rule>) -> (Duration, usize) {
    let count = rules.len() as u64;
    for (user, rule) in (1..).zip(rules) {
        bench.valt.fault(rule.user(user));
    }
    let service = bench.start();
    let mut sent = flow(bench, 100..200, Duration::from_millis(5)).await;
    let mut others = 200..;
    for odd in 1..=count {
        sent.extend(
            flow(
                bench,
                [odd].into_iter().chain(others.by_ref().take(4)),
                Duration::from_millis(5),
            )
            .await,
        );
    }
    loop {
        sent.extend(flow(bench, others.by_ref().take(25), Duration::from_millis(8)).await);
        let ended: BTreeSet<_> = bench
            .outcomes_now()
            .iter()
            .filter_map(|outcome| outcome.user())
            .filter(|user| *user <= count)
            .collect();
        if ended.len() as u64 == count {
            break;
        }
        assert!(others.start < 20_000, "only {ended:?} have ended");
    }
    let outcomes = bench.outcomes_of(&places(&sent));
    let (odd, others) = split(&outcomes, |user| user <= count);
    for outcome in odd {
        assert_eq!(outcome.ending(), EXHAUSTED, "{outcome:?}");
        assert!(outcome.data.attempts >= 4, "{outcome:?}");
    }
    assert!(others.iter().all(|outcome| outcome.ending() == "delivered"));
    (p99(others, &sent), holds(&service))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_in_twenty_who_is_odd_costs_the_others_next_to_nothing() {
    const UPDATES: u64 = 1500;
    let mut bench = Bench::new().await;
    let is_odd = |user: u64| user % 20 == 7;
    for user in (1..=UPDATES).filter(|user| is_odd(*user)) {
        let rule = match user % 60 {
            7 => Rule::status(403),
            27 => Rule::fault(Fault::Html),
            _ => Rule::status(422).body("Unprocessable Entity"),
        };
        bench.valt.fault(rule.user(user));
    }
    let service = bench.start();
    let sent = flow(&bench, 1..=UPDATES, Duration::from_micros(6_600)).await;
    let last = Timestamp::now();
    let outcomes = bench.outcomes_of(&places(&sent));
    let settled = Timestamp::now().duration_since(last).unsigned_abs();
    let (odd, others) = split(&outcomes, is_odd);
    println!(
        "p99 of the others {:?}, {} holds, all settled {settled:?} after the last was sent",
        p99(others.iter().copied(), &sent),
        holds(&service)
    );
    assert!(
        odd.iter().all(|outcome| outcome.ending() == EXHAUSTED),
        "{odd:?}"
    );
    assert!(
        others
            .iter()
            .all(|outcome| outcome.ending() == "delivered" && outcome.data.attempts == 1)
    );
    assert!(p99(others, &sent) < LOADED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_odd_to_everybody_holds_and_ends_nobody_even_beside_a_user_who_is() {
    const ODD: u64 = 7;
    for rule in [
        Rule::status(403),
        Rule::fault(Fault::Html),
        Rule::status(422).body("Unprocessable Entity"),
    ] {
        let mut bench = Bench::new().await;
        bench.set("targets.valt.retry.max_attempts", 2);
        bench.valt.fault(rule.clone().user(ODD));
        let mut service = bench.start();
        let mut sent = flow(&bench, 10..40, Duration::from_millis(5)).await;
        bench.outcomes(sent.len());
        let of_all = bench.valt.fault(rule);
        sent.extend(flow(&bench, (1..=30).chain(1..=5), Duration::from_millis(5)).await);
        service.wait_until("it holds", |service| {
            service.status()["targets"]["valt"]["state"] != "flowing"
        });
        let before = bench.valt.stats().updates;
        crate::harness::api::wait_for_updates(&bench.valt, before + 5).await;
        assert!(bench.dead_letters(0).is_empty());
        bench.valt.remove_fault(of_all);
        sent.extend(flow(&bench, 40..100, Duration::from_millis(8)).await);
        let outcomes = bench.outcomes_of(&places(&sent));
        let (odd, others) = split(&outcomes, |user| user == ODD);
        assert!(
            odd.iter().all(|outcome| outcome.ending() == EXHAUSTED),
            "{odd:?}"
        );
        assert!(
            others
                .iter()
                .all(|outcome| ["delivered", "merged"].contains(&outcome.ending().as_str()))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_user_with_more_updates_than_memory_holds_starves_nobody_and_keeps_its_order() {
    const ODD: u64 = 7;
    const UPDATES: usize = 400;
    let mut bench = Bench::new().await;
    bench.set("targets.valt.delivery.max_waiting", 40);
    bench.set("targets.valt.delivery.merge", false);
    bench.set("targets.valt.retry.max_attempts", 4);
    let odd = bench.valt.fault(Rule::status(403).user(ODD));
    let service = bench.start();
    let updates: Vec<_> = (0..UPDATES)
        .map(|number| Update::valt(ODD, &number.to_string()))
        .collect();
    let mut all = bench.send(&updates);
    let sent = flow(&bench, 100..350, Duration::from_millis(8)).await;
    all.extend(places(&sent));
    // Those of the others and, of the odd user's, the few that have ended meanwhile.
    let others = |outcomes: &[Outcome]| {
        outcomes
            .iter()
            .filter(|outcome| outcome.user() != Some(ODD))
            .count()
    };
    let mut outcomes = bench.outcomes(sent.len());
    while others(&outcomes) < sent.len() {
        outcomes = bench.outcomes(outcomes.len() + 1);
    }
    let ended = outcomes.len() - sent.len();
    let waiting = service.metrics().sum("waiting", &[("target", "valt")]);
    let delivered = outcomes
        .iter()
        .filter(|outcome| outcome.user() != Some(ODD));
    println!(
        "p99 of the others {:?}, {ended} of the odd user's have ended, {waiting} wait in memory",
        p99(delivered, &sent)
    );
    assert!(
        p99(
            outcomes
                .iter()
                .filter(|outcome| outcome.user() != Some(ODD)),
            &sent
        ) < LOADED
    );
    assert!(
        ended < UPDATES / 2,
        "the others waited for the odd user: {ended} have ended"
    );
    assert!(waiting <= 60.0, "{waiting}");

    bench.valt.remove_fault(odd);
    let outcomes = bench.outcomes_of(&all);
    let endings: Vec<_> = outcomes[..UPDATES].iter().map(Outcome::ending).collect();
    let first_delivered = endings
        .iter()
        .position(|ending| ending == "delivered")
        .unwrap();
    assert!(
        endings[..first_delivered]
            .iter()
            .all(|ending| ending == EXHAUSTED),
        "{endings:?}"
    );
    assert!(
        endings[first_delivered..]
            .iter()
            .all(|ending| ending == "delivered"),
        "{endings:?}"
    );
    let calls = &calls_by_user(&bench.valt)[&ODD];
    let applied: Vec<usize> = calls
        .iter()
        .filter(|call| call.applied)
        .map(|call| call.body["display_name"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(applied, (first_delivered..UPDATES).collect::<Vec<_>>());
}
