//! The Kafka side of a test: topics of its own, records written and read with everything that
//! belongs to them.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{
    BorrowedMessage, DeliveryResult, Header, Headers, Message as _, OwnedHeaders, Timestamp,
};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

/// How long a test waits for what must come. Long, since only a failing test waits for all of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// The broker's address. Starts one where none is given; it stays up for the next run, until
/// `scripts/kafka down`.
pub(crate) fn bootstrap() -> &'static str {
    static SERVERS: OnceLock<String> = OnceLock::new();
    SERVERS.get_or_init(|| match std::env::var("KAFKA_BOOTSTRAP_SERVERS") {
        Ok(servers) if !servers.is_empty() => servers,
        _ => start(&[]),
    })
}

/// Starts a cluster and returns its address.
fn start(arguments: &[&str]) -> String {
    script(&[&["up"], arguments].concat());
    exported(&[&["env"], arguments].concat(), "KAFKA_BOOTSTRAP_SERVERS")
}

/// The value of a variable that `scripts/kafka env` prints.
fn exported(env: &[&str], name: &str) -> String {
    let printed = script(env);
    let value = printed.lines().find_map(|line| {
        line.strip_prefix("export ")?
            .strip_prefix(name)?
            .strip_prefix('=')
    });
    value
        .expect("`scripts/kafka env` prints assignments")
        .to_owned()
}

/// Runs `scripts/kafka`, and returns what it printed.
fn script(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka");
    let output = Command::new(script)
        .args(arguments)
        .output()
        .expect("scripts/kafka can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no Kafka to test with: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Brokers of the test's own, to be ended and started again. They go with their data when dropped.
pub(crate) struct OwnBrokers {
    name: &'static str,
    pub(crate) servers: String,
}

impl OwnBrokers {
    /// Three of them replicate everything, and two suffice to go on.
    pub(crate) fn start(name: &'static str, brokers: usize) -> Self {
        OwnBrokers {
            name,
            servers: start(&["--brokers", &brokers.to_string(), "--name", name]),
        }
    }

    /// One with secured listeners beside the open one.
    pub(crate) fn secured(name: &'static str) -> Self {
        OwnBrokers {
            name,
            servers: start(&["--secure", "--name", name]),
        }
    }

    /// What `scripts/kafka env` tells of them.
    pub(crate) fn env(&self, name: &str) -> String {
        exported(&["env", "--name", self.name], name)
    }

    /// One of Kafka's tools.
    pub(crate) fn tool(&self, arguments: &[&str]) {
        script(&[&["--name", self.name, "tool"], arguments].concat());
    }

    /// `stop`, `kill`, `start`, `freeze` or `thaw` of one of them, as `scripts/kafka` knows them.
    /// Returns once it is so.
    pub(crate) fn command(&self, command: &str, broker: i32) {
        script(&[command, &broker.to_string(), "--name", self.name]);
    }
}

impl Drop for OwnBrokers {
    fn drop(&mut self) {
        script(&["down", "--name", self.name]);
    }
}

/// The broker that leads a partition now.
pub(crate) fn leader(servers: &str, topic: &str, partition: usize) -> i32 {
    let client: BaseConsumer = client(servers).create().unwrap();
    let metadata = client
        .fetch_metadata(Some(topic), PATIENCE)
        .expect("the broker answers");
    metadata.topics()[0].partitions()[partition].leader()
}

/// A record to be written, or as it was read: what two are compared by, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// In their order.
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970; the present where it is `None`.
    pub(crate) timestamp: Option<i64>,
}

impl Message {
    /// The value of a header, as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(other, _)| other == name)?;
        Some(std::str::from_utf8(value.as_deref()?).expect("a header of text"))
    }
}

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// The settings that all clients have.
pub(crate) fn client(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

/// The name of a setting that is none of Kafka's: which brokers have the replicas of each
/// partition, such as `1,3 1,3 2,3`.
pub(crate) const REPLICAS: &str = "replicas";

/// Waits until every partition of a topic has so many replicas in sync.
pub(crate) fn wait_in_sync(servers: &str, topic: &str, replicas: usize) {
    let client: BaseConsumer = client(servers).create().unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metadata = client.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let partitions = metadata.topics()[0].partitions();
        if partitions.iter().all(|each| each.isr().len() == replicas) {
            return;
        }
        assert!(Instant::now() < deadline, "never {replicas} in sync");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Creates a topic, with settings such as `("max.message.bytes", "2000000")`.
pub(crate) async fn create_topic(
    servers: &str,
    name: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) {
    let admin: AdminClient<DefaultClientContext> = client(servers).create().unwrap();
    let brokers = |part: &str| {
        part.split(',')
            .map(|broker| broker.parse().unwrap())
            .collect::<Vec<i32>>()
    };
    let placed = settings
        .iter()
        .find(|(key, _)| *key == REPLICAS)
        .map(|(_, value)| value.split(' ').map(brokers).collect::<Vec<_>>());
    let placed: Option<Vec<&[i32]>> = placed
        .as_ref()
        .map(|placed| placed.iter().map(Vec::as_slice).collect());
    let replication = placed
        .as_deref()
        .map_or(TopicReplication::Fixed(-1), TopicReplication::Variable);
    let mut topic = NewTopic::new(name, partitions, replication);
    for (key, value) in settings.iter().filter(|(key, _)| *key != REPLICAS) {
        topic = topic.set(key, value);
    }
    create(&admin, &topic).await;
}

/// Creates a topic as soon as the broker lets it: one of that name may be on its way out.
async fn create(admin: &AdminClient<DefaultClientContext>, topic: &NewTopic<'_>) {
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let results = admin
            .create_topics([topic], &options)
            .await
            .expect("the broker answers");
        match &results[0] {
            Ok(_) => break,
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) if Instant::now() < deadline => {}
            Err((name, code)) => panic!("{name} was not created: {code}"),
        }
    }
    // The controller has made it; brokers hear of that a moment later, and till then say that there
    // is no such topic.
    let is_known = || {
        let metadata = admin
            .inner()
            .fetch_metadata(Some(topic.name), PATIENCE)
            .expect("the broker answers");
        metadata
            .topics()
            .iter()
            .all(|topic| topic.error().is_none() && !topic.partitions().is_empty())
    };
    while !is_known() {
        assert!(
            Instant::now() < deadline,
            "{} was created, and no broker knows it",
            topic.name
        );
    }
}

