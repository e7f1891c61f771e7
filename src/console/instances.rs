//! Instances: asks each process of the group what it does, and what it has counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::console::exposition::{self, Counts};
use crate::model::text;
use crate::subscriber::guarded::GuardStatus;

/// How long an instance may take to answer both questions.
const TIMEOUT: Duration = Duration::from_secs(2);
/// An answer is read up to this size, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;
/// The bytes of what an instance says in words.
const WORDS: usize = 500;

/// A target's state, as an instance reports it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Seen {
    pub(super) state: String,
    pub(super) cause: String,
    pub(super) since: Timestamp,
    pub(super) next_probe_at: Option<Timestamp>,
    pub(super) lag: i64,
    pub(super) in_flight: u64,
    pub(super) waiting: u64,
    pub(super) concurrency_limit: u64,
    pub(super) last_error: Option<String>,
    /// An instance of an older version does not tell.
    #[serde(default)]
    pub(super) guard: Option<GuardStatus>,
}

/// How Kafka is for an instance, as it says.
#[derive(Clone, Debug, Deserialize)]
struct KafkaSeen {
    state: String,
    since: Timestamp,
    last_error: Option<String>,
}

/// An instance that is without Kafka, for the page.
#[derive(Serialize)]
pub(super) struct Stranded<'a> {
    id: &'a str,
    since: String,
    error: Option<String>,
}

/// The page `/status` of an instance.
#[derive(Clone, Debug, Deserialize)]
struct StatusPage {
    version: String,
    instance_id: String,
    /// An instance of an older version does not tell.
    kafka: Option<KafkaSeen>,
    targets: BTreeMap<String, Seen>,
}

/// One process of the group.
pub(super) struct Instance {
    url: Url,
    /// Since when it answers, or does not.
    since: Timestamp,
    error: Option<String>,
    took: Duration,
    status: Option<StatusPage>,
    counts: Option<(Instant, BTreeMap<String, Counts>)>,
}

/// A target's counts since the previous poll.
pub(super) struct Grown {
    pub(super) counts: Counts,
    pub(super) seconds: f64,
}

/// An instance, for the page.
#[derive(Serialize)]
pub(super) struct InstanceRow<'a> {
    address: &'a str,
    id: Option<&'a str>,
    version: Option<&'a str>,
    answers: bool,
    without_kafka: bool,
    since: String,
    error: Option<&'a str>,
    milliseconds: u64,
}

/// An answer, or why there is none.
pub(super) type Answer = Result<Heard, String>;

/// An instance's answer.
pub(super) struct Heard {
    status: StatusPage,
    counts: BTreeMap<String, Counts>,
    took: Duration,
}

/// Asks admin endpoints, without TLS, and nothing but the given address.
pub(super) type Client = legacy::Client<HttpConnector, Empty<Bytes>>;

/// A client for all instances.
pub(super) fn client() -> Client {
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

/// Asks an instance.
pub(super) async fn ask(client: &Client, url: &Url) -> Answer {
    let began = Instant::now();
    let both = async {
        Ok((
            get(client, url, "status").await?,
            get(client, url, "metrics").await?,
        ))
    };
    let (status, metrics) = tokio::time::timeout(TIMEOUT, both)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}")))?;
    let status: StatusPage = serde_json::from_str(&status)
        .map_err(|_| "what answers there is no admin endpoint of user-courier".to_owned())?;
    Ok(Heard {
        status,
        counts: exposition::read(&metrics),
        took: began.elapsed(),
    })
}

async fn get(client: &Client, url: &Url, page: &str) -> Result<String, String> {
    let uri = format!("{url}{page}")
        .parse()
        .map_err(|_| "this is no address".to_owned())?;
    let answer = client.get(uri).await.map_err(|error| words(&error))?;
    if !answer.status().is_success() {
        return Err(format!("/{page} answers {}", answer.status().as_u16()));
    }
    let body = Limited::new(answer.into_body(), LONGEST)
        .collect()
        .await
        .map_err(|error| words(&*error))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// The innermost cause, which says the most.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    text::name(&cause.to_string(), WORDS)
}

