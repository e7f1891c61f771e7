//! A subscriber: the one loop that owns an engine. Inputs, finished attempts, transactions and timers come in; it carries out what the engine
//! decides. It waits for nothing but them, and it needs no lock.

mod beginning;
mod end;
mod report;
mod settling;

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{debug, error, warn};

pub use self::end::Ended;
use self::report::{Ends, Reminders, Shown, Stalls, TimeOfDay};
use crate::api::http::Http;
use crate::attempt::{Attempt, Caller, Trace};
use crate::config::{Config, Kafka, Target, UNCLAIMED};
use crate::engine::{Action, Batch, Engine, Refetched, Settings, State, Ticket};
use crate::event::TraceContext;
use crate::kafka::{
    BATCHES, Consumer, Failure, Fetched, Fetcher, Input, Lease, Membership, Offsets, Order, Ownership, Publisher, Read, Request, Settled,
    Shared, Told,
};
use crate::metrics::TargetMetrics;
use crate::route::Router;
use crate::settle::{Facts, Settler};
use crate::status::Board;
use crate::stop::Stop;
use crate::traces::Tracer;
use crate::update::{Claims, Update};
use crate::verdict::{Finding, Verdict};

/// Bytes of records held in memory, for each target, at the most.
const MAX_BYTES: usize = 64 << 20;
/// How often gauges, status and credentials are looked at.
const TICK: Duration = Duration::from_millis(250);

/// A call in flight.
struct InFlight {
    update: Arc<Update>,
    task: AbortHandle,
}

/// One target's loop.
pub struct Subscriber {
    name: String,
    topic: String,
    kafka: Kafka,
    engine: Engine<Update, Facts>,
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
    settling: Option<Arc<Batch<Update, Facts>>>,
    metrics: TargetMetrics,
    tracer: Option<Tracer>,
    board: Board,
    state: (&'static str, &'static str),
    /// The cause for which the log says that the target holds.
    told_cause: Option<&'static str>,
    since: TimeOfDay,
    next_probe_at: TimeOfDay,
    last_error: Option<String>,
    odd: Reminders,
    beats: u64,
    stalls: Stalls,
    shown: Shown,
}

impl Subscriber {
    /// Joins the group of `target`, or of the unclaimed records where there is none.
    ///
    /// # Errors
    /// If a client or a thread cannot be made, or a TLS file cannot be used.
    pub fn start(
        config: &Config,
        target: Option<&Target>,
        router: Arc<Router>,
        metrics: TargetMetrics,
        tracer: Option<Tracer>,
        told: watch::Receiver<Told>,
        board: Board,
        offsets: Arc<Offsets>,
    ) -> anyhow::Result<Self> {
        let name = target.map_or(UNCLAIMED, |target| &target.name).to_owned();
        let caller = target.map(|target| caller(target, &metrics)).transpose()?.map(Arc::new);
        let group_id = config.kafka.group_id.clone();
        let (lease, ownership) = (Arc::new(Lease::new(config.kafka.session_timeout)), Arc::new(Ownership::default()));
        let (sender, inputs) = channel(BATCHES);
        let claims = || Claims::new(group_id.clone(), name.clone(), target.map(|target| target.api), router.clone());
        let drain_timeout = config.shutdown.drain_timeout;
        let membership = Arc::new(Membership::new(drain_timeout));
        let shared = Shared {
            lease: lease.clone(),
            ownership: ownership.clone(),
            membership: membership.clone(),
            offsets,
            metrics: metrics.clone(),
        };
        let consumer = Consumer::spawn(&config.kafka, &name, drain_timeout, shared, sender, claims())?;
        let (fetched_sender, fetched) = unbounded_channel();
        let fetcher = target.map(|_| Fetcher::spawn(&config.kafka, &name, claims(), fetched_sender)).transpose()?;
        let (settled_sender, settled) = unbounded_channel();
        let publisher = Publisher::spawn(&config.kafka, &name, consumer.client(), ownership.clone(), metrics.clone(), settled_sender)?;
        let (finish, finished) = unbounded_channel();
        Ok(Subscriber {
            topic: config.kafka.topics.updates.clone(),
            kafka: config.kafka.clone(),
            engine: Engine::new(settings(target), fastrand::u64(..), Instant::now()),
            consumer,
            inputs,
            fetcher,
            fetched,
            publisher,
            settled,
            settler: Arc::new(Settler {
                group_id,
                subscriber: name.clone(),
                topics: config.kafka.topics.clone(),
                topic_id: OnceLock::new(),
            }),
            caller,
            finished,
            finish,
            calls: HashMap::new(),
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
            state: ("flowing", "none"),
            told_cause: None,
            since: TimeOfDay::default(),
            next_probe_at: TimeOfDay::default(),
            last_error: None,
            odd: Reminders::default(),
            beats: 0,
            stalls: Stalls::default(),
            shown: Shown::default(),
            name,
        })
    }

