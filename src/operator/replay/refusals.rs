//! Messages of a replay that topics refused, and the consequences for the next try.

use std::collections::HashMap;

use crate::kafka::reader::Spot;
use crate::kafka::{MessageKind, MessageRefusal};

/// An outcome can be changed in so many steps.
const MOST_STEPS: usize = 5;

/// By the places of letters.
#[derive(Default)]
pub(super) struct Refusals {
    /// Those that cannot be sent, and why.
    letters: HashMap<Spot, String>,
    /// The changes to make to each outcome, in this order.
    outcomes: HashMap<Spot, Vec<MessageRefusal>>,
}

impl Refusals {
    /// The topic refused these of the messages of that kind, which are of the letters at `spots`.
    /// An outcome is altered by one more step, as long as there is one.
    pub(super) fn take(
        &mut self,
        kind: MessageKind,
        guilty: &[(usize, MessageRefusal)],
        spots: &[Spot],
    ) {
        for (number, refusal) in guilty {
            let Some(spot) = spots.get(*number) else {
                continue;
            };
            if kind == MessageKind::Outcome {
                let steps = self.outcomes.entry(*spot).or_default();
                if steps.len() < MOST_STEPS {
                    steps.push(*refusal);
                    continue;
                }
            }
            let words = match (kind, refusal) {
                (MessageKind::Update, MessageRefusal::Size) => {
                    "it is larger than the topic takes: raise max.message.bytes there"
                }
                (MessageKind::Update, MessageRefusal::Time) => {
                    "the update topic refuses the present as its time: compare the clocks of this machine and the brokers"
                }
                (MessageKind::Update, MessageRefusal::Form) => {
                    "the update topic refuses it: a compacted one takes none without a key, and a broker may check what it likes"
                }
                _ => {
                    "the outcome topic does not take what would record it, however it is shortened: look at its max.message.bytes and cleanup.policy"
                }
            };
            self.letters.insert(*spot, words.to_owned());
        }
    }

    /// The letter is too much for one transaction, though alone.
    pub(super) fn too_large(&mut self, spot: Spot) {
        let words = "it does not get through within the 5 s of a transaction, though alone";
        self.letters.insert(spot, words.to_owned());
    }

    /// Why the letter cannot be sent.
    pub(super) fn of_letter(&self, spot: Spot) -> Option<&str> {
        self.letters.get(&spot).map(String::as_str)
    }

    /// The changes to make to its outcome.
    pub(super) fn of_outcome(&self, spot: Spot) -> &[MessageRefusal] {
        self.outcomes.get(&spot).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPOTS: [Spot; 3] = [(0, 1), (0, 2), (0, 3)];

    #[test]
    fn an_update_that_is_refused_is_not_sent_again_and_the_others_are() {
        for (refusal, words) in [
            (MessageRefusal::Size, "max.message.bytes"),
            (MessageRefusal::Time, "clocks"),
            (MessageRefusal::Form, "without a key"),
        ] {
            let mut refusals = Refusals::default();
            refusals.take(MessageKind::Update, &[(1, refusal), (9, refusal)], &SPOTS);
            assert!(refusals.of_letter((0, 2)).unwrap().contains(words));
            assert_eq!(refusals.of_letter((0, 1)), None);
            assert_eq!(refusals.of_letter((0, 3)), None);
            assert!(refusals.of_outcome((0, 2)).is_empty());
        }
    }

    #[test]
    fn an_outcome_that_is_refused_is_changed_step_by_step_and_then_its_letter_is_left() {
        let mut refusals = Refusals::default();
        let size = [(2, MessageRefusal::Size)];
        refusals.take(MessageKind::Outcome, &[(2, MessageRefusal::Form)], &SPOTS);
        for _ in 1..MOST_STEPS {
            refusals.take(MessageKind::Outcome, &size, &SPOTS);
        }
        assert_eq!(refusals.of_letter((0, 3)), None, "there is a step left");
        let steps = refusals.of_outcome((0, 3));
        assert_eq!(steps.len(), MOST_STEPS);
        assert_eq!(steps[..2], [MessageRefusal::Form, MessageRefusal::Size]);
        refusals.take(MessageKind::Outcome, &size, &SPOTS);
        let why = refusals.of_letter((0, 3)).unwrap();
        assert!(why.contains("the outcome topic does not take"), "{why}");
        assert_eq!(refusals.of_outcome((0, 3)).len(), MOST_STEPS);
    }

    #[test]
    fn a_letter_that_is_too_large_alone_is_left() {
        let mut refusals = Refusals::default();
        refusals.too_large((0, 1));
        assert!(refusals.of_letter((0, 1)).is_some() && refusals.of_letter((0, 2)).is_none());
    }
}
