//! Topics filled with updates, the stand-in as a process, and runs of the service between them.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use crate::process::{Process, Scrape, broker_cpu};

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
        Load {
            events: 60_000,
            users: 10_000,
            partitions: 8,
            target: "valt",
        }
    }
}

/// How the service is run.
pub(crate) struct Run {
    pub(crate) concurrency: usize,
    pub(crate) merge: bool,
    pub(crate) max_waiting: usize,
    pub(crate) targets: usize,
    /// What is logged.
    pub(crate) log: &'static str,
}

impl Default for Run {
    fn default() -> Self {
        Run {
            concurrency: 256,
            merge: false,
            max_waiting: 10_000,
            targets: 1,
            log: "info,user_courier::subscriber::ending=warn",
        }
    }
}

/// What a run took.
pub(crate) struct Measured {
    pub(crate) events: u64,
    pub(crate) calls: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    pub(crate) peak_memory: f64,
    /// CPU time of the stand-in meanwhile…
    pub(crate) server_cpu: f64,
    /// …and of the brokers that run on this machine.
    pub(crate) broker_cpu: f64,
}

impl Measured {
    pub(crate) fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    pub(crate) fn cpu_per_thousand(&self) -> f64 {
        self.per_thousand(self.cpu)
    }

    pub(crate) fn per_thousand(&self, cpu: f64) -> f64 {
        cpu / self.events as f64 * 1000.0
    }
}

/// A stand-in of VALT.
pub(crate) struct Server {
    address: SocketAddr,
    url: String,
    process: Process,
}

impl Server {
    /// Adds a fault.
    pub(crate) fn fault(&self, fault: &str) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "POST /_stand-in/faults HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{fault}", fault.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.contains(" 200 ") || answer.contains(" 201 "),
            "{answer}"
        );
    }

    /// How many milliseconds after its record was sent each call arrived, but for those of that
    /// user.
    fn lateness(&self, but: u64) -> Vec<f64> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "GET /_stand-in/journal HTTP/1.0\r\nHost: localhost\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let journal: serde_json::Value = serde_json::from_str(body).unwrap();
        let calls = journal["calls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|call| call["user"] != but);
        calls
            .map(|call| {
                let sent: i128 = call["body"]["display_name"]
                    .as_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                let at: jiff::Timestamp = call["at"].as_str().unwrap().parse().unwrap();
                (at.as_nanosecond() - sent) as f64 / 1e6
            })
            .collect()
    }
}

pub(crate) struct Rig {
    runtime: tokio::runtime::Handle,
    servers: String,
    folder: tempfile::TempDir,
    names: Cell<u32>,
}

/// The user for whom a server may hang.
pub(crate) const HANGING: u64 = 52;

fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    target: &str,
    user: u64,
    name: &str,
) {
    let value = format!(
        r#"{{"specversion":"1.0","id":"{name}","source":"/bench","type":"com.example.user.updated","data":{{"target":"{target}","user":{user},"changes":{{"display_name":"{name}"}}}}}}"#,
    );
    let key = user.to_string();
    let headers = OwnedHeaders::new().insert(Header {
        key: "content-type",
        value: Some("application/cloudevents+json"),
    });
    let mut record = BaseRecord::to(topic)
        .key(&key)
        .payload(&value)
        .headers(headers);
    while let Err((_, refused)) = producer.send(record) {
        producer.poll(Duration::from_millis(10));
        record = refused;
    }
}

