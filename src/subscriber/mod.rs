//! A subscriber: the one loop that owns an engine. Inputs, finished attempts, transactions and
//! timers come in; it carries out what the engine decides. It waits for nothing but them, and it
//! needs no lock.

mod beginning;
mod calls;
mod configured;
mod end;
pub mod ending;
pub mod guarded;
mod lane_key;
mod paused;
mod report;
pub mod settle;
mod settling;
pub mod status;
pub mod stop;
mod threads;
pub mod update;

use std::collections::HashMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tracing::error;

use self::calls::InFlight;
use self::configured::{barred, guard, is_paused, settings};
pub use self::end::Ended;
use self::paused::Paused;
use self::report::{Ends, Reminders, Shown, Stalls};
use self::threads::Threads;
use crate::config::{self, Config, Kafka, Target, UNCLAIMED};
use crate::http::attempt::{Attempt, Caller};
use crate::http::client::Http;
use crate::kafka::{
    ClientFailure, Consumer, ConsumerShared, FetchRequest, Fetched, Fetcher, Input, Lease,
    Membership, Offsets, Order, Ownership, Publisher, Read, Settled, Told,
};
use crate::model::route::Router;
use crate::subscriber::settle::Settler;
use crate::subscriber::status::Board;
use crate::subscriber::stop::Stop;
use crate::subscriber::update::Update;
use crate::telemetry::metrics::TargetMetrics;
use crate::telemetry::traces::Tracer;
use engine::{Action, Batch, Engine, Refetched, Ticket};

/// Bytes of records held in memory, for each target, at the most.
const MAX_BYTES: usize = 64 << 20;
/// How often gauges, status and credentials are looked at.
const TICK: Duration = Duration::from_millis(250);

/// One target's loop.
pub struct Subscriber {
    name: String,
    topic: String,
    kafka: Kafka,
    engine: Engine<Update, Attempt>,
    consumer: Consumer<Update>,
    inputs: Receiver<Input<Update>>,
    /// Only a target puts records out of memory.
    fetcher: Option<Fetcher>,
    fetched: UnboundedReceiver<Fetched<Update>>,
    publisher: Publisher,
    settled: UnboundedReceiver<Settled>,
    settler: Arc<Settler>,
    caller: Option<Arc<Caller>>,
    finished: UnboundedReceiver<(Ticket, Option<Attempt>)>,
    finish: UnboundedSender<(Ticket, Option<Attempt>)>,
    calls: HashMap<Ticket, InFlight>,
    pause: Paused,
    guard: Option<config::Guard>,
    guarded: guarded::GuardNotice,
    lease: Arc<Lease>,
    ownership: Arc<Ownership>,
    membership: Arc<Membership>,
    releasing: HashMap<i32, SyncSender<i32>>,
    ends: Ends,
    /// The update topic does not exist.
    topic_missing: bool,
    /// Where partitions end, as asked for.
    told: watch::Receiver<Told>,
    /// What is being committed.
    settling: Option<Arc<Batch<Update, Attempt>>>,
    metrics: TargetMetrics,
    tracer: Option<Tracer>,
    board: Board,
    last_error: Option<String>,
    odd: Reminders,
    stalls: Stalls,
    shown: Shown,
}

/// What a subscriber shares with the service, and with those of its name before and after it.
#[derive(Clone)]
pub struct Context {
    /// Whose an event is.
    pub router: Arc<Router>,
    /// Labelled with its name.
    pub metrics: TargetMetrics,
    /// `None`: no spans.
    pub tracer: Option<Tracer>,
    /// Where partitions end, as asked for.
    pub told: watch::Receiver<Told>,
    /// For `/status` and the health checks.
    pub board: Board,
    /// Handed on from client to client.
    pub offsets: Arc<Offsets>,
    /// The one before it was put out of its group then, by a late request of its own.
    pub outrun: Option<Instant>,
}

