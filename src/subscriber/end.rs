//! The end of a subscriber: why it came, and what is given up with it.

use std::time::Duration;

use tracing::warn;

use crate::kafka::Order;
use crate::subscriber::Subscriber;

/// How long the threads may take to end once nothing is waited for any more: as long as a
/// transaction call may be stuck, and then some.
const LAST: Duration = Duration::from_secs(15);

/// Why a subscriber ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to, and has left its group.
    Left,
    /// Another instance runs under this one's `instance_id`, and has taken its place.
    InstanceTaken,
    /// The group put it out, after a silence, for a request to join that it had sent before: it must
    /// be started anew, and nothing is wrong with it.
    Outrun,
    /// Its client could not go on: it must be started anew.
    Broken(String),
    /// One of its threads panicked.
    Panicked,
    /// One of its threads does not end.
    Stuck,
}

impl Subscriber {
    /// Gives up what is in flight, and waits for the threads.
    pub(super) async fn end(mut self, ended: Ended) -> Ended {
        // Its partitions are gone or given up: no gauge may go on telling of them.
        self.show_nothing();
        let unsettled = self.engine.unsettled();
        if unsettled > 0 {
            warn!(
                target = self.name,
                unsettled,
                "updates have ended and are not known to be settled: whoever takes over may call them again"
            );
        }
        for call in self.calls.values() {
            call.task.abort();
        }
        self.consumer.order(Order::Leave);
        // The polling thread may be about to hand over an input, or to wait for a release: neither
        // comes any more.
        drop(self.inputs);
        drop(self.releasing);
        let (consumer, publisher) = (self.consumer, self.publisher);
        // Whatever else went wrong follows from it; and one that begins anew under a taken name
        // would take it back.
        let taken = consumer.is_taken();
        let joined = tokio::task::spawn_blocking(move || {
            let (published, polled) = (publisher.stop(), consumer.join());
            published.and(polled)
        });
        match tokio::time::timeout(LAST, joined).await {
            _ if taken => Ended::InstanceTaken,
            Ok(Ok(Ok(()))) => ended,
            Ok(Ok(Err(_)) | Err(_)) => Ended::Panicked,
            Err(_) => Ended::Stuck,
        }
    }
}