/// Deletes the topic, and waits for nothing.
async fn delete_at_once(servers: &str, name: &str) {
    let admin: AdminClient<DefaultClientContext> = client(servers).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for result in admin
        .delete_topics(&[name], &options)
        .await
        .expect("the broker answers")
    {
        result.unwrap_or_else(|(topic, code)| panic!("{topic} was not deleted: {code}"));
    }
}

/// Deletes the topic, and creates it again as soon as the broker lets it.
pub(crate) async fn remake_topic(servers: &str, name: &str, partitions: i32) {
    delete_at_once(servers, name).await;
    create_topic(servers, name, partitions, &[]).await;
}

/// Adds partitions until there are so many.
pub(crate) async fn add_partitions(servers: &str, name: &str, count: usize) {
    let admin: AdminClient<DefaultClientContext> = client(servers).create().unwrap();
    let more = NewPartitions::new(name, count);
    for result in admin
        .create_partitions([&more], &AdminOptions::new())
        .await
        .expect("the broker answers")
    {
        result.unwrap_or_else(|(topic, code)| panic!("{topic} got no more partitions: {code}"));
    }
}

/// The partition's records below this offset are deleted, as retention would.
pub(crate) async fn delete_below(servers: &str, topic: &str, partition: i32, offset: i64) {
    let admin: AdminClient<DefaultClientContext> = client(servers).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))
        .unwrap();
    admin
        .delete_records(&list, &AdminOptions::new())
        .await
        .unwrap();
}

/// Creates a topic of one partition, which these brokers have, the first as its leader.
pub(crate) async fn create_topic_on(
    servers: &str,
    name: &str,
    brokers: &[i32],
    settings: &[(&str, &str)],
) {
    let admin: AdminClient<DefaultClientContext> = client(servers).create().unwrap();
    let replicas = [brokers];
    let mut topic = NewTopic::new(name, 1, TopicReplication::Variable(&replicas));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    create(&admin, &topic).await;
}

/// Writes records to one topic.
pub(crate) struct Writer {
    topic: String,
    producer: ThreadedProducer<Deliveries>,
}

