use super::*;

fn ledger(offset: i64) -> Ledger {
    let commit = Commit {
        offset,
        metadata: String::new(),
    };
    Ledger::new(commit, Checkpoint::at(offset))
}

fn no_attempts(_: Ticket) -> Spent {
    Spent::default()
}

#[test]
fn the_lowest_unsettled_offset_is_committed_and_not_the_highest_settled() {
    let mut ledger = ledger(10);
    for offset in 10..15 {
        assert_eq!(ledger.arrive(offset), Some(Arrival::Open(Spent::default())));
        ledger.open(offset, Ticket(offset as u64));
    }
    let commit = ledger.commit(&[12, 13, 14], no_attempts, 0).unwrap();
    assert_eq!(commit.offset, 10);
    ledger.committed(commit.clone(), 12..15);

    // The next owner works on 10 and 11 only.
    let mut next = Ledger::new(commit.clone(), Checkpoint::read(&commit).unwrap());
    let arrivals: Vec<_> = (10..16)
        .map(|offset| next.arrive(offset).unwrap())
        .collect();
    let open = Arrival::Open(Spent::default());
    assert_eq!(
        arrivals,
        [
            open,
            open,
            Arrival::Settled,
            Arrival::Settled,
            Arrival::Settled,
            open
        ]
    );
}

#[test]
fn gaps_do_not_stall_it() {
    let mut ledger = ledger(0);
    ledger.arrive(0);
    ledger.open(0, Ticket(0));
    ledger.arrive(100);
    ledger.advance(250);
    let commit = ledger.commit(&[0], no_attempts, 0).unwrap();
    assert_eq!(commit.offset, 250);
}

#[test]
fn a_hole_that_was_deleted_from_the_topic_does_not_hold_it_up() {
    let open = [(10, Spent::default()), (15, Spent::default())].into();
    let commit = Checkpoint {
        horizon: 20,
        open,
        ..Checkpoint::default()
    }
    .write(10)
    .unwrap();
    let mut ledger = Ledger::new(commit.clone(), Checkpoint::read(&commit).unwrap());
    assert_eq!(ledger.arrive(18), Some(Arrival::Settled));
    assert_eq!(ledger.lowest_unsettled(), 19);
}

#[test]
fn what_comes_twice_is_taken_once() {
    let mut ledger = ledger(0);
    assert!(ledger.arrive(3).is_some());
    assert_eq!(ledger.arrive(3), None);
    assert_eq!(ledger.arrive(1), None);
}

#[test]
fn the_topic_that_it_is_of_is_committed_even_if_nothing_was_read() {
    let mut ledger = Ledger::new(
        Commit::none(),
        Checkpoint {
            topic: TopicId([7; 16]),
            ..Checkpoint::at(0)
        },
    );
    let commit = ledger.commit(&[], no_attempts, 0).unwrap();
    assert!(ledger.is_news(&commit));
    assert_eq!(Checkpoint::read(&commit).unwrap().topic, TopicId([7; 16]));
    ledger.committed(commit.clone(), []);
    assert!(!ledger.is_news(&commit));
}

#[test]
fn of_a_log_that_was_cut_what_is_settled_below_the_cut_stays_so_and_nothing_above_it_is_known() {
    let mut ledger = ledger(10);
    for offset in 10..20 {
        ledger.arrive(offset);
        ledger.open(offset, Ticket(offset as u64));
    }
    let commit = ledger
        .commit(&[11, 12, 14, 16, 18], no_attempts, 0)
        .unwrap();
    ledger.committed(commit, [11, 12, 14, 16, 18]);
    let cut = ledger.cut(
        15,
        |ticket| Spent {
            calls: (ticket.0 == 13).into(),
            failures: 0,
        },
        Taken::default(),
    );
    let mut next = Ledger::new(cut.clone(), Checkpoint::read(&cut).unwrap());
    let arrivals: Vec<_> = (cut.offset..20)
        .map(|offset| next.arrive(offset).unwrap())
        .collect();
    let [open, called] = [0, 1].map(|calls| Arrival::Open(Spent { calls, failures: 0 }));
    let settled = Arrival::Settled;
    assert_eq!(
        (cut.offset, arrivals),
        (
            10,
            vec![
                open, settled, settled, called, settled, open, open, open, open, open
            ]
        )
    );
    assert_eq!(
        ledger.cut(10, no_attempts, Taken::default()),
        Commit {
            offset: 10,
            metadata: String::new()
        }
    );
    assert_eq!(
        ledger.cut(3, no_attempts, Taken::default()),
        Commit {
            offset: 3,
            metadata: String::new()
        }
    );
}

#[test]
fn spent_attempts_come_back_with_the_record() {
    let mut ledger = ledger(0);
    ledger.arrive(0);
    ledger.open(0, Ticket(0));
    let spent = Spent {
        calls: 4,
        failures: 3,
    };
    ledger.tried(0);
    let commit = ledger.commit(&[], |_| spent, 0).unwrap();
    let mut next = Ledger::new(commit.clone(), Checkpoint::read(&commit).unwrap());
    assert_eq!(next.arrive(0), Some(Arrival::Open(spent)));
}

#[test]
fn what_is_deferred_stays_unsettled_with_its_attempts_and_comes_back() {
    let mut ledger = ledger(0);
    for offset in 0..4 {
        ledger.arrive(offset);
        ledger.open(offset, Ticket(offset as u64));
    }
    let spent = Spent {
        calls: 2,
        failures: 1,
    };
    ledger.defer(1, spent);
    ledger.defer(2, Spent::default());
    let commit = ledger.commit(&[0, 3], no_attempts, 0).unwrap();
    assert_eq!((commit.offset, ledger.lowest_unsettled()), (1, 0));
    let mut next = Ledger::new(commit.clone(), Checkpoint::read(&commit).unwrap());
    let arrivals: Vec<_> = (1..4).map(|offset| next.arrive(offset).unwrap()).collect();
    assert_eq!(
        arrivals,
        [
            Arrival::Open(spent),
            Arrival::Open(Spent::default()),
            Arrival::Settled
        ]
    );

    ledger.committed(commit, [0, 3]);
    assert_eq!((ledger.fetched(1), ledger.fetched(1)), (Some(spent), None));
    assert_eq!(ledger.lowest_unsettled(), 2);
    assert_eq!(ledger.fetched(2), Some(Spent::default()));
    assert_eq!(ledger.commit(&[], no_attempts, 0).unwrap().offset, 4);
}
