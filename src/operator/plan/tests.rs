use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

fn names(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

/// At this offset of the one partition, written at that time.
fn first(offset: i64) -> First {
    First {
        partition: 0,
        offset,
        written_ms: Some(offset),
    }
}

fn other(at: i64, parts: &[&str]) -> OtherUpdate {
    OtherUpdate {
        at: (0, at),
        first: Some(first(at)),
        parts: names(parts),
        dead: false,
    }
}

fn judged(at: i64, parts: &[&str], others: &[OtherUpdate]) -> LetterPlan {
    let parts = names(parts);
    let case = Case {
        first: first(at),
        parts: &parts,
        replays: 0,
        blind: None,
        objection: None,
        fails_again: None,
        obstacle: None,
    };
    step(&case, others, false)
}

#[test]
fn each_part_is_judged_by_itself() {
    let others = [
        other(5, &["a"]),
        other(20, &["b", "v.x"]),
        other(30, &["c"]),
    ];
    let step = judged(10, &["a", "b", "c", "v.x", "v.y"], &others);
    assert_eq!(
        (step.action, step.sent, step.left_out),
        (
            PlannedAction::Trim,
            names(&["a", "v.y"]),
            names(&["b", "c", "v.x"])
        )
    );
    assert_eq!(step.by, [(0, 20), (0, 30)]);
    assert_eq!(
        judged(10, &["b", "c"], &others).action,
        PlannedAction::Supersede
    );
    assert_eq!(judged(10, &["a"], &others).action, PlannedAction::Send);
    assert_eq!(judged(40, &["a", "b"], &others).action, PlannedAction::Send);
    assert_eq!(
        judged(10, &[], &others).action,
        PlannedAction::Send,
        "what nobody can read is sent as it is"
    );
}

#[test]
fn a_dead_update_overwrites_nothing_and_a_replayed_one_stands_where_it_first_stood() {
    let dead = OtherUpdate {
        dead: true,
        ..other(20, &["a"])
    };
    assert_eq!(judged(10, &["a"], &[dead]).action, PlannedAction::Send);
    let replayed = OtherUpdate {
        first: Some(first(5)),
        ..other(20, &["a"])
    };
    assert_eq!(
        judged(10, &["a"], std::slice::from_ref(&replayed)).action,
        PlannedAction::Send
    );
    assert_eq!(
        judged(4, &["a"], &[replayed]).action,
        PlannedAction::Supersede
    );
}

#[test]
fn across_partitions_the_times_tell_and_what_they_leave_open_counts_as_newer() {
    let elsewhere = |written_ms: Option<i64>| {
        let first = First {
            partition: 1,
            offset: 3,
            written_ms,
        };
        OtherUpdate {
            at: (1, 3),
            first: Some(first),
            parts: names(&["a"]),
            dead: false,
        }
    };
    let action = |written_ms| judged(10, &["a"], &[elsewhere(written_ms)]).action;
    assert_eq!(action(Some(9)), PlannedAction::Send);
    assert_eq!(
        [action(Some(10)), action(Some(11)), action(None)],
        [PlannedAction::Supersede; 3]
    );
    let step = judged(10, &["a", "b"], &[elsewhere(Some(11))]);
    assert_eq!((step.action, step.by), (PlannedAction::Trim, vec![(1, 3)]));
    let unknown = OtherUpdate {
        first: None,
        ..elsewhere(None)
    };
    assert_eq!(
        judged(10, &["a"], &[unknown]).action,
        PlannedAction::Refuse,
        "it stands in another partition, wherever"
    );
}

#[test]
fn everything_on_a_topic_is_newer_than_what_came_before_it() {
    let parts = names(&["a"]);
    let case = Case {
        first: First::BEFORE_THE_TOPIC,
        parts: &parts,
        replays: 0,
        blind: None,
        objection: None,
        fails_again: None,
        obstacle: None,
    };
    assert_eq!(
        step(&case, &[other(0, &["a"])], false).action,
        PlannedAction::Supersede
    );
    let replayed = OtherUpdate {
        first: Some(First::BEFORE_THE_TOPIC),
        ..other(20, &["a"])
    };
    assert_eq!(judged(10, &["a"], &[replayed]).action, PlannedAction::Send);
}

#[test]
fn what_is_in_doubt_is_refused_unless_it_is_forced() {
    let parts = names(&["a", "b"]);
    let case = Case {
        first: first(10),
        parts: &parts,
        replays: 0,
        blind: None,
        objection: None,
        fails_again: None,
        obstacle: None,
    };
    let unclear = [OtherUpdate {
        first: None,
        ..other(20, &["a"])
    }];
    let cases = [
        (
            Case {
                replays: 3,
                ..case.clone()
            },
            &[][..],
            "3 times",
        ),
        (
            Case {
                blind: Some("blind"),
                ..case.clone()
            },
            &[],
            "blind",
        ),
        (
            Case {
                objection: Some("objection"),
                ..case.clone()
            },
            &[],
            "objection",
        ),
        (
            Case {
                fails_again: Some("it will fail again"),
                ..case.clone()
            },
            &[],
            "fail again",
        ),
        (case.clone(), &unclear, "cannot be told"),
    ];
    for (case, others, words) in cases {
        let refused = step(&case, others, false);
        assert_eq!(refused.action, PlannedAction::Refuse);
        assert!(refused.sent.is_empty() && refused.why.unwrap().contains(words));
        let forced = step(&case, others, true);
        assert_eq!((forced.action, &forced.sent), (PlannedAction::Send, &parts));
        assert!(forced.why.unwrap().starts_with("forced: "));
    }
    assert_eq!(
        step(
            &Case {
                replays: 2,
                ..case.clone()
            },
            &[],
            false
        )
        .action,
        PlannedAction::Send
    );
    let impossible = Case {
        obstacle: Some("gone"),
        ..case.clone()
    };
    assert_eq!(step(&impossible, &[], true).action, PlannedAction::Refuse);
    // Whatever else came: all of it is overwritten for sure.
    let superseded = Case {
        blind: Some("blind"),
        fails_again: Some("it will fail again"),
        ..case
    };
    assert_eq!(
        step(&superseded, &[other(30, &["a", "b"])], false).action,
        PlannedAction::Supersede
    );
}

/// What happens to one user, one thing after the other.
#[derive(Clone, Debug)]
enum Event {
    /// An update of these parts is written, and dies so often before it is delivered.
    Write { parts: BTreeSet<u8>, deaths: u8 },
    /// The oldest update that waits ends.
    Deliver,
    /// Of the open dead letters those are replayed whose bits are set.
    Replay { which: u8 },
}

fn event() -> impl Strategy<Value = Event> {
    let parts = prop::collection::btree_set(0u8..4, 1..4);
    prop_oneof![
        3 => (parts, 0u8..3).prop_map(|(parts, deaths)| Event::Write { parts, deaths }),
        4 => Just(Event::Deliver),
        2 => any::<u8>().prop_map(|which| Event::Replay { which }),
    ]
}

/// A record of the model's update topic.
#[derive(Clone, Debug)]
struct Written {
    /// The number of the update, by first appearance: its value, too.
    update: usize,
    first: i64,
    parts: Vec<String>,
    dead: bool,
}

#[derive(Default)]
struct World {
    topic: Vec<Written>,
    waiting: VecDeque<usize>,
    /// How often each update will still die.
    deaths: Vec<u8>,
    /// The parts that each update set when it was written.
    wanted: Vec<BTreeSet<u8>>,
    /// The places of records whose dead letters are open.
    letters: Vec<usize>,
    /// What the API has: of each part the update that set it.
    api: BTreeMap<String, usize>,
}

impl World {
    fn write(&mut self, update: usize, first: Option<i64>, parts: Vec<String>) {
        let at = self.topic.len();
        self.topic.push(Written {
            update,
            first: first.unwrap_or(at as i64),
            parts,
            dead: false,
        });
        self.waiting.push_back(at);
    }

    fn deliver(&mut self) {
        let Some(at) = self.waiting.pop_front() else {
            return;
        };
        let record = &mut self.topic[at];
        match &mut self.deaths[record.update] {
            0 => self.api.extend(
                record
                    .parts
                    .iter()
                    .map(|part| (part.clone(), record.update)),
            ),
            deaths => {
                *deaths -= 1;
                record.dead = true;
                self.letters.push(at);
            }
        }
    }

    fn replay(&mut self, which: u8) {
        // An update that waits and will die is taken for one on its way: what it seems to overwrite
        // is lost with it, as is documented.
        while self
            .waiting
            .iter()
            .any(|at| self.deaths[self.topic[*at].update] > 0)
        {
            self.deliver();
        }
        let (mut chosen, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.letters)
            .into_iter()
            .enumerate()
            .partition(|(number, _)| which >> (number % 8) & 1 == 1);
        self.letters = left.into_iter().map(|(_, at)| at).collect();
        chosen.sort_by_key(|(_, at)| self.topic[*at].first);
        for (_, at) in chosen {
            let letter = self.topic[at].clone();
            let records = self
                .topic
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at);
            let others: Vec<_> = records
                .map(|(at, record)| OtherUpdate {
                    at: (0, at as i64),
                    first: Some(first(record.first)),
                    parts: record.parts.clone(),
                    dead: record.dead,
                })
                .collect();
            let case = Case {
                first: first(letter.first),
                parts: &letter.parts,
                replays: 0,
                blind: None,
                objection: None,
                fails_again: None,
                obstacle: None,
            };
            let step = step(&case, &others, false);
            match step.action {
                PlannedAction::Send | PlannedAction::Trim => {
                    self.write(letter.update, Some(letter.first), step.sent)
                }
                PlannedAction::Supersede => {}
                PlannedAction::Refuse => panic!("nothing is in doubt here"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// However updates, endings and replays follow each other: the user is left as if the updates
    /// had been applied in the order in which they first came, those left out that stay dead.
    #[test]
    fn replays_leave_a_user_as_the_original_order_would(events in prop::collection::vec(event(), 1..40)) {
        let mut world = World::default();
        for event in events {
            match event {
                Event::Write { parts, deaths } => {
                    let names = parts.iter().map(u8::to_string).collect();
                    world.deaths.push(deaths);
                    world.wanted.push(parts);
                    world.write(world.deaths.len() - 1, None, names);
                }
                Event::Deliver => world.deliver(),
                Event::Replay { which } => world.replay(which),
            }
        }
        while !world.waiting.is_empty() {
            world.deliver();
        }
        let dead: BTreeSet<_> = world.letters.iter().map(|at| world.topic[*at].update).collect();
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        for (update, parts) in world.wanted.iter().enumerate().filter(|(update, _)| !dead.contains(update)) {
            wanted.extend(parts.iter().map(|part| (part.to_string(), update)));
        }
        prop_assert_eq!(world.api, wanted);
    }
}