impl Subscriber {
    /// Joins the group of `target`, or of the unclaimed records where there is none.
    ///
    /// # Errors
    /// If a client or a thread cannot be made, or a TLS file cannot be used.
    pub fn start(
        config: &Config,
        target: Option<&Target>,
        context: Context,
    ) -> anyhow::Result<Self> {
        let Context {
            router,
            metrics,
            tracer,
            told,
            board,
            offsets,
            outrun,
        } = context;
        let name = target.map_or(UNCLAIMED, |target| &target.name).to_owned();
        let caller = target
            .map(|target| caller(target, &metrics))
            .transpose()?
            .map(Arc::new);
        let lease = Arc::new(Lease::new(config.kafka.session_timeout));
        let ownership = Arc::new(Ownership::default());
        let membership = Arc::new(Membership::new(config.shutdown.drain_timeout, outrun));
        let shared = ConsumerShared {
            lease: lease.clone(),
            ownership: ownership.clone(),
            membership: membership.clone(),
            offsets,
            metrics: metrics.clone(),
        };
        let threads = Threads::spawn(config, target, &router, shared)?;
        let (finish, finished) = unbounded_channel();
        let mut engine = Engine::new(settings(target), fastrand::u64(..), Instant::now());
        engine.bar(barred(target));
        engine.guard(guard(target));
        engine.clock(Instant::now(), Timestamp::now().as_millisecond());
        Ok(Subscriber {
            topic: config.kafka.topics.updates.clone(),
            kafka: config.kafka.clone(),
            engine,
            consumer: threads.consumer,
            inputs: threads.inputs,
            fetcher: threads.fetcher,
            fetched: threads.fetched,
            publisher: threads.publisher,
            settled: threads.settled,
            settler: Arc::new(Settler {
                group_id: config.kafka.group_id.clone(),
                subscriber: name.clone(),
                topics: config.kafka.topics.clone(),
                topic_id: OnceLock::new(),
            }),
            caller,
            finished,
            finish,
            calls: HashMap::new(),
            pause: Paused::new(is_paused(target), Instant::now()),
            guard: target.and_then(|target| target.guard.clone()),
            guarded: guarded::GuardNotice::default(),
            lease,
            ownership,
            membership,
            releasing: HashMap::new(),
            ends: Ends::default(),
            topic_missing: false,
            told,
            settling: None,
            metrics,
            tracer,
            board,
            last_error: None,
            odd: Reminders::default(),
            stalls: Stalls::default(),
            shown: Shown::default(),
            name,
        })
    }

    /// Takes up the settings of each of the `configs` that come. Works until `stop` says so and
    /// everything in flight is done, or until the client cannot go on.
    pub async fn run(mut self, mut configs: watch::Receiver<Arc<Config>>, mut stop: Stop) -> Ended {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stopping = false;
        let ended = loop {
            let now = Instant::now();
            let wake_at = self.engine.wake_at(now).unwrap_or(now + TICK);
            tokio::select! {
                Some(input) = self.inputs.recv() => {
                    if let Some(ended) = self.take(input) {
                        break ended;
                    }
                }
                Some((ticket, attempt)) = self.finished.recv() => {
                    self.finished(ticket, attempt);
                    while let Ok((ticket, attempt)) = self.finished.try_recv() {
                        self.finished(ticket, attempt);
                    }
                }
                fetched = self.fetched.recv(), if self.fetcher.is_some() => match fetched {
                    Some(fetched) => self.refetched(fetched),
                    // Without it what was put out of memory would never come back.
                    None => break Ended::Broken("the thread that reads records again has ended".to_owned()),
                },
                settled = self.settled.recv() => match settled {
                    Some(settled) => self.settled(settled),
                    // Without it nothing would ever be settled again, and nobody would say so.
                    None => break Ended::Broken("its publisher's thread has ended".to_owned()),
                },
                () = tokio::time::sleep_until(wake_at.into()) => {}
                _ = tick.tick() => {
                    self.look_around();
                    // Everything that it said before it ended comes first.
                    if self.consumer.has_ended() && self.inputs.is_empty() {
                        break Ended::Broken("its polling thread has ended".to_owned());
                    }
                }
                // Where nobody changes the configuration, nothing comes.
                Ok(()) = configs.changed() => self.take_up(&configs.borrow_and_update().clone()),
                () = stop.asked(), if !stopping => {
                    stopping = true;
                    self.consumer.order(Order::Leave);
                }
            }
            self.step();
        };
        self.end(ended).await
    }

    fn take_up(&mut self, config: &Config) {
        let target = config
            .targets
            .iter()
            .find(|target| target.name == self.name);
        let now = Instant::now();
        self.engine.settings(settings(target), now);
        self.pause.set(is_paused(target), now);
        self.engine.bar(barred(target));
        let told = target.and_then(|target| target.guard.clone());
        if told != self.guard {
            self.engine.guard(guard(target));
            self.guard = told;
        }
    }

