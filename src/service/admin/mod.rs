//! The admin endpoint: metrics, liveness, readiness and status over HTTP. Nothing here changes
//! anything, and whoever reaches it can occupy no more of the service than its limits say.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::info;

use crate::service::server::{self, Limits};
use crate::subscriber::status::Board;
use crate::subscriber::stop;
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
    let routes = routes(metrics, board);
    Ok(tokio::spawn(serve_on(listener, routes, LIMITS)))
}

/// Each connection serves one request and is closed within 5 s.
const LIMITS: Limits = Limits {
    connections: 64,
    lifetime: Duration::from_secs(4),
    last: Duration::from_secs(1),
    idle: Duration::from_secs(5),
    keep_alive: false,
    head: 16 * 1024,
    body: 0,
};

/// Serves for ever.
async fn serve_on(listener: TcpListener, routes: Router, limits: Limits) {
    let (_stopper, never) = stop::channel();
    server::serve("admin endpoint", listener, routes, limits, never).await;
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
