//! The choice: which dead letters are to be replayed, in which order, and what each is to be sent
//! as.

use std::collections::HashMap;
use std::sync::Arc;

use crate::kafka::reader::Spot;
use crate::model::record::{Place, Record};
use crate::operator::desk::{Desk, Remarks};
use crate::operator::history::{Chosen, History};
use crate::operator::judge::TargetUser;
use crate::operator::letter::Letter;
use crate::operator::{Filter, ReadFailure, Watch};

/// Records that stand on the update topic only are fetched so many at a time, since they are large.
const LARGE: usize = 20;

/// Events that were mended by hand, by the place of their dead letter.
pub type Mended = HashMap<Spot, Record>;

/// Dead letters that were chosen, in the order in which they are to be sent.
pub struct Choice {
    /// Each of them.
    pub letters: Vec<Chosen>,
    /// Other records seen.
    pub aside: Remarks,
}

impl Choice {
    /// All that match the filter.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn by_filter(
        desk: &Desk,
        filter: &Filter,
        watch: &mut dyn Watch,
    ) -> Result<Self, ReadFailure> {
        let (mut letters, mut shortened) = (Vec::new(), Vec::new());
        let aside = desk.letters(filter, watch, |letter, open| {
            letters.push(Chosen {
                settled_before: !open,
                ..Chosen::new(desk, &letter, &letter.record)
            });
            if letter.is_shortened() {
                shortened.push((letters.len() - 1, letter));
            }
            Ok(())
        })?;
        for some in shortened.chunks(LARGE) {
            let contents = originals(desk, some.iter().map(|(_, letter)| letter))?;
            for (number, letter) in some {
                let settled_before = letters[*number].settled_before;
                letters[*number] = Chosen {
                    settled_before,
                    ..chosen(desk, letter, contents.get(&spot(letter.place())))
                };
            }
        }
        Ok(Choice { letters, aside }.ordered())
    }

    /// These letters, each with what was mended of it.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn of(desk: &Desk, letters: &[Letter], mended: &Mended) -> Result<Self, ReadFailure> {
        let mut chosen_ones = Vec::with_capacity(letters.len());
        for some in letters.chunks(LARGE) {
            let contents = originals(desk, some.iter().filter(|letter| letter.is_shortened()))?;
            for letter in some {
                let at = spot(letter.place());
                let whole = || {
                    if letter.is_shortened() {
                        contents.get(&at)
                    } else {
                        Some(&letter.record)
                    }
                };
                chosen_ones.push(chosen(desk, letter, mended.get(&at).or_else(whole)));
            }
        }
        Ok(Choice {
            letters: chosen_ones,
            aside: Remarks::default(),
        }
        .ordered())
    }

    /// As they stand on their topic, but those of one user in the order in which they first came.
    fn ordered(mut self) -> Self {
        self.letters.sort_by_key(|one| one.spot);
        self
    }

    /// Orders each user's letters by their first positions, once those are known.
    fn order_by_first(&mut self) {
        let mut lanes: HashMap<Arc<TargetUser>, Vec<usize>> = HashMap::new();
        for (number, one) in self.letters.iter().enumerate() {
            if let Some(lane) = &one.lane {
                lanes.entry(lane.clone()).or_default().push(number);
            }
        }
        for numbers in lanes.into_values().filter(|numbers| numbers.len() > 1) {
            let same = in_order(
                numbers
                    .iter()
                    .map(|number| self.letters[*number].clone())
                    .collect(),
            );
            for (number, one) in numbers.into_iter().zip(same) {
                self.letters[number] = one;
            }
        }
    }

    /// Leaves out those that were settled since they were chosen: by another replay.
    pub fn without_settled(&mut self, history: &History<'_>) {
        self.letters
            .retain(|one| one.settled_before || !history.is_settled(one.spot));
    }

    /// Reads what came after them.
    ///
    /// # Errors
    /// If the broker does not answer.
    pub fn history<'a>(
        &mut self,
        desk: &'a Desk,
        watch: &mut dyn Watch,
    ) -> Result<History<'a>, ReadFailure> {
        let history = History::read(desk, &mut self.letters, watch)?;
        self.order_by_first();
        Ok(history)
    }
}

/// Letters of one user in the order in which they first came: within a partition by their offsets,
/// and across partitions by their times, as long as those go up with the offsets.
fn in_order(mut letters: Vec<Chosen>) -> Vec<Chosen> {
    // On a topic that was recreated since, no letter has a position; then their positions on the
    // old one decide.
    letters.sort_by_key(|one| (one.first.partition, one.first.offset, one.origin, one.spot));
    let mut latest: HashMap<i32, Option<i64>> = HashMap::new();
    let with_time = |one: Chosen| {
        let latest = latest.entry(one.first.partition).or_default();
        *latest = one.first.written_ms.max(*latest);
        (*latest, one)
    };
    let mut letters: Vec<_> = letters.into_iter().map(with_time).collect();
    letters.sort_by_key(|(latest, _)| *latest);
    letters.into_iter().map(|(_, one)| one).collect()
}

fn chosen(desk: &Desk, letter: &Letter, content: Option<&Record>) -> Chosen {
    let mut chosen = Chosen::new(desk, letter, content.unwrap_or(&letter.record));
    if content.is_none() {
        let origin = &letter.facts.origin;
        chosen.obstacle = Some(format!(
            "its value was too large for the dead-letter topic, and the record at {origin} is gone"
        ));
    }
    chosen
}

/// The whole records of letters that were shortened.
pub(super) fn originals<'a>(
    desk: &Desk,
    letters: impl Iterator<Item = &'a Letter>,
) -> Result<HashMap<Spot, Record>, ReadFailure> {
    let is_here = |letter: &&Letter| {
        letter.facts.origin.topic == desk.updates.name && !desk.is_from_before(letter)
    };
    let from_here = letters.filter(is_here);
    let origins: HashMap<Spot, Spot> = from_here
        .map(|letter| (spot(&letter.facts.origin), spot(letter.place())))
        .collect();
    let records = desk.updates.fetch(origins.keys().copied())?;
    Ok(records
        .into_iter()
        .map(|(origin, record)| (origins[&origin], record))
        .collect())
}

fn spot(place: &Place) -> Spot {
    (place.partition, place.offset)
}
