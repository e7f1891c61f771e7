use super::*;
use proptest::prelude::*;

fn checkpoint(horizon: i64, holes: impl IntoIterator<Item = i64>) -> Checkpoint {
    let open = holes
        .into_iter()
        .map(|hole| (hole, Spent::default()))
        .collect();
    Checkpoint {
        topic: TopicId([7; 16]),
        horizon,
        open,
        slots: Some(Taken::default()),
    }
}

#[test]
fn nothing_above_the_offset_needs_no_text() {
    let commit = Checkpoint::at(7).write(7).unwrap();
    assert_eq!(
        commit,
        Commit {
            offset: 7,
            metadata: String::new()
        }
    );
    assert_eq!(Checkpoint::read(&commit), Ok(Checkpoint::at(7)));
}

#[test]
fn the_topic_is_named_even_if_there_is_nothing_else_to_say() {
    let empty = checkpoint(7, []);
    let commit = empty.write(7).unwrap();
    assert_eq!(commit.metadata, "uc2.BwcHBwcHBwcHBwcHBwcHBw");
    assert_eq!(Checkpoint::read(&commit), Ok(empty));
}

#[test]
fn a_text_of_an_older_version_is_read_and_names_no_topic() {
    let commit = Commit {
        offset: 10,
        metadata: "uc1.AwEBAg".to_owned(),
    };
    let read = Checkpoint::read(&commit).unwrap();
    assert_eq!((read.topic, read.horizon), (TopicId::UNKNOWN, 13));
    assert_eq!(read.open.into_keys().collect::<Vec<_>>(), [11]);
    let again = Checkpoint {
        topic: TopicId::UNKNOWN,
        ..Checkpoint::read(&commit).unwrap()
    }
    .write(10);
    assert_eq!(
        again,
        Some(commit),
        "as long as the id is not known, nothing changes"
    );
}

#[test]
fn ten_thousand_alternating_holes_fit_as_a_bitmap() {
    let alternating = checkpoint(20_000, (0..20_000).step_by(2));
    let commit = alternating.write(0).unwrap();
    assert!(commit.metadata.len() <= MAX_TEXT);
    assert_eq!(Checkpoint::read(&commit), Ok(alternating));
}

#[test]
fn a_long_window_with_few_holes_is_short() {
    let sparse = checkpoint(50_000_000, [0, 25_000_000]);
    let commit = sparse.write(0).unwrap();
    assert!(commit.metadata.len() < 60, "{}", commit.metadata);
    assert_eq!(Checkpoint::read(&commit), Ok(sparse));
}

#[test]
fn what_does_not_fit_is_refused_and_not_cut() {
    assert_eq!(
        checkpoint(1_000_000, (0..1_000_000).step_by(100)).write(0),
        None
    );
}

#[test]
fn nothing_is_written_that_would_not_be_read() {
    assert_eq!(checkpoint(MAX_WINDOW + 8, [7]).write(7), None);
    assert!(checkpoint(MAX_WINDOW + 7, [7]).write(7).is_some());
    assert_eq!(checkpoint(3_000_000, 0..2_000_000).write(0), None);
    let mut far = checkpoint(8, [7]);
    far.open.insert(
        MAX_WINDOW + 8,
        Spent {
            calls: 1,
            failures: 1,
        },
    );
    assert_eq!(
        Checkpoint::read(&far.write(7).unwrap()),
        Ok(checkpoint(8, [7])),
        "the attempts are left out"
    );
}

#[test]
fn a_few_bytes_of_damage_do_not_fill_the_memory() {
    let mut bytes = Vec::new();
    put(&mut bytes, 1 << 39);
    bytes.push(0);
    put(&mut bytes, 1500);
    for _ in 0..375 {
        put(&mut bytes, 0);
        put(&mut bytes, MAX_HOLES as u64);
    }
    assert_eq!(parse(0, &bytes), None);
    // A bitmap with bits behind the last offset that there is.
    assert_eq!(parse(i64::MAX - 3, &[3, 1, 1, 0xf0]), None);
}

#[test]
fn spent_attempts_are_kept_as_far_as_they_fit() {
    let mut full = checkpoint(10, [3]);
    full.open.extend((3..5000).map(|at| {
        (
            at,
            Spent {
                calls: 3,
                failures: 2,
            },
        )
    }));
    let commit = full.write(3).unwrap();
    assert!(commit.metadata.len() <= MAX_TEXT);
    let read = Checkpoint::read(&commit).unwrap();
    assert_eq!(read.horizon, 10);
    assert_eq!(
        read.open[&3],
        Spent {
            calls: 3,
            failures: 2
        }
    );
    assert!(read.open.len() > 500);
}

#[test]
fn foreign_and_damaged_texts_are_told_apart() {
    let read = |metadata: &str| {
        Checkpoint::read(&Commit {
            offset: 5,
            metadata: metadata.into(),
        })
    };
    assert_eq!(read("flink-7"), Err(Unreadable::Foreign));
    assert_eq!(read("uc3.AAAA"), Err(Unreadable::Foreign));
    assert_eq!(
        read("uc2.AAAA"),
        Err(Unreadable::Damaged),
        "too short for an id"
    );
    assert_eq!(read("uc1.*"), Err(Unreadable::Damaged));
    assert_eq!(read("uc1.-v"), Err(Unreadable::Damaged));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        topic: [u8; 16],
        offset in 0i64..1_000_000,
        window in 1i64..3000,
        holes in prop::collection::btree_map(0i64..4000, (0u32..5, 0u32..5), 0..400),
    ) {
        let horizon = offset + window;
        let open: BTreeMap<i64, Spent> = holes
            .into_iter()
            .map(|(hole, (calls, failures))| (offset + hole, Spent { calls, failures }))
            .filter(|(at, spent)| *at < horizon || spent.calls > 0)
            .map(|(at, spent)| (at, if spent.calls == 0 { Spent::default() } else { spent }))
            .collect();
        let written = Checkpoint { topic: TopicId(topic), horizon, open, slots: Some(Taken::default()) };
        let commit = written.write(offset).unwrap();
        prop_assert!(commit.metadata.len() <= MAX_TEXT);
        prop_assert_eq!(Checkpoint::read(&commit), Ok(written));
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for mark in [MARK, MARK_WITHOUT_ID] {
            let mut metadata = mark.to_owned();
            base64::encode(&bytes, &mut metadata);
            let _ = Checkpoint::read(&Commit { offset: 3, metadata });
        }
    }
}
