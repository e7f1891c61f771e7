//! The admin endpoint: metrics, liveness, readiness and status over HTTP. Nothing here changes anything.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::metrics::Metrics;
use crate::status::Board;

/// Serves until the process ends.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve(listen: SocketAddr, metrics: Metrics, board: Board) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("the admin endpoint cannot listen on {listen}: choose another admin.listen, or stop what listens there")
    })?;
    let address = listener.local_addr()?;
    info!(%address, "admin endpoint listening");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes(metrics, board)).await {
            error!(%error, "the admin endpoint ended");
        }
    });
    Ok(address)
}

fn routes(metrics: Metrics, board: Board) -> Router {
    let (live, ready) = (board.clone(), board.clone());
    Router::new()
        .route("/metrics", get(async move || text(&metrics)))
        .route("/livez", get(async move || verdict(&live.stuck(), "stuck")))
        .route("/readyz", get(async move || verdict(&ready.not_joined(), "not joined yet")))
        .route("/status", get(async move || ([(header::CONTENT_TYPE, "application/json")], board.page())))
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
        (StatusCode::SERVICE_UNAVAILABLE, format!("{what}: {}\n", bad.join(", ")))
    }
}
