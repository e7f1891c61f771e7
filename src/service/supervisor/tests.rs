//! Tests of the supervisor, on a paused clock, with subscribers that do nothing but listen, end,
//! fail or hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures::future::{pending, ready};

use super::*;

const DRAIN: Duration = Duration::from_secs(5);

/// A supervisor with a subscriber called `valt` that drains when it is asked to, and then sets the
/// flag.
fn with_one_that_drains() -> (Supervisor, Arc<AtomicBool>) {
    let mut supervisor = Supervisor::new(DRAIN);
    let (mut stop, drained) = (supervisor.stop(), Arc::new(AtomicBool::new(false)));
    let flag = drained.clone();
    supervisor.spawn("valt", async move {
        stop.asked().await;
        flag.store(true, Relaxed);
        Ok(())
    });
    (supervisor, drained)
}

/// An admin endpoint that does not end.
fn admin() -> JoinHandle<()> {
    tokio::spawn(pending())
}

#[tokio::test]
async fn asked_to_stop_it_ends_in_order_once_all_have_drained() {
    let (supervisor, drained) = with_one_that_drains();
    let (stopper, asked) = stop::channel();
    stopper.stop();
    assert!(supervisor.watch(asked, admin()).await.is_ok() && drained.load(Relaxed));
}

#[tokio::test]
async fn whoever_could_ask_being_gone_reads_as_asked() {
    let (supervisor, drained) = with_one_that_drains();
    let (stopper, asked) = stop::channel();
    drop(stopper);
    assert!(supervisor.watch(asked, admin()).await.is_ok() && drained.load(Relaxed));
}

#[tokio::test]
async fn whatever_fails_the_others_drain_and_the_cause_is_told() {
    let (_stopper, asked) = stop::channel();
    let ends = async |how: Result<(), ServiceFailure>| {
        let (mut supervisor, drained) = with_one_that_drains();
        supervisor.spawn("aipix", ready(how));
        let ended = supervisor.watch(asked.clone(), admin()).await;
        assert!(drained.load(Relaxed), "the other one drains first");
        ended.unwrap_err()
    };
    assert!(matches!(
        ends(Err(ServiceFailure::InstanceTaken("one".to_owned()))).await,
        ServiceFailure::InstanceTaken(_)
    ));
    assert!(matches!(
        ends(Err(ServiceFailure::Setup(anyhow::anyhow!(
            "a key of another certificate"
        ))))
        .await,
        ServiceFailure::Setup(_)
    ));
    // A subscriber that ends for no reason must not leave its target alone either.
    assert!(matches!(ends(Ok(())).await, ServiceFailure::Quit(name) if name == "aipix"));

    let (mut supervisor, drained) = with_one_that_drains();
    supervisor.spawn("aipix", async { panic!("a fault of ours") });
    let ended = supervisor.watch(asked.clone(), admin()).await;
    assert!(
        matches!(ended, Err(ServiceFailure::Panicked(name)) if name == "aipix")
            && drained.load(Relaxed)
    );

    let (supervisor, drained) = with_one_that_drains();
    let ended = supervisor.watch(asked, tokio::spawn(ready(()))).await;
    assert!(matches!(ended, Err(ServiceFailure::Admin)) && drained.load(Relaxed));
}

#[tokio::test]
async fn a_failure_during_an_orderly_end_is_told_and_the_first_of_several_is() {
    let (stopper, asked) = stop::channel();
    stopper.stop();
    let mut supervisor = Supervisor::new(DRAIN);
    let (mut stop, fenced, (first, mut told)) = (
        supervisor.stop(),
        ServiceFailure::InstanceTaken("one".to_owned()),
        stop::channel(),
    );
    supervisor.spawn("valt", async move {
        stop.asked().await;
        first.stop();
        Err(fenced)
    });
    supervisor.spawn("aipix", async move {
        told.asked().await;
        Err(ServiceFailure::Stuck("aipix".to_owned()))
    });
    let ended = supervisor.watch(asked, admin()).await;
    // The two threads report in an order of their own.
    assert!(matches!(
        ended,
        Err(ServiceFailure::InstanceTaken(_) | ServiceFailure::Stuck(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_end_is_left_behind_when_the_time_is_over() {
    let (stopper, asked) = stop::channel();
    let mut supervisor = Supervisor::new(DRAIN);
    supervisor.spawn("valt", pending());
    stopper.stop();
    let began = Instant::now();
    let ended = supervisor.watch(asked, admin()).await;
    assert!(matches!(ended, Err(ServiceFailure::Late(names)) if names == "valt"));
    assert_eq!(began.elapsed().as_secs(), (DRAIN + STOPPING).as_secs());

    // After a failure the drain is shorter, however long `drain_timeout` is.
    let (_stopper, asked) = stop::channel();
    let mut supervisor = Supervisor::new(Duration::from_secs(600));
    supervisor.spawn("valt", pending());
    let began = Instant::now();
    let ended = supervisor.watch(asked, tokio::spawn(ready(()))).await;
    assert!(matches!(ended, Err(ServiceFailure::Admin)));
    assert_eq!(began.elapsed().as_secs(), FAILING.as_secs());
}
