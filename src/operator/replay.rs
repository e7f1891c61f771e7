//! The replay: chosen dead letters go back to the update topic, and what became of each is recorded
//! in the same transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::error;

use crate::kafka::reader::{Go, Sight, Span, Spot, Topic};
use crate::kafka::{Kind as MessageKind, Message, Refusal, headers};
use crate::model::event::{self, TraceContext};
use crate::model::outcome::{self, Facts, Kind};
use crate::model::record::{Place, Record};
use crate::operator::choice::{Mended, originals};
use crate::operator::desk::Desk;
use crate::operator::history::{Chosen, History, UpTo};
use crate::operator::judge::Lane;
use crate::operator::letter::{Letter, headers_to_send, replay_of};
use crate::operator::plan::{Action, Step};
use crate::operator::sender::{Sender, Trouble};
use crate::operator::{Failure, Watch, changes};

/// Events in one transaction at most.
const BATCH: usize = 100;
/// How often a batch is planned anew because of updates that came in between, or a transaction that
/// failed.
const TRIES: u32 = 30;
/// The pause before that.
const PAUSE: Duration = Duration::from_millis(50);
/// An outcome can be changed in so many steps.
const MOST_STEPS: usize = 5;

/// What a replay has done.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many letters ended in which way.
    pub counts: BTreeMap<Action, usize>,
    /// Where refused letters stand, and why: the first of them.
    pub refused: Refused,
    /// Letters that somebody else replayed meanwhile.
    pub settled_elsewhere: usize,
    /// It was stopped before it was through.
    pub stopped: bool,
}

/// Settings of a replay.
#[derive(Clone, Copy)]
pub struct Pace<'a> {
    /// Sends what is doubtful too.
    pub force: bool,
    /// Events a second; `None` is as fast as it goes.
    pub rate: Option<u32>,
    /// Asked before each batch: whether to stop.
    pub stop: &'a dyn Fn() -> bool,
}

/// Replays the letters. What `summary` says is committed, also where this fails.
///
/// # Errors
/// If the broker does not answer, or another replay takes over.
pub fn run(
    desk: &Desk,
    history: &mut History<'_>,
    letters: &[Chosen],
    mended: &Mended,
    pace: Pace<'_>,
    watch: &mut dyn Watch,
    summary: &mut Summary,
) -> Result<(), Failure> {
    // In this order: from here on nobody else replays, so what the outcomes say now is all there
    // is.
    let sender = Sender::take_over(&desk.kafka)?;
    history.catch_up(UpTo::AllWritten, watch)?;
    let written = Topic::open(&desk.kafka, &desk.updates.name, Sight::Written)?;
    let refusals = Refusals::default();
    let mut replay = Replay {
        desk,
        history,
        written,
        sender,
        mended,
        force: pace.force,
        refusals,
        summary,
    };
    let began = Instant::now();
    let size = pace
        .rate
        .map_or(BATCH, |rate| (rate as usize / 4).clamp(1, BATCH));
    watch.begin("replaying", letters.len() as u64);
    for (number, batch) in letters.chunks(size).enumerate() {
        if let Some(rate) = pace.rate {
            let due = began + Duration::from_secs_f64((number * size) as f64 / f64::from(rate));
            while Instant::now() < due && !(pace.stop)() {
                std::thread::sleep(PAUSE.min(due.saturating_duration_since(Instant::now())));
            }
        }
        if (pace.stop)() {
            replay.summary.stopped = true;
            break;
        }
        replay.batch(batch)?;
        watch.advance((number * size + batch.len()) as u64);
    }
    watch.end();
    Ok(())
}

struct Replay<'a, 'b> {
    desk: &'a Desk,
    history: &'a mut History<'b>,
    written: Topic,
    sender: Sender,
    mended: &'a Mended,
    force: bool,
    refusals: Refusals,
    summary: &'a mut Summary,
}

/// What topics refused of this replay.
#[derive(Default)]
struct Refusals {
    /// Letters that cannot be sent, and why.
    letters: HashMap<Spot, String>,
    /// What must be changed of the outcomes of letters, in this order.
    outcomes: HashMap<Spot, Vec<Refusal>>,
}