impl Instance {
    /// One that was not asked yet.
    pub(super) fn new(url: Url) -> Self {
        Instance {
            url,
            since: Timestamp::now(),
            error: None,
            took: Duration::ZERO,
            status: None,
            counts: None,
        }
    }

    /// The address of its admin endpoint.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Takes up its answer. Returns each target's counts since it was last asked.
    pub(super) fn take(&mut self, answer: Answer) -> BTreeMap<String, Grown> {
        let heard = match answer {
            Ok(heard) => heard,
            Err(error) => {
                if self.error.is_none() {
                    self.since = Timestamp::now();
                }
                self.error = Some(error);
                self.status = None;
                return BTreeMap::new();
            }
        };
        if self.error.take().is_some() || self.counts.is_none() {
            self.since = Timestamp::now();
        }
        self.took = heard.took;
        self.status = Some(heard.status);
        let now = Instant::now();
        let Some((then, before)) = self.counts.replace((now, heard.counts.clone())) else {
            return BTreeMap::new();
        };
        let seconds = now.duration_since(then).as_secs_f64();
        let none = Counts::default();
        let grown = |(name, counts): (String, Counts)| {
            let counts = counts.since(before.get(&name).unwrap_or(&none));
            (name, Grown { counts, seconds })
        };
        heard.counts.into_iter().map(grown).collect()
    }

    /// Its own name, and its report on a target.
    pub(super) fn target(&self, name: &str) -> Option<(&str, &Seen)> {
        let status = self.status.as_ref()?;
        Some((&status.instance_id, status.targets.get(name)?))
    }

    /// How many partitions it owns for a target; `None` if it does not answer.
    pub(super) fn partitions(&self, name: &str) -> Option<u32> {
        self.status.as_ref()?;
        Some(self.counts.as_ref()?.1.get(name)?.partitions)
    }

    /// The age of the oldest update that a target has not settled, in seconds.
    pub(super) fn oldest(&self, name: &str) -> Option<f64> {
        self.status.as_ref()?;
        Some(self.counts.as_ref()?.1.get(name)?.oldest)
    }

    /// Whether it answers.
    pub(super) fn answers(&self) -> bool {
        self.status.is_some()
    }

    /// Since when it is without Kafka, and why, if it is.
    pub(super) fn stranded(&self) -> Option<Stranded<'_>> {
        let status = self.status.as_ref()?;
        let kafka = status
            .kafka
            .as_ref()
            .filter(|kafka| kafka.state == "down")?;
        let error = kafka
            .last_error
            .as_deref()
            .map(|words| text::cut(words, WORDS).into_owned());
        Some(Stranded {
            id: &status.instance_id,
            since: crate::model::outcome::timestamp(kafka.since),
            error,
        })
    }

    /// Since when it is without Kafka for a target, if it is.
    pub(super) fn stranded_for(&self, name: &str) -> Option<Timestamp> {
        let kafka = self.status.as_ref()?.kafka.as_ref()?;
        self.counts
            .as_ref()?
            .1
            .get(name)
            .filter(|counts| counts.without_kafka)
            .map(|_| kafka.since)
    }

    /// For the page.
    pub(super) fn shown(&self) -> InstanceRow<'_> {
        InstanceRow {
            address: self
                .url
                .as_str()
                .trim_start_matches("http://")
                .trim_end_matches('/'),
            id: self
                .status
                .as_ref()
                .map(|status| status.instance_id.as_str()),
            version: self.status.as_ref().map(|status| status.version.as_str()),
            answers: self.answers(),
            without_kafka: self.stranded().is_some(),
            since: crate::model::outcome::timestamp(self.since),
            error: self.error.as_deref(),
            milliseconds: u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Seen {
    /// Why the last call failed, or what the guard holds for, short enough for a card.
    pub(super) fn last_error(&self) -> Option<String> {
        let guarded = self.guard.as_ref().map(GuardStatus::words);
        let words = guarded.as_deref().or(self.last_error.as_deref());
        words.map(|words| text::cut(words, WORDS).into_owned())
    }
}
