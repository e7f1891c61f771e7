//! Topics filled with updates, the stand-in as a process, and runs of the service between them.

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use crate::process::{Process, Scrape};

const COURIER: &str = env!("CARGO_BIN_EXE_user-courier");
const PATIENCE: Duration = Duration::from_secs(300);

/// What stands on a topic.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) events: u64,
    pub(crate) users: u64,
    pub(crate) partitions: i32,
    pub(crate) target: &'static str,
}

impl Default for Load {
    fn default() -> Self {
        Load { events: 60_000, users: 10_000, partitions: 8, target: "valt" }
    }
}

/// How the service is run.
pub(crate) struct Run {
    pub(crate) concurrency: usize,
    pub(crate) merge: bool,
    pub(crate) targets: usize,
}

impl Default for Run {
    fn default() -> Self {
        Run { concurrency: 256, merge: false, targets: 1 }
    }
}

/// What a run took.
pub(crate) struct Measured {
    pub(crate) events: u64,
    pub(crate) calls: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
}

impl Measured {
    pub(crate) fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    pub(crate) fn cpu_per_thousand(&self) -> f64 {
        self.cpu / self.events as f64 * 1000.0
    }
}

/// A stand-in of VALT.
pub(crate) struct Server {
    url: String,
    _process: Process,
}

pub(crate) struct Rig {
    runtime: tokio::runtime::Handle,
    servers: String,
    folder: tempfile::TempDir,
    names: Cell<u32>,
}

