//! Trouble: the outage and the throttle of `--faults`.

use std::time::Duration;

use stand_in::Rule;

use crate::demo::stage::Environment;

/// How long the events are sent, so that both troubles fall into that time.
pub(super) const SPAN: Duration = Duration::from_secs(9);
/// The quiet time before and between them.
const QUIET: Duration = Duration::from_millis(1500);
/// How long VALT is down.
const OUTAGE: Duration = Duration::from_secs(3);
/// How long aipix answers 429, and the pause that it asks for, in seconds.
const THROTTLE: u64 = 2;

/// Plays one after the other, and tells of each as it begins and ends.
pub(super) async fn play(stage: &Environment, tell: impl Fn(String)) {
    tokio::time::sleep(QUIET).await;
    tell(format!("VALT goes down: its port is closed for {OUTAGE:?}"));
    stage.valt.close_port().await;
    tokio::time::sleep(OUTAGE).await;
    stage.valt.open_port().await;
    tell("VALT is up again; the next probe will find out".to_owned());
    tokio::time::sleep(QUIET).await;
    tell(format!("aipix answers 429, Retry-After: {THROTTLE}"));
    let throttle = stage.aipix.fault(Rule::status(429).retry_after(THROTTLE));
    tokio::time::sleep(Duration::from_secs(THROTTLE)).await;
    stage.aipix.remove_fault(throttle);
}