    /// Takes up the settings of each of the `configs` that come. Works until `stop` says so and everything in flight is done, or until the client cannot go on.
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
        let target = config.targets.iter().find(|target| target.name == self.name);
        self.engine.settings(settings(target), Instant::now());
    }

    fn take(&mut self, input: Input<Update>) -> Option<Ended> {
        let now = Instant::now();
        match input {
            Input::Read(batch) => batch.into_iter().for_each(|read| self.read(read)),
            Input::Assigned { topic, commits, unknown } => {
                self.assigned(topic, commits, now);
                self.look_back(unknown);
            }
            Input::Cut(partition, end) => self.cut_back(partition, end, now),
            Input::Missing(missing) => self.topic_missing = missing,
            Input::Remade => self.begin_anew(),
            Input::Revoked { partitions, lost, give_up_at, released } => {
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
            Input::Failed(Failure::InstanceTaken) => return Some(Ended::InstanceTaken),
            Input::Failed(Failure::Other(why)) => return Some(Ended::Broken(why)),
            Input::Left => return Some(Ended::Left),
        }
        None
    }

    fn read(&mut self, read: Read<Update>) {
        match read {
            Read::Passed { partition, position, records } => {
                self.metrics.consumed.inc_by(records);
                self.engine.passed(partition, position);
            }
            Read::Claimed(update) => {
                self.metrics.consumed.inc();
                self.metrics.claimed.inc();
                let (partition, offset) = (update.record.place.partition, update.record.place.offset);
                let (size, work) = (update.size(), update.work);
                let update = Arc::from(update);
                if self.engine.arrived(partition, offset, size, Arc::clone(&update), work) {
                    self.trace(&update);
                }
            }
        }
    }

    /// Takes what was put out of memory and read again.
    fn refetched(&mut self, fetched: Fetched<Update>) {
        let Fetched { partition, epoch, found } = fetched;
        let refetched = |update: Box<Update>| Refetched { size: update.size(), work: update.work, update: Arc::from(update) };
        let found = found.into_iter().map(|(offset, update)| (offset, update.map(refetched))).collect();
        for update in self.engine.fetched(partition, epoch, found) {
            self.trace(&update);
        }
    }

    fn trace(&self, update: &Arc<Update>) {
        if let Some(tracer) = &self.tracer {
            let span = tracer.arrived(&self.settler.group_id, &self.name, update);
            // It is set here only.
            let _ = update.span.set(Box::new(span));
        }
    }

    fn step(&mut self) {
        // None: no lease any more, or not yet.
        self.engine.lease(self.lease.until().unwrap_or_else(Instant::now));
        for action in self.engine.step(Instant::now()) {
            match action {
                Action::Start { ticket, update, merged, timeout } => self.start_call(ticket, update, &merged, timeout),
                Action::Cancel(ticket) => {
                    if let Some(call) = self.calls.remove(&ticket) {
                        call.task.abort();
                    }
                }
                Action::Settle(batch) => self.settle(batch),
                Action::Pause => self.consumer.order(Order::Pause),
                Action::Resume => self.consumer.order(Order::Resume),
                Action::Fetch { partition, epoch, offsets } => {
                    if let Some(fetcher) = &self.fetcher {
                        fetcher.fetch(Request { partition, epoch, offsets });
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

    fn start_call(&mut self, ticket: Ticket, update: Arc<Update>, merged: &[Arc<Update>], timeout: Duration) {
        let Some(caller) = self.caller.clone() else { return };
        if self.engine.state() != State::Flowing {
            // Only probes are made then.
            caller.start_anew();
        }
        let (lease, place) = (self.lease.clone(), update.record.place.clone());
        let now = Timestamp::now();
        for update in merged.iter().chain([&update]) {
            let _ = update.first_attempt_at.set(now);
        }
        if let Some(span) = update.span.get() {
            span.carries(merged.iter().filter_map(|merged| merged.span.get().map(|span| &**span)));
        }
        let together = if merged.is_empty() { None } else { update.call_with(merged) };
        let finish = Finish { ticket, sender: self.finish.clone(), attempt: None };
        let ids = update.trace.as_ref().map(TraceContext::ids);
        debug!(target = self.name, record = %place, trace_id = ids.map(|(trace, _)| trace), merged = merged.len(), "calling");
        let called = update.clone();
        let call = tokio::spawn(async move {
            let mut finish = finish;
            if let Some(call) = together.as_ref().or(update.call.as_ref()) {
                let left = || lease.until().map(|until| until.saturating_duration_since(Instant::now()));
                let leased = || left().filter(|left| *left >= timeout / 2);
                let trace = update.span.get().map_or(Trace::Passed(update.trace.as_ref()), |span| Trace::Span(span));
                finish.attempt = Some(caller.attempt(call, trace, timeout, leased).await);
            }
        });
        self.calls.insert(ticket, InFlight { update: called, task: call.abort_handle() });
    }

    fn finished(&mut self, ticket: Ticket, attempt: Option<Attempt>) {
        let Some(InFlight { update, .. }) = self.calls.remove(&ticket) else { return };
        let finished_at = Timestamp::now();
        let Some(attempt) = attempt else {
            // Its task panicked, which the log tells; the update is tried again.
            let facts = Facts { http_status: None, error: None, finished_at };
            let finding = Finding { verdict: Verdict::Retry { unreachable: false }, calls: 1, of_all: false };
            self.engine.finished(ticket, finding, facts, Instant::now());
            return;
        };
        for call in &attempt.calls {
            self.metrics.attempted(call.verdict, &call.status.to_string(), call.duration);
        }
        if attempt.ambiguous {
            self.metrics.ambiguous();
        }
        if attempt.other_user {
            self.metrics.other_user();
            warn!(target = self.name, "an answer confirmed an update but named another user");
        }
        if let Some(error) = &attempt.error {
            self.last_error = Some(report::error_of(&update, &attempt, error));
        }
        let http_status = attempt.http_status();
        let finding = attempt.finding();
        let facts = Facts { http_status, error: attempt.error, finished_at };
        let counted = self.engine.finished(ticket, finding, facts, Instant::now());
        if let Some(failures) = counted {
            self.show_odd(&update, failures);
        }
    }
}

/// Tells the loop how a call ended, also where its task panicked.
struct Finish {
    ticket: Ticket,
    sender: UnboundedSender<(Ticket, Option<Attempt>)>,
    attempt: Option<Attempt>,
}

impl Drop for Finish {
    fn drop(&mut self) {
        // The loop is gone only when nobody waits for the answer.
        let _ = self.sender.send((self.ticket, self.attempt.take()));
    }
}

/// Whether calls to the target can be made with its certificates as they are now.
///
/// # Errors
/// Why not.
pub fn try_out_tls(target: &Target) -> anyhow::Result<()> {
    Http::new(&target.base_url, &target.tls, target.delivery.request_timeout).map(drop)
}

fn caller(target: &Target, metrics: &TargetMetrics) -> anyhow::Result<Caller> {
    let metrics = metrics.clone();
    Caller::new(
        target.api,
        target.base_url.clone(),
        target.credentials.clone(),
        &target.tls,
        target.delivery.request_timeout,
        Box::new(move |result| metrics.login(result)),
    )
}

fn settings(target: Option<&Target>) -> Settings {
    let (delivery, retry) = target.map(|target| (target.delivery.clone(), target.retry.clone())).unwrap_or_default();
    Settings {
        max_concurrency: delivery.max_concurrency,
        rate_limit: delivery.rate_limit.map_or(0, std::num::NonZeroU32::get),
        max_waiting: delivery.max_waiting,
        max_bytes: MAX_BYTES,
        request_timeout: delivery.request_timeout,
        initial_backoff: retry.initial_backoff,
        max_backoff: retry.max_backoff,
        max_attempts: retry.max_attempts,
        merge: delivery.merge,
    }
}

/// The names of all subscribers that this process runs.
pub fn names_of(config: &Config, only: &HashSet<String>) -> Vec<String> {
    let all = config.targets.iter().map(|target| target.name.as_str()).chain([UNCLAIMED]);
    all.filter(|name| only.is_empty() || only.contains(*name)).map(str::to_owned).collect()
}
