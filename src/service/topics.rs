//! The topic watch: warns at the start of problems in the topics' settings, and counts all the time
//! the dead letters near the end of their retention.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, info, warn};

use crate::config::Kafka;
use crate::kafka::find_topics;
use crate::kafka::topics::{near_retention, older_than, remarks, topic_settings, unequal};
use crate::telemetry::metrics::Metrics;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(600);

/// Checks every 10 minutes. A failure is reported once.
pub async fn run(kafka: Kafka, metrics: Metrics) {
    let mut first = true;
    loop {
        match look(&kafka, first).await {
            Ok(near) => metrics.near_retention().set(near),
            Err(error) if first => info!(
                error,
                "the settings of the topics cannot be looked at; nothing else needs them"
            ),
            Err(error) => debug!(error, "the settings of the topics cannot be looked at"),
        }
        first = false;
        tokio::time::sleep(PERIOD).await;
    }
}

/// How many dead letters are near the end of their retention.
async fn look(kafka: &Kafka, first: bool) -> Result<i64, String> {
    let words = |error: anyhow::Error| format!("{error:#}");
    let asked = kafka.clone();
    let found = blocking(move || find_topics(&asked)).await.map_err(words)?;
    if let Some(words) = unequal(kafka, &found).filter(|_| first) {
        warn!("{}", words.replace('\n', ""));
    }
    let topics = topic_settings(kafka, &found).await?;
    for remark in remarks(kafka, &topics).into_iter().filter(|_| first) {
        warn!("{}", remark.words);
    }
    let (Some(letters), Some(settings)) = (found.into_iter().next_back(), topics.last()) else {
        return Ok(0);
    };
    let Some(time) = near_retention(settings, Timestamp::now().as_millisecond()) else {
        return Ok(0);
    };
    let asked = kafka.clone();
    blocking(move || older_than(&asked, &letters, time))
        .await
        .map_err(words)
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(run).await?
}
