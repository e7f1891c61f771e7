//! A bench: topics of its own, both APIs as stand-ins, and the configuration of a service between
//! them.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

use stand_in::StandIn;
use tempfile::TempDir;
use toml::{Table, Value};
use uuid::Uuid;

use crate::harness::kafka::{self, Message, Place, Reader, Writer};
use crate::harness::outcome::Outcome;
use crate::harness::service::Service;
use crate::harness::update::Update;

/// How many partitions the topics of a bench have.
pub(crate) const PARTITIONS: i32 = 4;

/// Everything that a test of the service needs.
pub(crate) struct Bench {
    /// The broker's address.
    pub(crate) servers: String,
    /// Part of all names, so that tests do not meet.
    pub(crate) id: String,
    pub(crate) aipix: StandIn,
    pub(crate) valt: StandIn,
    pub(crate) writer: Writer,
    outcomes: Reader,
    dead_letters: Reader,
    config: Table,
    folder: TempDir,
}

impl Bench {
    /// A bench with its topics created.
    pub(crate) async fn new() -> Self {
        Self::on(kafka::bootstrap()).await
    }

    /// A bench on the broker at this address.
    pub(crate) async fn on(servers: &str) -> Self {
        Self::with_settings(servers, [&[]; 3]).await
    }

    /// A bench whose topics have these settings as well: updates, outcomes, dead letters.
    pub(crate) async fn with_settings(servers: &str, settings: [&[(&str, &str)]; 3]) -> Self {
        let id = format!("it-{}", Uuid::new_v4().simple());
        for ((topic, usual), more) in Self::topics(&id).into_iter().zip(settings) {
            let settings: Vec<_> = usual.iter().chain(more).copied().collect();
            kafka::create_topic(servers, &topic, PARTITIONS, &settings).await;
        }
        let [(updates, _), (outcomes, _), (dead_letters, _)] = Self::topics(&id);
        let folder = tempfile::tempdir().unwrap();
        let aipix = StandIn::on_loopback("aipix").await.unwrap();
        let valt = StandIn::on_loopback("valt").await.unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, "courier\n").unwrap();
        let mut bench = Bench {
            writer: Writer::new(servers, &updates),
            outcomes: Reader::new(servers, &outcomes),
            dead_letters: Reader::new(servers, &dead_letters),
            servers: servers.to_owned(),
            id,
            aipix,
            valt,
            config: Table::new(),
            folder,
        };
        bench.set("kafka.bootstrap_servers", servers);
        bench.set("kafka.group_id", bench.id.clone());
        bench.set("kafka.instance_id", "one");
        bench.set("kafka.topics.updates", updates);
        bench.set("kafka.topics.outcomes", outcomes);
        bench.set("kafka.topics.dead_letters", dead_letters);
        bench.set("targets.aipix.api", "aipix");
        bench.set("targets.aipix.base_url", bench.aipix.base_url());
        bench.set("targets.aipix.login", "courier");
        bench.set("targets.aipix.password_file", password.to_str().unwrap());
        bench.set("targets.valt.api", "valt");
        bench.set("targets.valt.base_url", bench.valt.base_url());
        bench.set("targets.valt.username", "courier");
        bench.set("targets.valt.password_file", password.to_str().unwrap());
        // Tests of retries wait for them.
        for target in ["aipix", "valt"] {
            bench.set(&format!("targets.{target}.retry.initial_backoff"), "20ms");
            bench.set(&format!("targets.{target}.retry.max_backoff"), "200ms");
        }
        bench.set("admin.listen", "127.0.0.1:0");
        bench.set("log.format", "json");
        bench
    }

    /// The names of the three topics, in the documented order, with their settings.
    fn topics(id: &str) -> [(String, &'static [(&'static str, &'static str)]); 3] {
        // A dead letter is a little larger than its record. Uncompressed, because some tests read
        // it byte by byte.
        let [normal, larger]: [&[_]; 2] = [
            &[],
            &[
                ("max.message.bytes", "2000000"),
                ("compression.type", "uncompressed"),
            ],
        ];
        [
            (format!("{id}-updates"), normal),
            (format!("{id}-outcomes"), normal),
            (format!("{id}-dead-letters"), larger),
        ]
    }

    /// Sets a key of the configuration, such as `targets.valt.retry.max_attempts`.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        let mut table = &mut self.config;
        let mut parts: Vec<_> = key.split('.').collect();
        let last = parts.pop().expect("a key has parts");
        for part in parts {
            let entry = table
                .entry(part)
                .or_insert_with(|| Value::Table(Table::new()));
            table = entry.as_table_mut().expect("a section");
        }
        table.insert(last.to_owned(), value.into());
    }

    /// Forgets a key, or a whole section.
    pub(crate) fn unset(&mut self, key: &str) {
        let (section, last) = key.rsplit_once('.').expect("a key has parts");
        let table = section
            .split('.')
            .try_fold(&mut self.config, |table, part| {
                table.get_mut(part)?.as_table_mut()
            });
        table.expect("a section").remove(last);
    }

    /// Runs a command with the configuration to its end: its exit code and all that it said.
    pub(crate) fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_user-courier"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config_file())
            .stdin(std::process::Stdio::null());
        let output = command.output().expect("the command can be run");
        (
            output.status.code(),
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
        )
    }

    /// Runs a command with the configuration and this on standard input: exit code, standard output
    /// and standard error.
    pub(crate) fn piped(&self, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
        self.piped_with(&[], arguments, input)
    }

    /// The same, with these variables in the environment.
    pub(crate) fn piped_with(
        &self,
        environment: &[(&str, &str)],
        arguments: &[&str],
        input: &str,
    ) -> (Option<i32>, String, String) {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_user-courier"))
            .args(arguments)
            .envs(environment.iter().copied())
            .arg("--config")
            .arg(self.config_file())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the command can be run");
        let mut pipe = child.stdin.take().expect("it is piped");
        // A command may end without having read.
        pipe.write_all(input.as_bytes()).ok();
        drop(pipe);
        let output = child.wait_with_output().expect("the command ends");
        let [out, err] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8(bytes).expect("the command writes text"));
        (output.status.code(), out, err)
    }

    /// What `user-courier health` with these flags says of a service.
    pub(crate) fn health(&self, service: &Service, flags: &[&str]) -> (Option<i32>, String) {
        let address = format!("admin.listen={}", service.address());
        self.command(&[&["health", "--set", &address], flags].concat())
    }

    /// A file of this content beside the configuration.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Adds a route.
    pub(crate) fn route(&mut self, source: &str, target: &str) {
        let route = Table::from_iter(
            [("source", source), ("target", target)]
                .map(|(key, value)| (key.to_owned(), value.into())),
        );
        let routes = self
            .config
            .entry("routes")
            .or_insert_with(|| Value::Array(Vec::new()));
        routes
            .as_array_mut()
            .expect("routes are a list")
            .push(Value::Table(route));
    }

    /// The path of the configuration file.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("user-courier.toml")
    }

    /// Writes the configuration file, and says where.
    pub(crate) fn config_file(&self) -> PathBuf {
        let path = self.path();
        std::fs::write(&path, self.config.to_string()).unwrap();
        path
    }

    /// Starts the service, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Service {
        Service::run(&self.config_file())
    }

    /// Starts an instance of that name, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start_as(&mut self, instance: &str) -> Service {
        self.set("kafka.instance_id", instance);
        self.start()
    }

    /// Writes updates to the update topic.
    pub(crate) fn send<'a>(&self, updates: impl IntoIterator<Item = &'a Update>) -> Vec<Place> {
        let messages: Vec<Message> = updates.into_iter().map(Update::message).collect();
        self.writer.write(&messages)
    }

    /// Waits for so many outcomes in all.
    #[track_caller]
    pub(crate) fn outcomes(&mut self, count: usize) -> Vec<Outcome> {
        let messages = self.outcomes.wait_for(count);
        messages
            .iter()
            .map(|(_, message)| Outcome::read(message, &self.id))
            .collect()
    }

    /// The outcomes that are committed now.
    #[track_caller]
    pub(crate) fn outcomes_now(&mut self) -> Vec<Outcome> {
        self.outcomes.read_all();
        self.outcomes(0)
    }

    /// Waits for the outcomes of these records, in their order. Any other outcome, or a second one,
    /// fails the test.
    #[track_caller]
    pub(crate) fn outcomes_of(&mut self, places: &[Place]) -> Vec<Outcome> {
        self.outcomes.wait_for(places.len());
        let mut found = self.outcomes_now();
        let positions: HashMap<_, _> = places
            .iter()
            .enumerate()
            .map(|(position, place)| (place, position))
            .collect();
        found.sort_by_key(|outcome| positions.get(&outcome.data.record));
        let mut counts: HashMap<_, usize> = HashMap::new();
        found
            .iter()
            .for_each(|outcome| *counts.entry(&outcome.data.record).or_default() += 1);
        let without: Vec<_> = places
            .iter()
            .filter(|place| !counts.contains_key(place))
            .collect();
        let several: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        let strays: Vec<_> = counts
            .keys()
            .filter(|place| !positions.contains_key(*place))
            .collect();
        assert!(
            without.is_empty() && several.is_empty() && strays.is_empty(),
            "each record has exactly one outcome; without: {without:?}, several: {several:?}, strays: {strays:?}"
        );
        found
    }

    /// Waits for so many dead letters, and reads on to the end.
    #[track_caller]
    pub(crate) fn dead_letters(&mut self, count: usize) -> Vec<Message> {
        self.dead_letters.wait_for(count);
        let found: Vec<_> = self
            .dead_letters
            .read_all()
            .iter()
            .map(|(_, message)| message.clone())
            .collect();
        assert_eq!(found.len(), count, "dead letters");
        found
    }

    /// Where everything that was written to the update topic stands.
    pub(crate) fn updates(&self) -> Vec<(Place, Message)> {
        Reader::new(&self.servers, &self.topic(0))
            .read_all()
            .to_vec()
    }

    /// The name of a topic, by its place: updates, outcomes, dead letters.
    pub(crate) fn topic(&self, number: usize) -> String {
        let topics = Self::topics(&self.id);
        topics[number].0.clone()
    }
}

/// The dead letter of the record at this place.
#[track_caller]
pub(crate) fn dead_letter_of<'a>(letters: &'a [Message], place: &Place) -> &'a Message {
    let [partition, offset] = [place.partition.to_string(), place.offset.to_string()];
    let is_of = |letter: &&Message| {
        letter.header("__connect.errors.topic") == Some(&place.topic)
            && letter.header("__connect.errors.partition") == Some(&partition)
            && letter.header("__connect.errors.offset") == Some(&offset)
    };
    let found: Vec<_> = letters.iter().filter(is_of).collect();
    assert_eq!(found.len(), 1, "dead letters of {place:?}");
    found[0]
}
