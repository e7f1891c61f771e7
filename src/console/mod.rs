//! The console: the operator's page. It shows the group's instances and the topics, and replays on
//! request.
//!
//! `guard → gate → api → now, letters, work`: the guard is the layer before every route, and the
//! gate decides which requests are let through. `now` asks the instances, `letters` keeps an index
//! of the dead-letter topic, and `work` runs long tasks. The page itself is in `page/`, as the
//! browser gets it.

mod api;
mod asked;
mod exposition;
mod files;
mod follow;
mod gate;
mod guard;
mod instances;
mod letters;
mod now;
mod progress;
mod replaying;
mod sending;
mod tail;
mod texts;
mod work;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::config::Config;
use crate::service::server::{self, Limits};
use crate::subscriber::stop::Stop;
use gate::Gate;
use now::Now;
use tail::Tail;
use work::Jobs;

/// A page and its questions to the server; an operator has a few of them open.
const LIMITS: Limits = Limits {
    connections: 256,
    lifetime: Duration::from_secs(60),
    last: Duration::from_secs(3),
    idle: Duration::from_secs(10),
    keep_alive: true,
    head: 64 * 1024,
    body: 256 * 1024,
};

/// How long a replay's last batch may take at the end.
const LAST: Duration = Duration::from_secs(15);

/// State shared by all routes.
struct Desktop {
    config: Arc<Config>,
    gate: Arc<Gate>,
    now: Now,
    tail: Arc<Tail>,
    work: Jobs,
    /// A replay is under way.
    busy: Arc<AtomicBool>,
}

/// Serves the page until it is told to stop. Reports its address once it listens.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn run(
    config: Config,
    listen: SocketAddr,
    stop: Stop,
    tell: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("the console cannot listen on {listen}: choose another --listen, or stop what listens there"))?;
    let address = listener.local_addr()?;
    let closed = !address.ip().is_loopback();
    if closed {
        warn!(
            "--listen is not loopback: whoever can listen on the way reads the token and what the page shows; put TLS in front of it"
        );
    }
    let gate = Arc::new(Gate::new(
        config.console.hosts.clone(),
        config.console.token.clone(),
        closed,
    ));
    let desktop = Arc::new(Desktop {
        now: Now::new(&config),
        config: Arc::new(config),
        gate: gate.clone(),
        tail: Arc::default(),
        work: Jobs::default(),
        busy: Arc::default(),
    });
    let watched = desktop.clone();
    tokio::spawn(async move { watched.now.watch().await });
    let (tail, config, end) = (desktop.tail.clone(), desktop.config.clone(), stop.clone());
    // The Kafka client's calls block.
    std::thread::spawn(move || tail.run(&config, &end));
    info!(%address, "console listening: http://{address}");
    tell(address);
    let router = files::routes().merge(api::routes(desktop.clone()));
    let router = guard::guarded(router, gate);
    server::serve("console", listener, router, LIMITS, stop).await;
    if tokio::time::timeout(LAST, desktop.work.drain())
        .await
        .is_err()
    {
        warn!(
            "a replay does not end: it is left behind, and nothing of its last batch counts unless it was recorded"
        );
    }
    Ok(())
}
