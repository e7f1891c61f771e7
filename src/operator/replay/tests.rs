use super::*;

#[test]
fn a_rate_is_kept_from_batch_to_batch() {
    let pace = |rate| Pace {
        force: false,
        rate,
        stop: &|| false,
    };
    let sizes = [None, Some(1), Some(50), Some(100_000)].map(|rate| pace(rate).size());
    assert_eq!(sizes, [100, 1, 12, 100]);
    assert_eq!(pace(None).due(1000), Duration::ZERO);
    assert_eq!(pace(Some(50)).due(0), Duration::ZERO);
    // 600 letters have gone before.
    assert_eq!(pace(Some(50)).due(50), Duration::from_secs(12));
    assert_eq!(pace(Some(1)).due(3), Duration::from_secs(3));
}

#[test]
fn what_was_neither_done_nor_refused_somebody_else_has_settled() {
    let mut summary = Summary::default();
    let refused = vec![((0, 1), "why".to_owned())];
    let actions = [
        PlannedAction::Send,
        PlannedAction::Supersede,
        PlannedAction::Send,
    ];
    summary.record(6, actions.into_iter(), refused.clone());
    assert_eq!(summary.settled_elsewhere, 2);
    assert_eq!(
        summary.counts,
        [
            (PlannedAction::Send, 2),
            (PlannedAction::Supersede, 1),
            (PlannedAction::Refuse, 1)
        ]
        .into()
    );
    summary.record(200, [].into_iter(), vec![refused[0].clone(); 200]);
    assert_eq!(summary.counts[&PlannedAction::Refuse], 201);
    assert_eq!(summary.refused.len(), BATCH, "the first of them");
    assert_eq!(summary.settled_elsewhere, 2);
}
