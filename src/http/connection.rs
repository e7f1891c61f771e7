//! A connection and its past: how old it is, and whether it has said anything since its last answer
//! was whole.
//!
//! A kept connection may be dead without anybody knowing, which says nothing of the API. One that
//! breaks off before it has said a word of an answer is therefore replaced, and only one that was
//! in use before is a kept one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The facts known of a connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Past(Arc<Facts>);

struct Facts {
    born: Instant,
    /// Bytes read so far, within TLS.
    read: AtomicU64,
    /// The same when the last answer had been read to its end; 0 before the first.
    answered: AtomicU64,
}

impl Past {
    fn new() -> Self {
        Past(Arc::new(Facts {
            born: Instant::now(),
            read: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }))
    }

    /// When it came about.
    pub(super) fn born(&self) -> Instant {
        self.0.born
    }

    /// The answer was read to its end.
    pub(super) fn answered(&self) {
        self.0
            .answered
            .store(self.0.read.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether it has answered before, and nothing came since.
    pub(super) fn is_silent_since_an_answer(&self) -> bool {
        let answered = self.0.answered.load(Ordering::Relaxed);
        answered > 0 && answered == self.0.read.load(Ordering::Relaxed)
    }
}

/// A stream that counts what is read from it.
pub(super) struct Watched<S> {
    stream: TokioIo<S>,
    past: Past,
}

impl<S> Watched<S> {
    /// As hyper wants it.
    pub(super) fn new(stream: S) -> TokioIo<Self> {
        TokioIo::new(Watched {
            stream: TokioIo::new(stream),
            past: Past::new(),
        })
    }
}

impl<S: Connection> Connection for Watched<S> {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.past.clone())
    }
}

impl<S: hyper::rt::Read + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        self.past.0.read.fetch_add(read as u64, Ordering::Relaxed);
        polled
    }
}

impl<S: hyper::rt::Write + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
