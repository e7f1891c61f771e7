//! The story of one dead letter: how it failed, what happened to its user since, and what a replay
//! would do.

use std::collections::VecDeque;

use crate::api::Api;
use crate::kafka::headers;
use crate::kafka::reader::Go;
use crate::model::event;
use crate::model::outcome::{self, EventIdentity, Kind, OutcomeData};
use crate::model::record::Record;
use crate::operator::choice::{Choice, Mended};
use crate::operator::desk::{self, Desk, earlier};
use crate::operator::history::Chosen;
use crate::operator::mend::original;
use crate::operator::plan::LetterPlan;
use crate::operator::{Letter, ReadFailure, Watch};

/// How many of a user's later outcomes are kept.
const LATER: usize = 10;

/// Everything that is known of one dead letter.
pub struct Story {
    /// The letter.
    pub letter: Letter,
    /// The API that it was for, if its target is still there.
    pub api: Option<&'static Api>,
    /// Its whole record; `None` if its topic did not take it and it is gone from the update topic.
    pub content: Option<Record>,
    /// The outcome that says why it failed, with the API's words.
    pub outcome: Option<OutcomeData>,
    /// The outcome that settled it, if one did.
    pub settled: Option<OutcomeData>,
    /// How later updates of the same user at the same target ended: the last of them.
    pub later: VecDeque<OutcomeData>,
    /// How many there were.
    pub later_count: usize,
    /// Its form for planning a replay.
    pub chosen: Chosen,
    /// The plan of a replay for it now.
    pub step: LetterPlan,
}

impl Story {
    /// Collects it.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn read(desk: &Desk, letter: Letter, watch: &mut dyn Watch) -> Result<Self, ReadFailure> {
        let content = if letter.is_shortened() {
            original(desk, &letter)?
        } else {
            Some(letter.record.clone())
        };
        let mut choice = Choice::of(desk, std::slice::from_ref(&letter), &Mended::new())?;
        let history = choice.history(desk, watch)?;
        let Some(chosen) = choice.letters.pop() else {
            return Err(ReadFailure::Other(anyhow::anyhow!(
                "the dead letter is gone"
            )));
        };
        let step = history.step(&chosen, false);

        let Since {
            outcome,
            settled,
            later,
            later_count,
        } = Since::read(desk, &letter, content.as_ref(), &chosen, watch)?;
        Ok(Story {
            api: desk.judge.api(&letter.facts.target),
            letter,
            content,
            outcome,
            settled,
            later,
            later_count,
            chosen,
            step,
        })
    }
}

/// The outcomes since then that tell of the letter, of its record, and of its user.
#[derive(Default)]
struct Since {
    outcome: Option<OutcomeData>,
    settled: Option<OutcomeData>,
    later: VecDeque<OutcomeData>,
    later_count: usize,
}

impl Since {
    /// `content`: the letter's record, if its value is known.
    fn read(
        desk: &Desk,
        letter: &Letter,
        content: Option<&Record>,
        chosen: &Chosen,
        watch: &mut dyn Watch,
    ) -> Result<Self, ReadFailure> {
        let facts = &letter.facts;
        // An earlier record may have had the same place. Of a value that is gone nobody knows the
        // event.
        let event = content.map(|content| match event::decode(content) {
            Ok(event) => EventIdentity::from(&event.identity),
            Err(undecodable) => EventIdentity::from(&undecodable.identity),
        });
        let of_this = |data: &OutcomeData| {
            data.target == facts.target && event.as_ref().is_none_or(|event| data.event == *event)
        };
        let subject = chosen
            .lane
            .as_ref()
            .map(|lane| outcome::subject(&lane.target, &lane.user));
        let spans = desk
            .outcomes
            .since(earlier(facts.failed_at), desk.outcomes.spans()?)?;
        let mut since = Since::default();
        watch.begin("reading outcomes", desk::steps(&spans));
        desk.outcomes.scan(&spans, watch, |message| {
            let of_user =
                subject.is_some() && headers::text(message, "ce_subject") == subject.as_deref();
            // Outcomes of other users matter only if they are about this letter or its record.
            if !of_user
                && !matches!(
                    desk::kind(message),
                    Some(Kind::DeadLettered | Kind::Replayed | Kind::Superseded)
                )
            {
                return Ok(Go::On);
            }
            let Some(data) = desk::data(message) else {
                return Ok(Go::On);
            };
            let is = |place: &crate::model::record::Place| {
                data.record.topic == *place.topic
                    && (data.record.partition, data.record.offset)
                        == (place.partition, place.offset)
            };
            // In another partition, or on a topic that was recreated, the offset says nothing.
            let is_later = || {
                data.record.offset > facts.origin.offset
                    || data.record.partition != facts.origin.partition
                    || chosen.from_before
            };
            if is(letter.place()) {
                since.settled = Some(data);
            } else if is(&facts.origin) && of_this(&data) {
                since.outcome = Some(data);
            } else if of_user && data.record.topic == *desk.updates.name && is_later() {
                since.later_count += 1;
                since.later.push_back(data);
                if since.later.len() > LATER {
                    since.later.pop_front();
                }
            }
            Ok(Go::On)
        })?;
        watch.end();
        Ok(since)
    }
}