/// Where refused letters stand, and why.
type Refused = Vec<(Spot, String)>;

/// One letter of a batch, ready to be settled.
struct Item<'a> {
    one: &'a Chosen,
    letter: Letter,
    content: Record,
    step: Step,
    /// What is sent; none where it is superseded.
    value: Option<Vec<u8>>,
}

impl Item<'_> {
    fn is_sent(&self) -> bool {
        self.step.action != Action::Supersede
    }
}

impl Replay<'_, '_> {
    fn batch(&mut self, batch: &[Chosen]) -> Result<(), Failure> {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            if !self.part(part)? {
                // Halves, until the one that is too large stands alone.
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
        Ok(())
    }

    /// Replays a part of a batch. False: it is too much for one transaction.
    fn part(&mut self, part: &[Chosen]) -> Result<bool, Failure> {
        let mut tries = 0;
        while tries < TRIES {
            self.history.catch_up(UpTo::Now, &mut ())?;
            let (items, refused) = self.plan(part)?;
            match self.transaction(&items) {
                Ok(()) => {
                    self.record(part, &items, refused);
                    return Ok(true);
                }
                Err(Trouble::Over(failure)) => return Err(failure),
                Err(Trouble::Refused(kind, guilty)) => self.refused(&items, kind, &guilty),
                Err(Trouble::TooLarge) if part.len() > 1 => return Ok(false),
                Err(Trouble::TooLarge) => {
                    let words =
                        "it does not get through within the 5 s of a transaction, though alone";
                    self.refusals
                        .letters
                        .extend(part.iter().map(|one| (one.spot, words.to_owned())));
                }
                Err(Trouble::Again) => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
            }
        }
        Err(Failure::Unreachable(
            "updates of the same users keep coming in transactions that stay open, or Kafka keeps refusing: run the command again later, it goes \
             on where this one ended"
                .to_owned(),
        ))
    }

    /// The next try goes without these letters, or with less in their outcomes.
    fn refused(&mut self, items: &[Item<'_>], kind: MessageKind, guilty: &[(usize, Refusal)]) {
        let sent: Vec<_> = items.iter().filter(|item| item.is_sent()).collect();
        for (number, refusal) in guilty {
            let item = if kind == MessageKind::Update {
                sent.get(*number).copied()
            } else {
                items.get(*number)
            };
            let Some(item) = item else { continue };
            let spot = item.one.spot;
            let steps = self.refusals.outcomes.entry(spot).or_default();
            if kind == MessageKind::Outcome && steps.len() < MOST_STEPS {
                steps.push(*refusal);
                continue;
            }
            let words = match (kind, refusal) {
                (MessageKind::Update, Refusal::Size) => {
                    "it is larger than the topic takes: raise max.message.bytes there"
                }
                (MessageKind::Update, Refusal::Time) => {
                    "the update topic refuses the present as its time: compare the clocks of this machine and the brokers"
                }
                (MessageKind::Update, Refusal::Form) => {
                    "the update topic refuses it: a compacted one takes none without a key, and a broker may check what it likes"
                }
                _ => {
                    "the outcome topic does not take what would record it, however it is shortened: look at its max.message.bytes and cleanup.policy"
                }
            };
            self.refusals.letters.insert(spot, words.to_owned());
        }
    }

    fn record(&mut self, batch: &[Chosen], items: &[Item<'_>], refused: Refused) {
        for item in items {
            *self.summary.counts.entry(item.step.action).or_default() += 1;
        }
        *self.summary.counts.entry(Action::Refuse).or_default() += refused.len();
        self.summary.settled_elsewhere += batch.len() - items.len() - refused.len();
        let room = BATCH.saturating_sub(self.summary.refused.len());
        self.summary.refused.extend(refused.into_iter().take(room));
    }

    /// What is to be done with each as things are now; those that are not acted on apart.
    fn plan<'c>(&self, batch: &'c [Chosen]) -> Result<(Vec<Item<'c>>, Refused), Failure> {
        let (mut steps, mut refused) = (Vec::new(), Vec::new());
        for one in batch {
            // Settled since it was chosen: somebody else did it.
            if self.history.is_settled(one.spot) && !one.settled_before {
                continue;
            }
            let step = self.history.step(one, self.force);
            if let Some(why) = self.refusals.letters.get(&one.spot) {
                refused.push((one.spot, why.clone()));
            } else if step.action == Action::Refuse {
                refused.push((one.spot, step.why.unwrap_or_default()));
            } else {
                steps.push((one, step));
            }
        }
        let mut records = self
            .desk
            .letters
            .fetch(steps.iter().map(|(one, _)| one.spot))?;
        let letters: Vec<_> = steps
            .into_iter()
            .map(|(one, step)| (one, step, records.remove(&one.spot).and_then(Letter::read)))
            .collect();
        let shortened = letters
            .iter()
            .filter_map(|(.., letter)| letter.as_ref())
            .filter(|letter| letter.is_shortened());
        let mut originals = originals(self.desk, shortened)?;
        let mut items = Vec::with_capacity(letters.len());
        for (one, step, letter) in letters {
            let content = letter
                .as_ref()
                .and_then(|letter| match self.mended.get(&one.spot) {
                    Some(mended) => Some(mended.clone()),
                    None if letter.is_shortened() => originals.remove(&one.spot),
                    None => Some(letter.record.clone()),
                });
            let (Some(letter), Some(content)) = (letter, content) else {
                refused.push((one.spot, "it is gone from its topic".to_owned()));
                continue;
            };
            let api = self.desk.judge.api(&letter.facts.target);
            let trimmed = || changes::without(api?, &content, &step.left_out);
            let value = match step.action {
                Action::Trim => match trimmed() {
                    Some(value) => Some(value),
                    None => {
                        refused.push((
                            one.spot,
                            "what is overwritten cannot be taken out of it".to_owned(),
                        ));
                        continue;
                    }
                },
                _ => content.value.clone(),
            };
            items.push(Item {
                one,
                letter,
                content,
                step,
                value,
            });
        }
        Ok((items, refused))
    }

    fn transaction(&mut self, items: &[Item<'_>]) -> Result<(), Trouble> {
        if items.is_empty() {
            return Ok(());
        }
        let sent: Vec<&Item<'_>> = items.iter().filter(|item| item.is_sent()).collect();
        let mut updates: Vec<_> = sent.iter().map(|item| self.update(item)).collect();
        self.sender.begin()?;
        let places = self.sender.send(&mut updates)?;
        if self.is_overtaken(&sent, &places)? {
            // A newer update came in between.
            self.sender.abort()?;
            return Err(Trouble::Again);
        }
        let mut places = places.into_iter();
        let mut into = |item: &Item<'_>| if item.is_sent() { places.next() } else { None };
        let mut outcomes: Vec<_> = items
            .iter()
            .map(|item| self.outcome(item, into(item)))
            .collect();
        self.sender.send(&mut outcomes)?;
        self.sender.commit()?;
        for outcome in outcomes
            .iter()
            .filter(|outcome| !outcome.altered.is_empty())
        {
            let (record, topic, altered, advice) = (
                &outcome.origin,
                &outcome.topic,
                outcome.altered,
                outcome.refusal.map(Refusal::advice),
            );
            error!(%record, topic, %altered, advice, "a topic refused an outcome as it was: it was sent with these parts changed");
        }
        Ok(())
    }

    fn update(&self, item: &Item<'_>) -> Message {
        // It comes from a header, in which a sender may have written anything.
        let replays = item.one.replays.saturating_add(1);
        Message {
            // Where the user's other updates stand, whatever the sender made of the key.
            partition: (item.letter.facts.origin.topic == self.desk.updates.name)
                .then(|| self.history.home(item.one))
                .filter(|partition| *partition < self.desk.updates.partitions),
            key: item.content.key.clone(),
            value: item.value.clone(),
            headers: headers_to_send(&item.content, item.letter.place(), replays),
            ..Message::new(
                MessageKind::Update,
                item.letter.place().clone(),
                self.desk.updates.name.to_string(),
            )
        }
    }

    /// Between what the plan had seen and what was sent just now, an update may have come that
    /// overwrites what was sent: then all is planned anew. Those of open transactions count too,
    /// since nobody knows yet how they end.
    fn is_overtaken(&self, sent: &[&Item<'_>], places: &[Spot]) -> Result<bool, Failure> {
        let mut lanes: HashMap<&Lane, Vec<(Spot, &[String])>> = HashMap::new();
        for (item, place) in sent.iter().zip(places) {
            let Some(lane) = item.one.lane.as_deref() else {
                continue;
            };
            lanes
                .entry(lane)
                .or_default()
                .push((*place, &item.step.sent));
        }
        let own: HashSet<&Place> = sent.iter().map(|item| item.letter.place()).collect();
        // In every partition: that of a user may be another one since some were added.
        let ends = if lanes.is_empty() {
            HashMap::new()
        } else {
            self.written.ends()?
        };
        let span = |(partition, from)| {
            Some(Span {
                partition,
                from,
                to: *ends.get(&partition)?,
            })
        };
        let spans: Vec<Span> = self.history.read_to().filter_map(span).collect();
        let mut overtaken = false;
        self.written.scan(&spans, &mut (), |message| {
            let record = headers::record(&self.desk.updates.name, message);
            // Ours, of this transaction or of one that was undone.
            if replay_of(&record)
                .flatten()
                .is_some_and(|letter| own.contains(&letter))
            {
                return Ok(Go::On);
            }
            let reading = self.desk.judge.read(&record);
            let here = (record.place.partition, record.place.offset);
            let sent = reading.lane.as_ref().and_then(|lane| lanes.get(lane));
            overtaken |= sent.into_iter().flatten().any(|(place, parts)| {
                (place.0 != here.0 || here.1 < place.1)
                    && parts.iter().any(|part| reading.parts.contains(part))
            });
            Ok(Go::On)
        })?;
        Ok(overtaken)
    }

    fn outcome(&self, item: &Item<'_>, into: Option<Spot>) -> Message {
        let facts = &item.letter.facts;
        let decoded = event::decode(&item.content);
        let identity = match &decoded {
            Ok(event) => &event.identity,
            Err(undecodable) => &undecodable.identity,
        };
        let parts = if into.is_some() {
            &item.step.sent
        } else {
            &item.step.left_out
        };
        let fields = changes::names(&item.one.parts, parts);
        let now = Timestamp::now();
        let into = into.map(|(partition, offset)| Place {
            topic: self.desk.updates.name.clone(),
            partition,
            offset,
        });
        let group_id = &self.desk.kafka.group_id;
        let (headers, value) = outcome::message(Facts {
            id: outcome::outcome_id(group_id, &facts.target, item.letter.place()),
            group_id,
            target: &facts.target,
            place: item.letter.place(),
            kind: if into.is_some() {
                Kind::Replayed
            } else {
                Kind::Superseded
            },
            reason: None,
            user: facts.user.as_ref(),
            id_form: self.desk.judge.id_form(&facts.target),
            fields: (!fields.is_empty()).then_some(fields),
            identity,
            attempts: facts.attempts,
            http_status: facts.http_status,
            into: into.as_ref(),
            error: None,
            received_at: now,
            finished_at: now,
            trace: TraceContext::of(&item.content).as_ref(),
        });
        let new = Message::new(
            MessageKind::Outcome,
            item.letter.place().clone(),
            self.desk.kafka.topics.outcomes.clone(),
        );
        let mut message = Message {
            key: item.content.key.clone(),
            value: Some(value),
            headers,
            ..new
        };
        for refusal in self
            .refusals
            .outcomes
            .get(&item.one.spot)
            .into_iter()
            .flatten()
        {
            message.alter(*refusal);
        }
        message
    }
}