impl Rig {
    pub(crate) fn new(runtime: tokio::runtime::Handle) -> Self {
        let servers = std::env::var("KAFKA_BOOTSTRAP_SERVERS")
            .expect("KAFKA_BOOTSTRAP_SERVERS names a broker: run scripts/bench");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "bench\n").unwrap();
        Rig {
            runtime,
            servers,
            folder,
            names: Cell::new(0),
        }
    }

    fn name(&self) -> String {
        self.names.set(self.names.get() + 1);
        format!("bench-{}-{}", std::process::id(), self.names.get())
    }

    /// A stand-in that takes so long for each call.
    pub(crate) fn server(&self, latency: Duration) -> Server {
        self.remembering_server(latency, 0)
    }

    /// A stand-in that remembers its latest calls.
    pub(crate) fn remembering_server(&self, latency: Duration, calls: u64) -> Server {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let latency = format!("{}ms", latency.as_millis());
        let mut command = Command::new(COURIER);
        command.args([
            "stand-in",
            "--valt",
            &address.to_string(),
            "--token",
            "bench",
            "--journal",
            &calls.to_string(),
            "--latency",
            &latency,
        ]);
        let process = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the stand-in does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Server {
            address,
            url: format!("http://{address}"),
            process,
        }
    }

    /// A fresh topic with so many updates on it.
    pub(crate) fn filled(&self, load: &Load) -> String {
        let topic = self.created(load.partitions);
        let mut config = self.client();
        config
            .set("linger.ms", "20")
            .set("queue.buffering.max.messages", "1000000");
        let producer: ThreadedProducer<_> =
            config.create_with_context(DefaultProducerContext).unwrap();
        for number in 0..load.events {
            send(
                &producer,
                &topic,
                load.target,
                1 + number % load.users,
                &format!("Name {number}"),
            );
        }
        producer.flush(PATIENCE).unwrap();
        topic
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.servers)
            .set("partitioner", "murmur2_random");
        config
    }

    fn created(&self, partitions: i32) -> String {
        let topic = self.name();
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let topics = ["", "-outcomes", "-dead"].map(|end| format!("{topic}{end}"));
        let new = topics
            .each_ref()
            .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)));
        for result in self
            .runtime
            .block_on(
                admin.create_topics(&new, &AdminOptions::new().operation_timeout(Some(PATIENCE))),
            )
            .unwrap()
        {
            result.unwrap();
        }
        topic
    }

    /// Sends updates of 10,000 users at that rate for so long. Returns how late their calls
    /// arrived, and how late a plain consumer read them, in milliseconds.
    pub(crate) fn live(&self, server: &Server, rate: u64, seconds: u64) -> (Vec<f64>, Vec<f64>) {
        let topic = self.created(8);
        let service = self.service(&topic, server, &Run::default(), 0);
        service.wait_until_ready();
        let events = rate * seconds;
        let arguments = ["--bare-latency", &self.servers, &topic, &events.to_string()];
        let mut reader = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(reader.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        assert_eq!(lines.next().as_deref(), Some("ready"));
        let mut config = self.client();
        config.set("linger.ms", "0");
        let producer: ThreadedProducer<_> =
            config.create_with_context(DefaultProducerContext).unwrap();
        let began = Instant::now();
        for number in 0..events {
            let due = began + Duration::from_micros(number * 1_000_000 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let now = jiff::Timestamp::now().as_nanosecond().to_string();
            send(&producer, &topic, "valt", 1 + number % 10_000, &now);
        }
        let read = lines.map(|late| late.parse().unwrap()).collect();
        reader.wait().unwrap();
        // All but those of a user that hangs, of whom there are at most so many.
        let most = events - seconds.max(events / 10_000 + 1);
        while service.scrape().sum("outcomes_total", &[]) < most as f64 {
            assert!(began.elapsed() < PATIENCE, "the events are not done");
            std::thread::sleep(Duration::from_millis(50));
        }
        (server.lateness(HANGING), read)
    }

    /// The configuration of an instance.
    fn config(&self, topic: &str, server: &Server, run: &Run, instance: usize) -> PathBuf {
        let (servers, token) = (&self.servers, self.folder.path().join("token"));
        let mut text = format!(
            "kafka = {{ bootstrap_servers = '{servers}', group_id = '{topic}', instance_id = 'i{instance}', topics = {{ updates = '{topic}', \
             outcomes = '{topic}-outcomes', dead_letters = '{topic}-dead' }} }}\nadmin.listen = '127.0.0.1:0'\nlog.format = 'json'\n"
        );
        for number in 0..run.targets {
            let name = if number == 0 {
                "valt".to_owned()
            } else {
                format!("valt{number}")
            };
            let (url, concurrency, merge, waiting) =
                (&server.url, run.concurrency, run.merge, run.max_waiting);
            write!(
                text,
                "[targets.{name}]\napi = 'valt'\nbase_url = '{url}'\naccess_token_file = '{}'\ndelivery = {{ max_concurrency = {concurrency}, max_waiting = {waiting}, merge = {merge} }}\n",
                token.display()
            )
            .unwrap();
        }
        // Nobody's target: for records that this run is to skip.
        write!(
            text,
            "[targets.other]\napi = 'valt'\nbase_url = '{}'\naccess_token_file = '{}'\n",
            server.url,
            token.display()
        )
        .unwrap();
        let path = self.folder.path().join(format!("{topic}-{instance}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn service(&self, topic: &str, server: &Server, run: &Run, instance: usize) -> Process {
        let mut command = Command::new(COURIER);
        command
            .arg("run")
            .arg("--config")
            .arg(self.config(topic, server, run, instance))
            .env("RUST_LOG", run.log);
        for number in 0..run.targets {
            command.args([
                "--target",
                &if number == 0 {
                    "valt".to_owned()
                } else {
                    format!("valt{number}")
                },
            ]);
        }
        Process::service(&mut command)
    }

    /// Runs one instance until all events have their outcome.
    pub(crate) fn run(&self, topic: &str, server: &Server, run: &Run, events: u64) -> Measured {
        self.run_several(topic, server, run, events, 1)
    }

    /// Runs instances from their readiness until all events have their outcome.
    pub(crate) fn run_several(
        &self,
        topic: &str,
        server: &Server,
        run: &Run,
        events: u64,
        instances: usize,
    ) -> Measured {
        let services: Vec<_> = (0..instances)
            .map(|instance| self.service(topic, server, run, instance))
            .collect();
        services.iter().for_each(Process::wait_until_ready);
        let sum = |name: &str, labels: &[&str]| {
            services
                .iter()
                .map(|service| service.scrape().sum(name, labels))
                .sum::<f64>()
        };
        let cpu = || services.iter().map(Process::cpu).sum::<f64>();
        let others = || (server.process.cpu(), broker_cpu());
        let (began, cpu_before, before) = (Instant::now(), cpu(), sum("outcomes_total", &[]));
        let (server_before, broker_before) = others();
        let mut done = before;
        while done < events as f64 {
            assert!(
                began.elapsed() < PATIENCE,
                "{done} of {events} events are done after {PATIENCE:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
            done = sum("outcomes_total", &[]);
        }
        let measured = (events as f64 - before) as u64;
        let delivered = sum("outcomes_total", &["outcome=\"delivered\""])
            + sum("outcomes_total", &["outcome=\"merged\""]);
        assert!(
            (delivered - events as f64).abs() < 0.5,
            "{delivered} of {events} events were delivered"
        );
        let calls = sum("attempts_total", &[]) as u64;
        let peak_memory = services
            .iter()
            .map(Process::peak_memory)
            .fold(0.0, f64::max);
        let (seconds, (server, broker)) = (began.elapsed().as_secs_f64(), others());
        let (server_cpu, broker_cpu) = (server - server_before, broker - broker_before);
        Measured {
            events: measured,
            calls,
            seconds,
            cpu: cpu() - cpu_before,
            peak_memory,
            server_cpu,
            broker_cpu,
        }
    }

    /// Runs an instance until it has read all records, of which none is its own.
    pub(crate) fn skip(&self, topic: &str, server: &Server, records: u64) -> Measured {
        let began = Instant::now();
        let service = self.service(topic, server, &Run::default(), 0);
        while service.scrape().sum("records_consumed_total", &[]) < records as f64 {
            assert!(began.elapsed() < PATIENCE, "the records are not read");
            std::thread::sleep(Duration::from_millis(50));
        }
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), service.cpu());
        Measured {
            events: records,
            calls: 0,
            seconds,
            cpu,
            peak_memory: service.peak_memory(),
            server_cpu: 0.0,
            broker_cpu: 0.0,
        }
    }

    /// The resident memory of an instance, in MiB, once that is so, for each of the conditions in
    /// turn; and the most it ever had.
    pub(crate) fn memory(
        &self,
        topic: &str,
        server: &Server,
        run: &Run,
        until: &[&dyn Fn(&Scrape) -> bool],
    ) -> (Vec<f64>, f64) {
        let service = self.service(topic, server, run, 0);
        service.wait_until_ready();
        let began = Instant::now();
        let seen = until.iter().map(|until| {
            while !until(&service.scrape()) {
                assert!(
                    began.elapsed() < PATIENCE,
                    "what is waited for does not come"
                );
                std::thread::sleep(Duration::from_millis(50));
            }
            // What has just come so far may still be allocating.
            std::thread::sleep(Duration::from_secs(1));
            service.memory()
        });
        let seen = seen.collect();
        (seen, service.peak_memory())
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
        (
            ready.as_secs_f64() * 1000.0,
            began.elapsed().as_secs_f64() * 1000.0,
        )
    }

    /// This program again, in another role.
    fn bare(&self, role: &str, arguments: &[&str], events: u64) -> Measured {
        let output = Command::new(std::env::current_exe().unwrap())
            .arg(role)
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{role} failed");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut figures = text
            .split_whitespace()
            .map(|figure| figure.parse::<f64>().unwrap());
        let [seconds, cpu, peak_memory] = std::array::from_fn(|_| figures.next().unwrap());
        Measured {
            events,
            calls: events,
            seconds,
            cpu,
            peak_memory,
            server_cpu: 0.0,
            broker_cpu: 0.0,
        }
    }

    pub(crate) fn bare_loop(&self, server: &Server, calls: u64, concurrency: usize) -> Measured {
        self.bare(
            "--bare-loop",
            &[&server.url, &calls.to_string(), &concurrency.to_string()],
            calls,
        )
    }

    pub(crate) fn bare_consumer(&self, topic: &str, records: u64) -> Measured {
        self.bare(
            "--bare-consumer",
            &[&self.servers, topic, &records.to_string()],
            records,
        )
    }
}