/// Tells the one who sent a record where it stands.
struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<(usize, Sender<(usize, Place)>)>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        // A failed delivery drops the sender, which the one who waits notices.
        if let Ok(message) = result {
            let (number, sender) = *opaque;
            sender.send((number, place(message))).ok();
        }
    }
}

impl Writer {
    pub(crate) fn new(servers: &str, topic: &str) -> Self {
        let mut config = client(servers);
        config
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("linger.ms", "1");
        config.set("message.max.bytes", "2000000");
        Writer {
            topic: topic.to_owned(),
            producer: config.create_with_context(Deliveries).unwrap(),
        }
    }

    /// One that can write in transactions as well.
    pub(crate) fn transactional(servers: &str, topic: &str) -> Self {
        let mut config = client(servers);
        config
            .set("partitioner", "murmur2_random")
            .set("transactional.id", topic);
        let producer: ThreadedProducer<Deliveries> =
            config.create_with_context(Deliveries).unwrap();
        producer
            .init_transactions(PATIENCE)
            .expect("the broker has a transaction coordinator");
        Writer {
            topic: topic.to_owned(),
            producer,
        }
    }

    /// One with a transaction that stays open, in which the consumer's group commits an offset of
    /// each partition.
    pub(crate) fn hanging(servers: &str, topic: &str, consumer: &BaseConsumer) -> Self {
        let mut config = client(servers);
        config
            .set("transactional.id", format!("{topic}-hanging"))
            .set("transaction.timeout.ms", "300000");
        let producer: ThreadedProducer<Deliveries> =
            config.create_with_context(Deliveries).unwrap();
        producer
            .init_transactions(PATIENCE)
            .expect("the broker has a transaction coordinator");
        producer.begin_transaction().unwrap();
        let partitions = consumer
            .fetch_metadata(Some(topic), PATIENCE)
            .expect("the broker answers")
            .topics()[0]
            .partitions()
            .len();
        let mut offsets = TopicPartitionList::new();
        for partition in 0..i32::try_from(partitions).unwrap() {
            offsets
                .add_partition_offset(topic, partition, Offset::Offset(0))
                .unwrap();
        }
        let group = consumer.group_metadata().expect("a consumer with a group");
        producer
            .send_offsets_to_transaction(&offsets, &group, PATIENCE)
            .expect("the broker takes the offsets");
        Writer {
            topic: topic.to_owned(),
            producer,
        }
    }

    /// Aborts the transaction that is open.
    pub(crate) fn abort(&self) {
        self.producer.abort_transaction(PATIENCE).unwrap();
    }

    /// Writes the records in one transaction, and commits or aborts it.
    pub(crate) fn transaction(&self, messages: &[Message], commit: bool) -> Vec<Place> {
        let places = self.begin(messages);
        if commit {
            self.producer.commit_transaction(PATIENCE)
        } else {
            self.producer.abort_transaction(PATIENCE)
        }
        .unwrap();
        places
    }

    /// Writes the records in a transaction that stays open.
    pub(crate) fn begin(&self, messages: &[Message]) -> Vec<Place> {
        self.producer.begin_transaction().unwrap();
        self.write(messages)
    }

    /// Commits the transaction that is open.
    pub(crate) fn commit(&self) {
        self.producer.commit_transaction(PATIENCE).unwrap();
    }

    /// Writes a record, and says whether the broker takes it.
    pub(crate) fn try_write(&self, message: &Message) -> bool {
        !self.write([message]).is_empty()
    }

    /// Writes the records in their order, and says where each stands once the broker has them all.
    pub(crate) fn write<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) -> Vec<Place> {
        let (sender, receiver) = channel();
        for (number, message) in messages.into_iter().enumerate() {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &message.headers {
                headers = headers.insert(Header {
                    key,
                    value: value.as_ref(),
                });
            }
            let mut record: BaseRecord<'_, [u8], [u8], _> =
                BaseRecord::with_opaque_to(&self.topic, Box::new((number, sender.clone())))
                    .headers(headers);
            record.key = message.key.as_deref();
            record.payload = message.value.as_deref();
            record.timestamp = message.timestamp;
            self.producer
                .send(record)
                .map_err(|(error, _)| error)
                .expect("the record can be queued");
        }
        drop(sender);
        // The client's own `flush` takes at least 100 ms.
        let until = Instant::now() + PATIENCE;
        let mut places = Vec::new();
        loop {
            match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(place) => places.push(place),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the broker takes the records"),
            }
        }
        places.sort_by_key(|(number, _)| *number);
        assert!(
            places
                .iter()
                .enumerate()
                .all(|(at, (number, _))| at == *number),
            "a record was not delivered"
        );
        places.into_iter().map(|(_, place)| place).collect()
    }
}

