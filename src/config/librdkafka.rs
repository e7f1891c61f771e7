//! librdkafka's properties: which ones the service decides on itself, which are secret, and how to
//! ask about the rest.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::{FromClientConfig, NativeClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use rdkafka::types::RDKafkaConfRes;

use crate::model::text;

/// Why a property is the service's own business, and which properties are.
pub(super) const REFUSED: [(&str, &str); 11] = [
    (
        "set `kafka.bootstrap_servers`, which every client uses",
        "bootstrap.servers metadata.broker.list",
    ),
    (
        "the service joins one group per target, named after `kafka.group_id`",
        "group.id",
    ),
    (
        "how partitions are handed over between instances rests on it",
        "group.instance.id group.protocol group.protocol.type group.remote.assignor partition.assignment.strategy",
    ),
    (
        "offsets are committed in one transaction with their outcomes, never by librdkafka alone",
        "auto.commit.enable auto.commit.interval.ms enable.auto.commit enable.auto.offset.store offset.store.method offset.store.path \
         offset.store.sync.interval.ms",
    ),
    (
        "the transactions that make outcomes exactly-once rest on it",
        "delivery.timeout.ms message.timeout.ms transaction.timeout.ms transactional.id",
    ),
    (
        "no outcome is lost or written twice because of it",
        "acks enable.gapless.guarantee enable.idempotence max.in.flight max.in.flight.requests.per.connection \
         message.send.max.retries request.required.acks retries",
    ),
    (
        "a user's updates stay on one partition because of it",
        "partitioner",
    ),
    (
        "a new group starts at the earliest record, or updates would be skipped",
        "auto.offset.reset",
    ),
    (
        "records of aborted transactions must stay unseen",
        "isolation.level",
    ),
    (
        "the service depends on its own setting of it",
        "delivery.report.only.error enable.partition.eof enabled_events statistics.interval.ms test.mock.num.brokers",
    ),
    (
        "the service creates no topics: a missing one ends it",
        "allow.auto.create.topics",
    ),
];

/// Those that people set, for naming the nearest one. librdkafka itself knows more, and is asked.
const USUAL: &str = "batch.num.messages batch.size broker.address.family broker.address.ttl check.crcs client.dns.lookup client.id \
    client.rack compression.codec compression.level compression.type connections.max.idle.ms debug enable.ssl.certificate.verification \
    fetch.max.bytes fetch.message.max.bytes fetch.min.bytes fetch.wait.max.ms heartbeat.interval.ms linger.ms log_level \
    max.partition.fetch.bytes max.poll.interval.ms message.max.bytes metadata.max.age.ms queue.buffering.max.kbytes \
    queue.buffering.max.messages queue.buffering.max.ms queued.max.messages.kbytes queued.min.messages receive.message.max.bytes \
    reconnect.backoff.max.ms reconnect.backoff.ms request.timeout.ms retry.backoff.max.ms retry.backoff.ms sasl.mechanism \
    sasl.mechanisms sasl.oauthbearer.config sasl.password sasl.username security.protocol session.timeout.ms \
    socket.connection.setup.timeout.ms socket.keepalive.enable socket.nagle.disable socket.timeout.ms ssl.ca.location ssl.ca.pem \
    ssl.certificate.location ssl.certificate.pem ssl.endpoint.identification.algorithm ssl.key.location ssl.key.password ssl.key.pem \
    ssl.keystore.location ssl.keystore.password";

/// Those that name a file.
pub(super) const FILES: [&str; 5] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
];

/// Why the service refuses the property, if it does.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    REFUSED
        .iter()
        .find(|(_, names)| names.split(' ').any(|refused| refused == name))
        .map(|(why, _)| *why)
}

/// Whether its value is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let parts = [
        "password",
        "passphrase",
        "secret",
        "key.pem",
        "oauthbearer.config",
    ];
    parts.into_iter().any(|part| name.contains(part))
}

/// Whether librdkafka has a property of that name.
pub(super) fn is_known(name: &str) -> bool {
    !matches!(
        set(name, ""),
        Err(KafkaError::ClientConfig(
            RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN,
            ..
        ))
    )
}

/// A usual property whose name is like this one.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    text::nearest(name, USUAL.split(' '))
}

/// Asks librdkafka whether it takes the value. What it says may quote the value.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    let native = match set(name, value) {
        Ok(native) => native,
        Err(KafkaError::ClientConfig(_, description, ..)) => {
            return Err(description.trim().replace('"', "`"));
        }
        Err(_) => return Err("it holds a zero byte".to_owned()),
    };
    // librdkafka reads a number as far as it goes: 30 from "30s".
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    let begins_as_one =
        value.starts_with(|first: char| first.is_ascii_digit()) && !is_number(value);
    match native.get(name) {
        Ok(understood) if begins_as_one && is_number(&understood) => {
            Err(format!("it would read {understood} from it"))
        }
        _ => Ok(()),
    }
}

fn set(name: &str, value: &str) -> Result<NativeClientConfig, KafkaError> {
    ClientConfig::new().set(name, value).create_native_config()
}

/// Asks librdkafka whether a consumer's settings fit together, by making one. Without a broker to
/// go to it stays where it is.
pub(super) fn check_consumer(
    settings: Vec<(String, String)>,
    session_timeout: Duration,
) -> Result<(), String> {
    let session_timeout = session_timeout.as_millis().to_string();
    create::<BaseConsumer>(
        settings,
        &[
            ("group.id", "check"),
            ("session.timeout.ms", &session_timeout),
        ],
    )
}

/// The same for a transactional producer.
pub(super) fn check_producer(mut settings: Vec<(String, String)>) -> Result<(), String> {
    settings
        .iter_mut()
        .for_each(|(name, value)| fit_into_transaction(name, value));
    let timeout = TRANSACTION_TIMEOUT_MS.to_string();
    create::<BaseProducer>(
        settings,
        &[
            ("transactional.id", "check"),
            ("transaction.timeout.ms", &timeout),
        ],
    )
}

/// How long a transaction may stay open, in milliseconds. A killed instance holds its readers and
/// its successor back for this long, and for as long again as the broker takes to notice (10 s by
/// default).
pub(crate) const TRANSACTION_TIMEOUT_MS: u32 = 5000;

/// A request may not be waited for longer than its transaction lasts: librdkafka refuses a
/// `socket.timeout.ms` above that, which may have been set for every client.
pub(crate) fn fit_into_transaction(name: &str, value: &mut String) {
    if name == "socket.timeout.ms"
        && value
            .parse()
            .is_ok_and(|timeout: u32| timeout > TRANSACTION_TIMEOUT_MS)
    {
        *value = TRANSACTION_TIMEOUT_MS.to_string();
    }
}

fn create<T: FromClientConfig>(
    settings: Vec<(String, String)>,
    own: &[(&str, &str)],
) -> Result<(), String> {
    let mut config: ClientConfig = settings.into_iter().collect();
    for (name, value) in own {
        config.set(*name, *value);
    }
    // The answer is wanted, not the client's own log.
    config
        .remove("debug")
        .set("log_level", "0")
        .set_log_level(RDKafkaLogLevel::Emerg);
    match config.create::<T>() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientCreation(description)) => Err(description),
        // Anything else quotes values.
        Err(_) => Err("it gives no reason".to_owned()),
    }
}