impl Rig {
    pub(crate) fn new(runtime: tokio::runtime::Handle) -> Self {
        let servers = std::env::var("KAFKA_BOOTSTRAP_SERVERS").expect("KAFKA_BOOTSTRAP_SERVERS names a broker: run scripts/bench");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "bench\n").unwrap();
        Rig { runtime, servers, folder, names: Cell::new(0) }
    }

    fn name(&self) -> String {
        self.names.set(self.names.get() + 1);
        format!("bench-{}-{}", std::process::id(), self.names.get())
    }

    /// A stand-in that takes so long for each call.
    pub(crate) fn server(&self, latency: Duration) -> Server {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let latency = format!("{}ms", latency.as_millis());
        let mut command = Command::new(COURIER);
        command.args(["stand-in", "--valt", &address.to_string(), "--token", "bench", "--journal", "0", "--latency", &latency]);
        let process = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the stand-in does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Server { url: format!("http://{address}"), _process: process }
    }

    /// A fresh topic with so many updates on it.
    pub(crate) fn filled(&self, load: &Load) -> String {
        let topic = self.name();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("partitioner", "murmur2_random").set("linger.ms", "20");
        config.set("queue.buffering.max.messages", "1000000");
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let topics = ["", "-outcomes", "-dead"].map(|end| format!("{topic}{end}"));
        let new = topics.each_ref().map(|name| NewTopic::new(name, load.partitions, TopicReplication::Fixed(1)));
        for result in self.runtime.block_on(admin.create_topics(&new, &AdminOptions::new().operation_timeout(Some(PATIENCE)))).unwrap() {
            result.unwrap();
        }
        let producer: ThreadedProducer<_> = config.create_with_context(rdkafka::producer::DefaultProducerContext).unwrap();
        for number in 0..load.events {
            let user = 1 + number % load.users;
            let value = format!(
                r#"{{"specversion":"1.0","id":"{number}","source":"/bench","type":"com.example.user.updated","data":{{"target":"{}","user":{user},"changes":{{"display_name":"Name {number}"}}}}}}"#,
                load.target
            );
            let key = user.to_string();
            let headers = || OwnedHeaders::new().insert(Header { key: "content-type", value: Some("application/cloudevents+json") });
            let mut record = BaseRecord::to(&topic).key(&key).payload(&value).headers(headers());
            while let Err((_, refused)) = producer.send(record) {
                producer.poll(Duration::from_millis(10));
                record = refused;
            }
        }
        producer.flush(PATIENCE).unwrap();
        topic
    }

    /// The configuration of an instance.
    fn config(&self, topic: &str, server: &Server, run: &Run, instance: usize) -> PathBuf {
        let (servers, token) = (&self.servers, self.folder.path().join("token"));
        let mut text = format!(
            "kafka = {{ bootstrap_servers = '{servers}', group_id = '{topic}', instance_id = 'i{instance}', topics = {{ updates = '{topic}', \
             outcomes = '{topic}-outcomes', dead_letters = '{topic}-dead' }} }}\nadmin.listen = '127.0.0.1:0'\nlog.format = 'json'\n"
        );
        for number in 0..run.targets {
            let name = if number == 0 { "valt".to_owned() } else { format!("valt{number}") };
            let (url, concurrency, merge) = (&server.url, run.concurrency, run.merge);
            write!(
                text,
                "[targets.{name}]\napi = 'valt'\nbase_url = '{url}'\naccess_token_file = '{}'\ndelivery = {{ max_concurrency = {concurrency}, merge = {merge} }}\n",
                token.display()
            )
            .unwrap();
        }
        // Nobody's target: for records that this run is to skip.
        write!(text, "[targets.other]\napi = 'valt'\nbase_url = '{}'\naccess_token_file = '{}'\n", server.url, token.display()).unwrap();
        let path = self.folder.path().join(format!("{topic}-{instance}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn service(&self, topic: &str, server: &Server, run: &Run, instance: usize) -> Process {
        let mut command = Command::new(COURIER);
        command.arg("run").arg("--config").arg(self.config(topic, server, run, instance)).env("RUST_LOG", "info");
        for number in 0..run.targets {
            command.args(["--target", &if number == 0 { "valt".to_owned() } else { format!("valt{number}") }]);
        }
        Process::service(&mut command)
    }

    /// Runs one instance until all events have their outcome.
    pub(crate) fn run(&self, topic: &str, server: &Server, run: &Run, events: u64) -> Measured {
        self.run_several(topic, server, run, events, 1)
    }

    /// Runs instances from their readiness until all events have their outcome.
    pub(crate) fn run_several(&self, topic: &str, server: &Server, run: &Run, events: u64, instances: usize) -> Measured {
        let services: Vec<_> = (0..instances).map(|instance| self.service(topic, server, run, instance)).collect();
        services.iter().for_each(Process::wait_until_ready);
        let sum = |name: &str, labels: &[&str]| services.iter().map(|service| service.scrape().sum(name, labels)).sum::<f64>();
        let cpu = || services.iter().map(Process::cpu).sum::<f64>();
        let (began, cpu_before, before) = (Instant::now(), cpu(), sum("outcomes_total", &[]));
        let mut done = before;
        while done < events as f64 {
            assert!(began.elapsed() < PATIENCE, "{done} of {events} events are done after {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(50));
            done = sum("outcomes_total", &[]);
        }
        let measured = (events as f64 - before) as u64;
        let delivered = sum("outcomes_total", &["outcome=\"delivered\""]) + sum("outcomes_total", &["outcome=\"merged\""]);
        assert!((delivered - events as f64).abs() < 0.5, "{delivered} of {events} events were delivered");
        let calls = sum("attempts_total", &[]) as u64;
        Measured { events: measured, calls, seconds: began.elapsed().as_secs_f64(), cpu: cpu() - cpu_before }
    }

    /// Runs an instance until it has read all records, of which none is its own.
    pub(crate) fn skip(&self, topic: &str, server: &Server, records: u64) -> Measured {
        let began = Instant::now();
        let service = self.service(topic, server, &Run::default(), 0);
        while service.scrape().sum("records_consumed_total", &[]) < records as f64 {
            assert!(began.elapsed() < PATIENCE, "the records are not read");
            std::thread::sleep(Duration::from_millis(50));
        }
        Measured { events: records, calls: 0, seconds: began.elapsed().as_secs_f64(), cpu: service.cpu() }
    }

    /// The most resident memory of an instance, in MiB, until that is so.
    pub(crate) fn memory(&self, topic: &str, server: &Server, run: &Run, until: impl Fn(&Scrape) -> bool) -> f64 {
        let service = self.service(topic, server, run, 0);
        service.wait_until_ready();
        let began = Instant::now();
        while !until(&service.scrape()) {
            assert!(began.elapsed() < PATIENCE, "what is waited for does not come");
            std::thread::sleep(Duration::from_millis(50));
        }
        // A process that has just become ready is still allocating.
        std::thread::sleep(Duration::from_secs(1));
        service.memory("VmHWM")
    }

    /// Milliseconds from the start of the process to its readiness, and to its first call.
    pub(crate) fn start_up(&self, topic: &str, server: &Server) -> (f64, f64) {
        let began = Instant::now();
        let service = self.service(topic, server, &Run::default(), 0);
        service.wait_until_ready();
        let ready = began.elapsed();
        while service.scrape().sum("attempts_total", &[]) < 1.0 {
            assert!(began.elapsed() < PATIENCE, "no call is made");
            std::thread::sleep(Duration::from_millis(2));
        }
        (ready.as_secs_f64() * 1000.0, began.elapsed().as_secs_f64() * 1000.0)
    }

    /// This program again, in another role.
    fn bare(&self, role: &str, arguments: &[&str], events: u64) -> Measured {
        let output = Command::new(std::env::current_exe().unwrap()).arg(role).args(arguments).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{role} failed");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut figures = text.split_whitespace().map(|figure| figure.parse::<f64>().unwrap());
        let (seconds, cpu) = (figures.next().unwrap(), figures.next().unwrap());
        Measured { events, calls: events, seconds, cpu }
    }

    pub(crate) fn bare_loop(&self, server: &Server, calls: u64, concurrency: usize) -> Measured {
        self.bare("--bare-loop", &[&server.url, &calls.to_string(), &concurrency.to_string()], calls)
    }

    pub(crate) fn bare_consumer(&self, topic: &str, records: u64) -> Measured {
        self.bare("--bare-consumer", &[&self.servers, topic, &records.to_string()], records)
    }
}
