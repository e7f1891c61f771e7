//! The body of a request, which tells whether the request may have gone out.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Whether requests may have gone out. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Sent(Arc<AtomicBool>);

impl Sent {
    /// Whether one of them may have gone out.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A body that tells of itself here when it is asked for, which hyper does once it has written
    /// the head. An empty one is never asked for, and tells at once.
    pub(super) fn body(&self, bytes: Bytes) -> reqwest::Body {
        if bytes.is_empty() {
            self.0.store(true, Ordering::Relaxed);
            return reqwest::Body::from(bytes);
        }
        // reqwest cannot copy such a body, so it cannot send it twice.
        reqwest::Body::wrap(Telling {
            bytes: Some(bytes),
            sent: self.clone(),
        })
    }
}

struct Telling {
    bytes: Option<Bytes>,
    sent: Sent,
}

impl Body for Telling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.sent.0.store(true, Ordering::Relaxed);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
    }
}
