//! The replay: chosen dead letters go back to the update topic, and what became of each is recorded
//! in the same transaction.

mod fresh;
mod messages;
mod refusals;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use tracing::error;

use crate::kafka::reader::{Go, Sight, Span, Spot, Topic};
use crate::kafka::{MessageKind, MessageRefusal, headers};
use crate::model::record::{Place, Record};
use crate::operator::choice::{Mended, originals};
use crate::operator::desk::Desk;
use crate::operator::history::{Chosen, History, UpTo};
use crate::operator::letter::{Letter, replay_of};
use crate::operator::plan::{LetterPlan, PlannedAction};
use crate::operator::replay::fresh::Fresh;
use crate::operator::replay::refusals::Refusals;
use crate::operator::sender::{Sender, Trouble};
use crate::operator::{ReadFailure, Watch, changes};

/// Events in one transaction at most.
const BATCH: usize = 100;
/// Maximum number of times a batch is planned again because of updates that came in between, or a
/// transaction that failed.
const TRIES: u32 = 30;
/// The pause before that.
const PAUSE: Duration = Duration::from_millis(50);

/// The result of a replay.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many letters ended in which way.
    pub counts: BTreeMap<PlannedAction, usize>,
    /// The positions of refused letters, and why each was refused: the first of them.
    pub refused: Refused,
    /// Letters that somebody else replayed meanwhile.
    pub settled_elsewhere: usize,
    /// It was stopped before it was through.
    pub stopped: bool,
}

impl Summary {
    /// Counts a batch of `letters` letters: some were acted on, and some refused; the others were
    /// settled by somebody else.
    fn record(
        &mut self,
        letters: usize,
        actions: impl Iterator<Item = PlannedAction>,
        refused: Refused,
    ) {
        let mut done = refused.len();
        for action in actions {
            *self.counts.entry(action).or_default() += 1;
            done += 1;
        }
        *self.counts.entry(PlannedAction::Refuse).or_default() += refused.len();
        self.settled_elsewhere += letters - done;
        let room = BATCH.saturating_sub(self.refused.len());
        self.refused.extend(refused.into_iter().take(room));
    }
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

impl Pace<'_> {
    /// The letters of one batch.
    fn size(&self) -> usize {
        self.rate
            .map_or(BATCH, |rate| (rate as usize / 4).clamp(1, BATCH))
    }

    /// How long after the first batch this one may be sent.
    fn due(&self, number: usize) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64((number * self.size()) as f64 / f64::from(rate))
        })
    }
}

/// Replays the letters. Everything counted in `summary` is committed, even if this fails.
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
) -> Result<(), ReadFailure> {
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
    let size = pace.size();
    watch.begin("replaying", letters.len() as u64);
    for (number, batch) in letters.chunks(size).enumerate() {
        let due = began + pace.due(number);
        while Instant::now() < due && !(pace.stop)() {
            std::thread::sleep(PAUSE.min(due.saturating_duration_since(Instant::now())));
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

/// The positions of refused letters, and why.
type Refused = Vec<(Spot, String)>;

/// One letter of a batch, ready to be settled.
struct Item<'a> {
    one: &'a Chosen,
    letter: Letter,
    content: Record,
    step: LetterPlan,
    /// The value to send; none if it is superseded.
    value: Option<Vec<u8>>,
}

impl Item<'_> {
    fn is_sent(&self) -> bool {
        self.step.action != PlannedAction::Supersede
    }
}

impl Replay<'_, '_> {
    fn batch(&mut self, batch: &[Chosen]) -> Result<(), ReadFailure> {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            if !self.part(part)? {
                // Halves the part, until the letter that is too large is alone.
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
        Ok(())
    }

    /// Replays a part of a batch. False: it is too much for one transaction.
    fn part(&mut self, part: &[Chosen]) -> Result<bool, ReadFailure> {
        let mut tries = 0;
        while tries < TRIES {
            self.history.catch_up(UpTo::Now, &mut ())?;
            let (items, refused) = self.plan(part)?;
            match self.transaction(&items) {
                Ok(()) => {
                    let actions = items.iter().map(|item| item.step.action);
                    self.summary.record(part.len(), actions, refused);
                    return Ok(true);
                }
                Err(Trouble::Over(failure)) => return Err(failure),
                Err(Trouble::Refused(kind, guilty)) => self.refused(&items, kind, &guilty),
                Err(Trouble::TooLarge) if part.len() > 1 => return Ok(false),
                Err(Trouble::TooLarge) => {
                    for one in part {
                        self.refusals.too_large(one.spot);
                    }
                }
                Err(Trouble::Again) => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
            }
        }
        Err(ReadFailure::Unreachable(
            "updates of the same users keep coming in transactions that stay open, or Kafka keeps refusing: run the command again later, it goes \
             on where this one ended"
                .to_owned(),
        ))
    }

    /// The next try goes without these letters, or with less in their outcomes.
    fn refused(
        &mut self,
        items: &[Item<'_>],
        kind: MessageKind,
        guilty: &[(usize, MessageRefusal)],
    ) {
        let spots: Vec<Spot> = items
            .iter()
            .filter(|item| kind == MessageKind::Outcome || item.is_sent())
            .map(|item| item.one.spot)
            .collect();
        self.refusals.take(kind, guilty, &spots);
    }

    /// Plans the action for each letter from the current state; refused letters are returned apart.
    fn plan<'c>(&self, batch: &'c [Chosen]) -> Result<(Vec<Item<'c>>, Refused), ReadFailure> {
        let (mut steps, mut refused) = (Vec::new(), Vec::new());
        for one in batch {
            // Settled since it was chosen: somebody else did it.
            if self.history.is_settled(one.spot) && !one.settled_before {
                continue;
            }
            let step = self.history.step(one, self.force);
            if let Some(why) = self.refusals.of_letter(one.spot) {
                refused.push((one.spot, why.to_owned()));
            } else if step.action == PlannedAction::Refuse {
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
                PlannedAction::Trim => match trimmed() {
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
                outcome.refusal.map(MessageRefusal::advice),
            );
            error!(%record, topic, %altered, advice, "a topic refused an outcome as it was: it was sent with these parts changed");
        }
        Ok(())
    }

    /// Whether an update came between the plan and the messages just sent that prevails over them:
    /// then the whole batch is planned again. Updates of open transactions count too, since nobody
    /// knows yet how those end.
    fn is_overtaken(&self, sent: &[&Item<'_>], places: &[Spot]) -> Result<bool, ReadFailure> {
        let mut fresh = Fresh::default();
        for (item, place) in sent.iter().zip(places) {
            if let Some(lane) = item.one.lane.as_deref() {
                fresh.sent(lane, *place, &item.step.sent);
            }
        }
        let own: HashSet<&Place> = sent.iter().map(|item| item.letter.place()).collect();
        // In every partition: that of a user may be another one since some were added.
        let ends = if fresh.is_empty() {
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
            overtaken |= reading
                .lane
                .is_some_and(|lane| fresh.is_overtaken(&lane, here, &reading.parts));
            Ok(Go::On)
        })?;
        Ok(overtaken)
    }
}

#[cfg(test)]
mod tests;
