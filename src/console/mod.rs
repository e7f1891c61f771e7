//! The console: the operator's page. It looks at the group's instances and at the topics, and replays on request.
//!
//! `gate → server → now, letters, work`: the gate says which requests are let through, `now` asks the instances, `letters` keeps an index of
//! the dead-letter topic, and `work` runs what takes long. The page itself stands in `page/`, as the browser gets it.

mod exposition;
mod files;
mod gate;
mod instances;
mod now;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::{Config, UNCLAIMED};
use crate::verdict::Reason;
use gate::Gate;
use now::Now;

/// What the answers are made from.
struct Desktop {
    config: Config,
    gate: Arc<Gate>,
    now: Now,
}

/// Serves the page until it is told to stop.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn run(config: Config, listen: SocketAddr, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("the console cannot listen on {listen}: choose another --listen, or stop what listens there"))?;
    let address = listener.local_addr()?;
    let closed = !address.ip().is_loopback();
    if closed {
        warn!("--listen is not loopback: whoever can listen on the way reads the token and what the page shows; put TLS in front of it");
    }
    let gate = Arc::new(Gate::new(config.console.hosts.clone(), config.console.token.clone(), closed));
    let desktop = Arc::new(Desktop { now: Now::new(&config), config, gate: gate.clone() });
    let watched = desktop.clone();
    tokio::spawn(async move {
        if let Err(error) = watched.now.watch().await {
            error!(error = format!("{error:#}"), "the instances cannot be asked");
        }
    });
    info!(%address, "console listening: http://{address}");
    server::serve(listener, server::guarded(routes(desktop), gate), stop).await;
    Ok(())
}

fn routes(desktop: Arc<Desktop>) -> Router {
    let api = Router::new().route("/api/hello", get(hello)).route("/api/now", get(now)).with_state(desktop);
    files::routes().merge(api)
}

/// What a page needs to know before it asks anything.
async fn hello(State(desktop): State<Arc<Desktop>>) -> Response {
    let Desktop { config, gate, .. } = &*desktop;
    let targets = config.targets.iter().map(|target| target.name.as_str()).chain([UNCLAIMED]);
    json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "group": config.kafka.group_id,
        "brokers": config.kafka.bootstrap_servers,
        "form_token": gate.form_token(),
        "locked": gate.is_closed(),
        "replay": gate.has_token(),
        "targets": targets.collect::<Vec<_>>(),
        "reasons": Reason::ALL.map(Reason::as_str),
    }))
}

#[derive(Deserialize)]
struct After {
    after: Option<i64>,
}

async fn now(State(desktop): State<Arc<Desktop>>, Query(After { after }): Query<After>) -> Response {
    json(&desktop.now.page(after.unwrap_or(i64::MIN)))
}

fn json(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
