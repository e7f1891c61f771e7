//! A connection: HTTP for as long as the answers are HTTP, and bare bytes when they are not.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

use super::message::{Answer, Request};
use super::shared::lock;
use super::wire::{Reply, Socket};

/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 16 << 20;

/// HTTP lets go of the connection without another byte: for a reply, or since the body did not come
/// whole.
#[derive(Debug, thiserror::Error)]
#[error("HTTP lets go of the connection")]
struct Broken;

/// Serves the connection of that number until it ends, well or on purpose badly. `answer` says what
/// becomes of each request.
pub(super) async fn serve<S: Socket + 'static, F>(
    mut stream: S,
    connection: u64,
    answer: impl Fn(Request) -> F + Send + Sync,
) where
    F: Future<Output = Result<Answer, Reply>> + Send,
{
    let (requests, reply) = (AtomicU64::new(0), Mutex::new(None));
    loop {
        let service = service_fn(|request| {
            let (answer, requests, reply) = (&answer, &requests, &reply);
            Box::pin(async move {
                let request = read(
                    request,
                    [connection, requests.fetch_add(1, Ordering::Relaxed)],
                )
                .await
                .ok_or(Broken)?;
                answer(request).await.map(response).map_err(|instead| {
                    *lock(reply) = Some(instead);
                    Broken
                })
            })
        });
        let mut http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // Its errors are the replies, or a client that went away.
        std::future::poll_fn(|context| http.poll_without_shutdown(context))
            .await
            .ok();
        stream = http.into_parts().io.into_inner();
        let instead = lock(&reply).take();
        let goes_on = match instead {
            Some(reply) => reply.play(&mut stream).await.unwrap_or(false),
            None => {
                stream.shutdown().await.ok();
                false
            }
        };
        if !goes_on {
            return;
        }
    }
}

/// Reads a request whole; `None` if it ends before.
async fn read(request: hyper::Request<Incoming>, numbers: [u64; 2]) -> Option<Request> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, LONGEST_BODY)
        .collect()
        .await
        .ok()?
        .to_bytes();
    Some(Request::new(parts, &body, numbers))
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}
