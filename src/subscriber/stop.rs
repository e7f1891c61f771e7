//! Stop: the request that the process, or a part of it, ends in order.
//!
//! If everybody who could ask is gone, that reads as a request too: nobody would ever ask again,
//! and the listeners would go on without an end.

use tokio::sync::watch;

/// A request that can be made, and those who listen for it.
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

/// Makes the request. Dropping it makes the request too.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Asks everybody who listens to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Listens for the request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Whether it was made.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until it is made.
    pub async fn asked(&mut self) {
        // An error means that the sender is gone, which reads as the request.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_request_is_heard_by_all_who_listen() {
        let (stopper, mut stop) = channel();
        let mut other = stop.clone();
        assert!(!stop.is_asked() && stop.asked().now_or_never().is_none());
        stopper.stop();
        assert!(
            stop.is_asked()
                && other.is_asked()
                && stop.asked().now_or_never().is_some()
                && other.asked().now_or_never().is_some()
        );
    }

    #[test]
    fn a_sender_that_is_gone_reads_as_a_request() {
        let (stopper, mut stop) = channel();
        drop(stopper);
        assert!(stop.is_asked() && stop.asked().now_or_never().is_some());
    }
}
