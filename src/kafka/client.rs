//! Client settings: how every consumer and producer of the service is set up.

use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::BaseProducer;

use crate::config::{
    Kafka, Properties, TRANSACTION_TIMEOUT_MS, fit_into_transaction, heartbeat_interval,
    statistics_interval,
};

/// Memory for records that were fetched and not yet read, of each consumer.
const FETCHED_KBYTES: &str = "8192";

/// The settings of a subscriber's consumer.
///
/// # Errors
/// If a property's secret file is gone.
pub fn consumer(kafka: &Kafka, target: &str) -> anyhow::Result<ClientConfig> {
    let session = kafka.session_timeout;
    let mut config = base(kafka);
    config
        // The configuration refuses this property, so that only the demo, whose embedded broker has
        // no cooperative groups, sets another.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set(
            "heartbeat.interval.ms",
            heartbeat_interval(session).as_millis().to_string(),
        )
        .set("queued.max.messages.kbytes", FETCHED_KBYTES)
        .set("queued.min.messages", "10000")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "100")
        // By default a queue that was full is not filled again for a second, which is long empty by
        // then.
        .set("fetch.queue.backoff.ms", "10");
    apply(&mut config, &kafka.consumer)?;
    config
        // Its log tells at once when the topic gets another id, and nothing else does. Nothing but
        // `metadata`, whatever the configuration says: librdkafka 2.12 writes lines of `topic`
        // while it holds the lock of the queue that they go to, and hangs.
        .set_log_level(RDKafkaLogLevel::Debug)
        .set("debug", "metadata")
        .set("group.id", group_id(kafka, target))
        // A static member that is killed and started again takes its partitions back at once,
        // without a rebalance.
        .set("group.instance.id", &kafka.instance_id)
        .set("group.protocol", "classic")
        .set("session.timeout.ms", session.as_millis().to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set(
            "statistics.interval.ms",
            statistics_interval(session).as_millis().to_string(),
        );
    Ok(config)
}

/// The settings of a subscriber's transactional producer.
///
/// # Errors
/// If a property's secret file is gone.
pub fn producer(kafka: &Kafka, target: &str) -> anyhow::Result<ClientConfig> {
    let mut config = base(kafka);
    config
        // A broker that recompresses a batch, as its topic may ask for, rewrites header names that
        // are not UTF-8 (seen with 4.3).
        .set("compression.type", "none")
        .set("linger.ms", "0")
        // A dead letter is a record with headers added: larger than the largest record. The broker
        // has the last word.
        .set("message.max.bytes", "20000000");
    apply(&mut config, &kafka.producer)?;
    if let Some(mut timeout) = config.get("socket.timeout.ms").map(str::to_owned) {
        fit_into_transaction("socket.timeout.ms", &mut timeout);
        config.set("socket.timeout.ms", timeout);
    }
    config
        .set("transactional.id", transactional_id(kafka, target))
        .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string())
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random");
    Ok(config)
}

/// How long a single message is tried to be sent, in seconds.
pub const SINGLE_TIMEOUT_S: u64 = 20;

/// The settings of a producer that sends one message and has no transactions.
///
/// # Errors
/// If a property's secret file is gone.
pub fn single(kafka: &Kafka) -> anyhow::Result<ClientConfig> {
    let mut config = base(kafka);
    config
        .set("linger.ms", "0")
        .set("message.max.bytes", "20000000");
    apply(&mut config, &kafka.producer)?;
    config
        .set("message.timeout.ms", (SINGLE_TIMEOUT_S * 1000).to_string())
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random");
    Ok(config)
}

/// The settings of a consumer that looks through topics and joins no group. Its isolation level is
/// the caller's choice.
///
/// # Errors
/// If a property's secret file is gone.
pub fn reader(kafka: &Kafka) -> anyhow::Result<ClientConfig> {
    let mut config = base(kafka);
    config
        .set("queued.max.messages.kbytes", FETCHED_KBYTES)
        .set("fetch.wait.max.ms", "20")
        .set("fetch.error.backoff.ms", "50")
        .set("fetch.queue.backoff.ms", "10");
    apply(&mut config, &kafka.consumer)?;
    config
        // librdkafka wants a group's name before it takes an assignment. Nothing is ever committed
        // to it.
        .set("group.id", group_id(kafka, "dead-letters"))
        .set("group.protocol", "classic")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true");
    Ok(config)
}

