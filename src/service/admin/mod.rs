//! The admin endpoint: metrics, liveness, readiness and status over HTTP. Nothing here changes
//! anything, and whoever reaches it can occupy no more of the service than its limits say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::subscriber::status::Board;
use crate::telemetry::metrics::Metrics;

/// Serves until the process ends: the task is not meant to end before.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve(
    listen: SocketAddr,
    metrics: Metrics,
    board: Board,
) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("the admin endpoint cannot listen on {listen}: choose another admin.listen, or stop what listens there")
    })?;
    let address = listener.local_addr()?;
    info!(%address, "admin endpoint listening");
    Ok(tokio::spawn(accept(
        listener,
        routes(metrics, board),
        LIMITS,
    )))
}

/// What one who reaches the port may take.
#[derive(Clone, Copy)]
struct Limits {
    /// Connections at once; more wait until one ends.
    connections: usize,
    /// How long a connection lasts, whatever is done with it. Each serves one request.
    lifetime: Duration,
    /// The head of a request, in bytes.
    head: usize,
}

const LIMITS: Limits = Limits {
    connections: 64,
    lifetime: Duration::from_secs(5),
    head: 16 * 1024,
};

/// The pause after a connection that could not be had, as where the process has too many files
/// open.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for ever.
async fn accept(listener: TcpListener, routes: Router, limits: Limits) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut well = true;
    while let Ok(place) = room.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => {
                well = true;
                stream
            }
            Err(error) => {
                if std::mem::replace(&mut well, false) {
                    warn!(%error, "the admin endpoint cannot accept connections; it goes on trying");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(routes.clone());
        let connection = http1::Builder::new()
            .keep_alive(false)
            .max_buf_size(limits.head)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _place = place;
            match tokio::time::timeout(limits.lifetime, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a request to the admin endpoint was not served"),
                Err(_) => debug!("a connection to the admin endpoint took too long"),
            }
        });
    }
}

fn routes(metrics: Metrics, board: Board) -> Router {
    let (live, ready) = (board.clone(), board.clone());
    Router::new()
        .route("/metrics", get(async move || text(&metrics)))
        .route("/livez", get(async move || verdict(&live.stuck(), "stuck")))
        .route(
            "/readyz",
            get(async move || verdict(&ready.not_ready(), "not ready")),
        )
        .route(
            "/status",
            get(async move || ([(header::CONTENT_TYPE, "application/json")], board.page())),
        )
}

fn text(metrics: &Metrics) -> axum::response::Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn verdict(bad: &[String], what: &str) -> (StatusCode, String) {
    if bad.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{what}: {}\n", bad.join(", ")),
        )
    }
}

#[cfg(test)]
mod tests;