    fn take(&mut self, input: Input<Update>) -> Option<Ended> {
        let now = Instant::now();
        match input {
            Input::Read(batch) => batch.into_iter().for_each(|read| self.read(read)),
            Input::Assigned {
                topic,
                count,
                commits,
                unknown,
            } => {
                if let Some(count) = count {
                    self.engine.topic_has(count, now);
                }
                self.assigned(topic, commits, now);
                self.look_back(unknown);
            }
            Input::Cut(partition, end) => self.cut_back(partition, end, now),
            Input::Missing(missing) => self.topic_missing = missing,
            Input::Remade => self.begin_anew(),
            Input::Revoked {
                partitions,
                lost,
                give_up_at,
                released,
            } => {
                for partition in partitions {
                    if lost {
                        self.engine.lost(partition, now);
                        self.ownership.gone(partition);
                        // The polling thread waits for this, and has room for every partition.
                        let _ = released.try_send(partition);
                    } else {
                        self.engine.revoked(partition, give_up_at);
                        self.releasing.insert(partition, released.clone());
                    }
                }
            }
            Input::Ends(ends) => {
                for end in ends {
                    if end.reached {
                        self.engine.passed(end.partition, end.end);
                    }
                    self.ends.fetched(end.partition, end.written);
                }
            }
            Input::Failed(ClientFailure::InstanceTaken) => return Some(Ended::InstanceTaken),
            Input::Failed(ClientFailure::Outrun) => return Some(Ended::Outrun),
            Input::Failed(ClientFailure::Other(why)) => return Some(Ended::Broken(why)),
            Input::Left => return Some(Ended::Left),
        }
        None
    }

    fn read(&mut self, read: Read<Update>) {
        match read {
            Read::Passed {
                partition,
                position,
                records,
            } => {
                self.metrics.consumed.inc_by(records);
                self.engine.passed(partition, position);
            }
            Read::Claimed(update) => {
                self.metrics.consumed.inc();
                self.metrics.claimed.inc();
                let (partition, offset) =
                    (update.record.place.partition, update.record.place.offset);
                let (size, work) = (update.size(), update.work);
                let update = Arc::from(update);
                if self
                    .engine
                    .arrived(partition, offset, size, Arc::clone(&update), work)
                {
                    self.trace(&update);
                }
            }
        }
    }

    /// Takes what was put out of memory and read again.
    fn refetched(&mut self, fetched: Fetched<Update>) {
        let Fetched {
            partition,
            epoch,
            found,
        } = fetched;
        let refetched = |update: Box<Update>| Refetched {
            size: update.size(),
            work: update.work,
            update: Arc::from(update),
        };
        let found = found
            .into_iter()
            .map(|(offset, update)| (offset, update.map(refetched)))
            .collect();
        for update in self.engine.fetched(partition, epoch, found) {
            self.trace(&update);
        }
    }

    fn trace(&self, update: &Arc<Update>) {
        if let Some(tracer) = &self.tracer {
            let group = format!("{}.{}", self.settler.group_id, self.name);
            let span = tracer.arrived(update.arrived(&group, &self.name));
            // It is set here only.
            let _ = update.span.set(Box::new(span));
        }
    }

    fn step(&mut self) {
        // None: no lease any more, or not yet.
        let until = self.pause.call_until(self.lease.until(), Instant::now());
        self.engine.lease(until);
        for action in self.engine.step(Instant::now()) {
            match action {
                Action::Start {
                    ticket,
                    update,
                    merged,
                    timeout,
                } => self.start_call(ticket, update, &merged, timeout),
                Action::Cancel(ticket) => {
                    if let Some(call) = self.calls.remove(&ticket) {
                        call.task.abort();
                    }
                }
                Action::Settle(batch) => self.settle(batch),
                Action::Pause => self.consumer.order(Order::Pause),
                Action::Resume => self.consumer.order(Order::Resume),
                Action::Fetch {
                    partition,
                    epoch,
                    offsets,
                } => {
                    if let Some(fetcher) = &self.fetcher {
                        fetcher.fetch(FetchRequest {
                            partition,
                            epoch,
                            offsets,
                        });
                    }
                }
                Action::Released(partition) => {
                    self.ownership.gone(partition);
                    if let Some(released) = self.releasing.remove(&partition) {
                        // If nobody waits any more, the partition went without it.
                        let _ = released.try_send(partition);
                    }
                }
                Action::OrderViolation => {
                    self.metrics.order_violations.inc();
                    error!(
                        target = self.name,
                        "a call breaks the order of a user's updates: please report this, it is a fault of this service"
                    );
                }
            }
        }
        self.show_state();
    }
}

/// Whether calls to the target can be made with its certificates as they are now.
///
/// # Errors
/// Why not.
pub fn try_out_tls(target: &Target) -> anyhow::Result<()> {
    Http::new(
        &target.base_url,
        &target.tls,
        target.proxy.as_ref(),
        target.delivery.request_timeout,
    )
    .map(drop)
}

fn caller(target: &Target, metrics: &TargetMetrics) -> anyhow::Result<Caller> {
    let metrics = metrics.clone();
    Caller::new(
        target.api,
        target.base_url.clone(),
        target.credentials.clone(),
        &target.tls,
        target.proxy.as_ref(),
        target.delivery.request_timeout,
        Box::new(move |result| metrics.login(result)),
    )
}

#[cfg(test)]
mod tests;