/// Makes clients of the properties, secrets and certificates as they are now, and throws them away.
///
/// # Errors
/// Why none can be made.
pub fn try_out(kafka: &Kafka) -> anyhow::Result<()> {
    let unusable = |error| anyhow::anyhow!("{}: {}", words(&error), advice(&error, ""));
    let consumer: Result<BaseConsumer, _> = reader(kafka)?.create();
    consumer.map_err(unusable)?;
    let producer: Result<BaseProducer, _> = producer(kafka, "try-out")?.create();
    producer.map(drop).map_err(unusable)
}

/// The settings of the transactional producer that replays dead letters. Its name is the same
/// wherever it runs: who begins last, fences the others.
///
/// # Errors
/// If a property's secret file is gone.
pub fn replayer(kafka: &Kafka) -> anyhow::Result<ClientConfig> {
    let mut config = producer(kafka, "replay")?;
    config.set("transactional.id", format!("{}.replay", kafka.group_id));
    Ok(config)
}

/// The settings of a client that only asks about topics.
///
/// # Errors
/// If a property's secret file is gone.
pub fn inspector(kafka: &Kafka) -> anyhow::Result<ClientConfig> {
    let mut config = base(kafka);
    apply(&mut config, &kafka.common)?;
    Ok(config)
}

/// The consumer group of a target.
pub fn group_id(kafka: &Kafka, target: &str) -> String {
    format!("{}.{target}", kafka.group_id)
}

fn transactional_id(kafka: &Kafka, target: &str) -> String {
    format!("{}.{target}.{}", kafka.group_id, kafka.instance_id)
}

fn base(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("client.id", format!("user-courier-{}", kafka.instance_id))
        // Otherwise every metadata request of a producer or admin client would ask the broker to
        // create a deleted topic.
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("log.connection.close", "false")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("topic.metadata.propagation.max.ms", "5000");
    config
}

fn apply(config: &mut ClientConfig, properties: &Properties) -> anyhow::Result<()> {
    for (name, value) in properties
        .resolve()
        .context("a secret of [kafka.properties] cannot be read")?
    {
        config.set(name, value);
    }
    Ok(())
}

/// Whether the client has a connection to any broker, or gets one within `patience`. Of a cluster
/// that has no broker for a moment, librdkafka 2.12 can forget them all, and never asks again
/// (confluentinc/librdkafka#5301): only a new client reaches that cluster.
pub(super) fn reaches_a_broker<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    patience: Duration,
) -> bool {
    let answer = client.fetch_metadata(Some(topic), patience);
    answer.err().and_then(|error| error.rdkafka_error_code()) != Some(Code::BrokerTransportFailure)
}

/// A client error in words without values: rdkafka's own names the property's value, which may be
/// secret.
pub fn words(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, reason, property, _) => format!("{property}: {reason}"),
        other => other.to_string(),
    }
}

/// Advice for an error, based on its code and on the client's message.
pub fn advice(error: &KafkaError, reason: &str) -> &'static str {
    match refusal(error, reason) {
        Some(BrokerRefusal::Login) => {
            "check sasl.mechanism, sasl.username and the file of sasl.password in [kafka.properties]"
        }
        Some(BrokerRefusal::Tls) => {
            "check in [kafka.properties] ssl.ca.location (the authority of the brokers), and ssl.certificate.location with ssl.key.location \
             (who we are, where the brokers ask for it)"
        }
        Some(BrokerRefusal::Rights) => {
            "give the account the rights that docs/configuration.md lists under \"What Kafka must offer\""
        }
        None => {
            "check kafka.bootstrap_servers, security.protocol in [kafka.properties], and that the broker runs"
        }
    }
}

/// The advice about an error that waiting alone does not mend.
pub fn refusal_advice(error: &KafkaError, reason: &str) -> Option<&'static str> {
    refusal(error, reason).map(|_| advice(error, reason))
}

/// A refusal by a broker, or our refusal of the broker.
enum BrokerRefusal {
    Login,
    Tls,
    Rights,
}

fn refusal(error: &KafkaError, reason: &str) -> Option<BrokerRefusal> {
    match error.rdkafka_error_code()? {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => Some(BrokerRefusal::Login),
        Code::SSL => Some(BrokerRefusal::Tls),
        // A broker that misses our certificate, or does not accept it, says so only after the
        // handshake.
        Code::BrokerTransportFailure if reason.contains("SSL alert") => Some(BrokerRefusal::Tls),
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::ClusterAuthorizationFailed => Some(BrokerRefusal::Rights),
        _ => None,
    }
}
