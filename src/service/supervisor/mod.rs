//! The supervisor: a thread for each subscriber, and the decision when the process ends and with
//! what.
//!
//! `running → stopping` if the service is asked to stop, `running or stopping → failing` if a
//! subscriber or the admin endpoint fails. In both states the subscribers drain, and the service
//! ends with the last of them, or when the time for it is over: whatever still runs is left behind.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::service::ServiceFailure;
use crate::subscriber::stop::{self, Stop, Stopper};

/// After a failure the process ends within 30 s. The others may drain for so long; the rest is for
/// noticing the failure, and for the last spans and log lines.
const FAILING: Duration = Duration::from_secs(18);
/// Longer than `drain_timeout` an orderly end may take by so much: 10 s for the last transaction, 5
/// s to leave the group, and some air.
const STOPPING: Duration = Duration::from_secs(20);

/// Watches the subscribers of the process.
pub(super) struct Supervisor {
    phase: ServicePhase,
    running: BTreeSet<String>,
    drain_timeout: Duration,
    /// Heard by the subscribers. Nobody else can end them.
    stopper: Stopper,
    stop: Stop,
    reports: UnboundedReceiver<Report>,
    reporter: UnboundedSender<Report>,
}

/// How the subscriber of that name ended.
type Report = (String, Result<(), ServiceFailure>);

#[derive(Debug)]
enum ServicePhase {
    /// No subscriber may end.
    Running,
    /// The service was asked to stop: each subscriber drains.
    Stopping { by: Instant },
    /// Something failed: the subscribers drain, and the process ends with the cause.
    Failing { cause: ServiceFailure, by: Instant },
}

enum Happening {
    /// The service is asked to stop.
    Asked,
    /// A subscriber has ended.
    Ended(String, Result<(), ServiceFailure>),
    /// The admin endpoint has ended.
    AdminEnded,
    /// The time for an orderly end is over.
    Late,
}

impl Supervisor {
    /// One that watches nobody yet.
    pub(super) fn new(drain_timeout: Duration) -> Self {
        let (stopper, stop) = stop::channel();
        let (reporter, reports) = unbounded_channel();
        Supervisor {
            phase: ServicePhase::Running,
            running: BTreeSet::new(),
            drain_timeout,
            stopper,
            stop,
            reports,
            reporter,
        }
    }

    /// Heard by a subscriber: asked to stop, it must drain and end.
    pub(super) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Runs a subscriber on a thread of its own, for its loop and all its calls: what passes
    /// between them then wakes no other thread, and targets share nothing. The process can end
    /// without it, unlike a task of the runtime.
    pub(super) fn spawn(
        &mut self,
        name: &str,
        subscriber: impl Future<Output = Result<(), ServiceFailure>> + Send + 'static,
    ) {
        self.running.insert(name.to_owned());
        let (whose, reporter) = (name.to_owned(), self.reporter.clone());
        let thread = std::thread::Builder::new()
            .name(format!("run-{name}"))
            .spawn(move || {
                let ended = catch_unwind(AssertUnwindSafe(|| run_here(subscriber)));
                let how = ended.unwrap_or_else(|_| Err(ServiceFailure::Panicked(whose.clone())));
                // Nobody listens only when the process ends.
                let _ = reporter.send((whose, how));
            });
        if let Err(error) = thread {
            let _ = self
                .reporter
                .send((name.to_owned(), Err(ServiceFailure::Setup(error.into()))));
        }
    }

    /// Waits until the service has ended. `asked` asks it to stop; `admin` is the admin endpoint's
    /// task, which must not end.
    pub(super) async fn watch(
        mut self,
        mut asked: Stop,
        admin: JoinHandle<()>,
    ) -> Result<(), ServiceFailure> {
        let mut admin = admin.fuse();
        loop {
            let (running, late) = match &self.phase {
                ServicePhase::Running => (true, None),
                ServicePhase::Stopping { by } | ServicePhase::Failing { by, .. } => {
                    (false, Some(*by))
                }
            };
            let event = tokio::select! {
                Some((name, how)) = self.reports.recv() => Happening::Ended(name, how),
                () = asked.asked(), if running => Happening::Asked,
                _ = &mut admin => Happening::AdminEnded,
                () = at(late) => Happening::Late,
            };
            if let Some(end) = self.take(event, Instant::now()) {
                return end;
            }
            if !matches!(self.phase, ServicePhase::Running) {
                self.stopper.stop();
            }
        }
    }

    /// Acts on an event. Returns how the service ends, once it does.
    fn take(&mut self, event: Happening, now: Instant) -> Option<Result<(), ServiceFailure>> {
        let late = matches!(event, Happening::Late);
        let failure = match event {
            Happening::Asked | Happening::Late => None,
            Happening::AdminEnded => Some(ServiceFailure::Admin),
            Happening::Ended(name, how) => {
                self.running.remove(&name);
                let unasked = matches!(self.phase, ServicePhase::Running)
                    .then_some(ServiceFailure::Quit(name));
                how.map_or_else(Some, |()| unasked)
            }
        };
        let phase = std::mem::replace(&mut self.phase, ServicePhase::Running);
        let phase = match (phase, failure) {
            (ServicePhase::Running, None) => ServicePhase::Stopping {
                by: now + self.drain_timeout + STOPPING,
            },
            (ServicePhase::Running, Some(cause)) => failing(cause, now + FAILING),
            (ServicePhase::Stopping { by }, Some(cause)) => failing(cause, by.min(now + FAILING)),
            (ServicePhase::Failing { cause, by }, Some(other)) => {
                error!(
                    error = format!("{other:#}"),
                    "something else failed, while the process was about to end"
                );
                ServicePhase::Failing { cause, by }
            }
            (phase @ (ServicePhase::Stopping { .. } | ServicePhase::Failing { .. }), None) => phase,
        };
        let names = self
            .running
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        match phase {
            ServicePhase::Stopping { .. } if self.running.is_empty() => {
                info!("drained");
                Some(Ok(()))
            }
            ServicePhase::Stopping { .. } if late => Some(Err(ServiceFailure::Late(names))),
            ServicePhase::Failing { cause, .. } if self.running.is_empty() => Some(Err(cause)),
            ServicePhase::Failing { cause, .. } if late => {
                warn!(
                    targets = names,
                    "these have not drained in time and are left behind: what was in flight is called again"
                );
                Some(Err(cause))
            }
            phase => {
                self.phase = phase;
                None
            }
        }
    }
}

fn failing(cause: ServiceFailure, by: Instant) -> ServicePhase {
    error!(
        error = format!("{cause:#}"),
        "the process ends: what is in flight at the other targets may finish"
    );
    ServicePhase::Failing { cause, by }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn run_here(
    subscriber: impl Future<Output = Result<(), ServiceFailure>>,
) -> Result<(), ServiceFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    let ended = runtime.block_on(subscriber);
    // A name that is being looked up is not waited for.
    runtime.shutdown_background();
    ended
}

#[cfg(test)]
mod tests;