/// After so long without a record, a reader looks whether its client still knows a broker.
const SILENCE: Duration = Duration::from_secs(5);

/// Reads one topic from its beginning, as a consumer that sees committed records only.
pub(crate) struct Reader {
    servers: String,
    topic: String,
    config: ClientConfig,
    consumer: BaseConsumer,
    partitions: usize,
    /// The partitions of which everything was read.
    at_end: HashSet<i32>,
    pub(crate) seen: Vec<(Place, Message)>,
}

impl Reader {
    pub(crate) fn new(servers: &str, topic: &str) -> Self {
        Self::with(servers, topic, "read_committed")
    }

    /// One that sees also what is not committed, or never will be.
    pub(crate) fn of_all(servers: &str, topic: &str) -> Self {
        Self::with(servers, topic, "read_uncommitted")
    }

    fn with(servers: &str, topic: &str, isolation: &str) -> Self {
        let mut config = client(servers);
        config
            .set("group.id", "tests")
            .set("enable.auto.commit", "false")
            .set("isolation.level", isolation)
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "20")
            .set("fetch.message.max.bytes", "4000000");
        let consumer: BaseConsumer = config.create().unwrap();
        let metadata = consumer
            .fetch_metadata(Some(topic), PATIENCE)
            .expect("the broker answers");
        let partitions = metadata.topics()[0].partitions().len();
        let mut assignment = TopicPartitionList::new();
        for partition in 0..i32::try_from(partitions).unwrap() {
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&assignment).unwrap();
        Reader {
            servers: servers.to_owned(),
            topic: topic.to_owned(),
            config,
            consumer,
            partitions,
            at_end: HashSet::new(),
            seen: Vec::new(),
        }
    }

    /// Waits until `count` records were seen since the reader was made, and hands over all of them.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, count: usize) -> &[(Place, Message)] {
        let done = self.read_until(PATIENCE, |reader| reader.seen.len() >= count);
        assert!(
            done,
            "{} of {count} records after {PATIENCE:?} in {}",
            self.seen.len(),
            self.topic
        );
        &self.seen
    }

    /// Reads everything that is committed now.
    #[track_caller]
    pub(crate) fn read_all(&mut self) -> &[(Place, Message)] {
        // From the beginning, with a consumer of its own: one that is at an end already is not told
        // of that end again.
        let mut fresh = Reader::new(&self.servers, &self.topic);
        let done = fresh.read_until(PATIENCE, |reader| reader.at_end.len() == reader.partitions);
        assert!(done, "the end of {} was not reached", self.topic);
        // Whole, or the old consumer would read on from where it was, and see again what was seen
        // here.
        *self = fresh;
        &self.seen
    }

    /// A client may forget all brokers of a cluster that had none for a moment. A new one goes on
    /// reading where it was.
    fn renew_if_forgetful(&mut self) {
        let answer = self.consumer.fetch_metadata(Some(&self.topic), SILENCE);
        let code = answer.err().and_then(|error| error.rdkafka_error_code());
        if code != Some(RDKafkaErrorCode::BrokerTransportFailure) {
            return;
        }
        let mut assignment = TopicPartitionList::new();
        for partition in 0..i32::try_from(self.partitions).unwrap() {
            let last = self.seen.iter().rev();
            let last = last
                .map(|(place, _)| place)
                .find(|place| place.partition == partition);
            let next = last.map_or(Offset::Beginning, |last| Offset::Offset(last.offset + 1));
            assignment
                .add_partition_offset(&self.topic, partition, next)
                .unwrap();
        }
        self.consumer = self.config.create().unwrap();
        self.consumer.assign(&assignment).unwrap();
    }

    /// Reads until `done` or `patience` has passed; says whether it was done.
    pub(crate) fn read_until(&mut self, patience: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.poll(left.min(SILENCE)) {
                None if left.is_zero() => return false,
                None => self.renew_if_forgetful(),
                // The client goes on trying.
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::UnknownTopicOrPartition,
                ))) => {}
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.at_end.insert(partition);
                }
                Some(Err(error)) => panic!("{}: {error}", self.topic),
                Some(Ok(message)) => {
                    self.at_end.remove(&message.partition());
                    self.seen.push((place(&message), read(&message)));
                }
            }
        }
        true
    }
}

