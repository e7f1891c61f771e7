//! The export: spans go through a bounded queue to a task that sends them to the collector by OTLP
//! over HTTP. Nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::Context;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use prometheus::IntCounter;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};
use url::Url;

use crate::config::secret_file::Secret;

/// Spans that may wait to be sent.
const WAITING: usize = 4096;
/// Spans in one request, at most.
const BATCH: usize = 512;
/// How long a span waits for others to be sent with.
const GATHER: Duration = Duration::from_secs(1);
/// The bound of one export with its repetitions, whatever the collector does.
const EXPORT: Duration = Duration::from_secs(15);
/// How long the end of the process waits for the last spans to be sent.
const FLUSH: Duration = Duration::from_secs(5);
/// An answer of a collector is read up to this size, in bytes.
const ANSWER: usize = 64 << 10;

/// Takes spans that have ended, and leaves out those for which there is no room.
#[derive(Debug)]
pub(super) struct Processor {
    queue: mpsc::Sender<SpanData>,
    counts: Arc<ExportCounts>,
}

/// Counts of waiting and lost spans.
#[derive(Debug)]
struct ExportCounts {
    /// Those that wait, or are being sent.
    waiting: AtomicU64,
    left_out: IntCounter,
}

impl ExportCounts {
    fn lost(&self, spans: u64) {
        self.left_out.inc_by(spans);
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
    }
}

impl SpanProcessor for Processor {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(span).is_err() {
            self.counts.lost(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The task that sends.
pub(super) struct Export {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    counts: Arc<ExportCounts>,
}

impl Export {
    /// Sends what waits, and ends.
    pub(super) async fn end(mut self) {
        // The task is gone only if it panicked, which the log shows.
        let _ = self.stop.send(());
        if timeout(FLUSH, &mut self.task).await.is_err() {
            self.task.abort();
            let spans = self.counts.waiting.load(Ordering::Relaxed);
            self.counts.lost(spans);
            warn!(
                spans,
                "the collector did not take the last spans in time: they are left out"
            );
        }
    }
}

/// Begins to send. `headers` are read again for each request, as their file may change.
pub(super) fn start(
    endpoint: &Url,
    headers: Option<Secret>,
    resource: &Resource,
    left_out: IntCounter,
) -> anyhow::Result<(Processor, Export)> {
    // Fails only if one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(EXPORT)
        .redirect(reqwest::redirect::Policy::none());
    let client = client
        .user_agent(concat!("user-courier/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    let client = client
        .build()
        .map_err(reqwest::Error::without_url)
        .context("cannot set up TLS for the collector of traces")?;
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(ExportClient { client, headers })
        .with_endpoint(endpoint.as_str())
        .with_protocol(Protocol::HttpBinary)
        .build()
        .context("traces cannot be sent as OpenTelemetry's variables say")?;
    exporter.set_resource(resource);
    let (queue, waiting) = mpsc::channel(WAITING);
    let (stop, stopped) = oneshot::channel();
    let counts = Arc::new(ExportCounts {
        waiting: AtomicU64::new(0),
        left_out,
    });
    let sending = Sending {
        exporter,
        waiting,
        counts: counts.clone(),
        told: 0,
        fails: false,
    };
    Ok((
        Processor {
            queue,
            counts: counts.clone(),
        },
        Export {
            stop,
            task: tokio::spawn(sending.run(stopped)),
            counts,
        },
    ))
}

struct Sending {
    exporter: SpanExporter,
    waiting: mpsc::Receiver<SpanData>,
    counts: Arc<ExportCounts>,
    /// Spans left out that were already reported.
    told: u64,
    /// It was reported that spans are left out, and not yet that none are any more.
    fails: bool,
}

impl Sending {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(BATCH);
        // Until when the batch may grow.
        let mut full = None;
        loop {
            let room = BATCH - batch.len();
            let more = tokio::select! {
                taken = self.waiting.recv_many(&mut batch, room) => taken > 0,
                () = sleep_until(full.unwrap_or_else(Instant::now)), if full.is_some() => false,
                _ = &mut stopped, if !self.waiting.is_closed() => {
                    self.waiting.close();
                    continue;
                }
            };
            full = full.or(Some(Instant::now() + GATHER));
            if batch.is_empty() {
                return;
            }
            if !more || batch.len() == BATCH {
                self.send(std::mem::take(&mut batch)).await;
                full = None;
            }
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        let sent = timeout(EXPORT, self.exporter.export(batch)).await;
        let error = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {EXPORT:?}")),
        };
        match &error {
            Some(_) => self.counts.lost(spans),
            None => {
                self.counts.waiting.fetch_sub(spans, Ordering::Relaxed);
            }
        }
        self.tell(error);
    }

    /// Says when spans begin to be left out, and when none are any more: once for each time,
    /// however many they are.
    fn tell(&mut self, error: Option<String>) {
        let left_out = self.counts.left_out.get();
        let spans = left_out - self.told;
        if spans > 0 && !self.fails {
            self.fails = true;
            let error = error.unwrap_or_else(|| "it does not take them fast enough".to_owned());
            warn!(
                error,
                "spans are left out: the collector of traces does not take them. Deliveries go on"
            );
        } else if spans == 0 && self.fails {
            self.fails = false;
            info!(spans = left_out, "the collector takes spans again");
        }
        self.told = left_out;
    }
}

/// The HTTP client of the exporter.
struct ExportClient {
    client: reqwest::Client,
    headers: Option<Secret>,
}

impl std::fmt::Debug for ExportClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait::async_trait]
impl HttpClient for ExportClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = reqwest::Request::try_from(request)?;
        if let Some(headers) = &self.headers {
            let headers = headers.read()?;
            for (name, value) in headers
                .expose_secret()
                .split(',')
                .filter_map(|pair| pair.split_once('='))
            {
                let mut value = HeaderValue::from_str(value.trim())?;
                value.set_sensitive(true);
                request
                    .headers_mut()
                    .insert(HeaderName::from_bytes(name.trim().as_bytes())?, value);
            }
        }
        let mut answer = self
            .client
            .execute(request)
            .await
            .map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + piece.len() > ANSWER {
                return Err("the collector's answer is too long".into());
            }
            body.extend_from_slice(&piece);
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        Ok(response)
    }
}