/// For each partition of a topic, how far the group has committed (-1 where it has not), and where
/// the log ends, markers included.
pub(crate) fn committed_and_end(
    servers: &str,
    group: &str,
    topic: &str,
    partitions: i32,
) -> Vec<(i64, i64)> {
    let consumer: BaseConsumer = client(servers).set("group.id", group).create().unwrap();
    let mut asked = TopicPartitionList::new();
    for partition in 0..partitions {
        asked.add_partition(topic, partition);
    }
    let committed = consumer
        .committed_offsets(asked, PATIENCE)
        .expect("the broker answers");
    let offset = |partition: i32| {
        committed
            .find_partition(topic, partition)
            .and_then(|found| found.offset().to_raw())
    };
    let end = |partition| {
        consumer
            .fetch_watermarks(topic, partition, PATIENCE)
            .expect("the broker answers")
            .1
    };
    (0..partitions)
        .map(|partition| {
            (
                offset(partition)
                    .filter(|offset| *offset >= 0)
                    .unwrap_or(-1),
                end(partition),
            )
        })
        .collect()
}

fn place(message: &BorrowedMessage<'_>) -> Place {
    Place {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
    }
}

fn read(message: &BorrowedMessage<'_>) -> Message {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Message {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect(),
        timestamp: match message.timestamp() {
            Timestamp::CreateTime(milliseconds) => Some(milliseconds),
            Timestamp::LogAppendTime(_) | Timestamp::NotAvailable => None,
        },
    }
}

/// Sets what a topic is set to, while it is in use.
pub(crate) async fn configure(servers: &str, topic: &str, name: &str, value: &str) {
    let admin: AdminClient<DefaultClientContext> = client(servers).create().unwrap();
    let mut all = std::collections::HashMap::from([(name, value)]);
    let told = admin
        .describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new())
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let kept = told.entries.iter().filter(|entry| {
        !entry.is_default && entry.source == ConfigSource::DynamicTopic && entry.name != name
    });
    all.extend(kept.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?))));
    let config = AlterConfig {
        specifier: ResourceSpecifier::Topic(topic),
        entries: all,
    };
    for result in admin
        .alter_configs([&config], &AdminOptions::new())
        .await
        .expect("the broker answers")
    {
        result.expect("the setting is taken");
    }
    // The controller has it; the broker that leads the topic's partitions hears of it a moment
    // later.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = admin
            .describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new())
            .await
            .unwrap()
            .remove(0)
            .unwrap();
        if told
            .get(name)
            .is_some_and(|entry| entry.value.as_deref() == Some(value))
        {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{topic} was set to {name}={value}, and no broker knows it"
        );
    }
}

/// Deletes a topic, and waits until no broker knows it.
pub(crate) async fn delete_topic(servers: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = client(servers)
        .set("allow.auto.create.topics", "false")
        .create()
        .unwrap();
    for result in admin
        .delete_topics(&[topic], &AdminOptions::new())
        .await
        .expect("the broker answers")
    {
        result.unwrap_or_else(|(topic, code)| panic!("{topic} was not deleted: {code}"));
    }
    let deadline = Instant::now() + PATIENCE;
    while exists(servers, topic) {
        assert!(
            Instant::now() < deadline,
            "{topic} was deleted, and is still there"
        );
    }
}

/// Whether there is a topic of that name. To ask creates none.
pub(crate) fn exists(servers: &str, topic: &str) -> bool {
    let consumer: BaseConsumer = client(servers).create().unwrap();
    let metadata = consumer
        .fetch_metadata(Some(topic), PATIENCE)
        .expect("the broker answers");
    metadata
        .topics()
        .iter()
        .any(|topic| topic.error().is_none() && !topic.partitions().is_empty())
}
