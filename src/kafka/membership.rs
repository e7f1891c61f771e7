//! Membership: whether a subscriber is in its group and the brokers answer, as far as is known.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::model::text;

/// Without proof of membership for so long, Kafka counts as gone. A cluster replaces a broker that
/// it lost in less, though the client notices one that is frozen only when its session of 15 s is
/// over, and then has to join again.
const SILENCE: Duration = Duration::from_secs(25);
/// After a lost membership came back, requests to join that were sent before may still be answered
/// for so long. A broker that stood still answers all that it finds.
const LATE_ANSWERS: Duration = Duration::from_secs(30);
/// The bytes that are kept of what a client reports.
const WORDS: usize = 500;

/// The state of one subscriber's membership. Its consumer's threads update it, and its loop reports
/// it.
#[derive(Debug)]
pub struct Membership {
    /// Within this time a rebalance is over, unless something is wrong.
    rebalance: Duration,
    facts: Mutex<MembershipFacts>,
}

#[derive(Debug, Default)]
struct MembershipFacts {
    /// The coordinator heard from us as a member at that time or later.
    heard: Option<Instant>,
    /// The membership ended: what was heard before says nothing any more.
    lost: Option<Instant>,
    /// A membership that was lost is known to be back since then.
    back: Option<Instant>,
    /// Since when the group rebalances. Nothing is heard then: the coordinator answers when all
    /// members have joined again.
    rebalancing: Option<Instant>,
    /// A broker answered any other question.
    answered: Option<Instant>,
    /// The latest report of a client, and its time.
    report: Option<(Instant, String)>,
}

/// A snapshot of the membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipView {
    /// The subscriber is in its group, and the brokers answer.
    pub up: bool,
    /// It is a member of its group as far as it knows: nobody else has its partitions.
    pub member: bool,
    /// When there last was proof of that; none before the group was joined.
    pub proven: Option<Instant>,
    /// The latest report of a client, and its time. Contains no secret.
    pub report: Option<(Instant, String)>,
}

impl MembershipFacts {
    /// The likely fault if no client has reported any.
    fn silence(&self) -> &'static str {
        if self.heard.is_none() {
            "the consumer group is not joined yet"
        } else if self.lost > self.heard && self.answered > self.lost {
            "the consumer group went on without this instance, which joins it again"
        } else {
            "the consumer group's coordinator does not answer"
        }
    }
}

impl Membership {
    /// No member yet. `drain`: how long partitions may take to be handed over. `lost`: the client
    /// before this one lost its membership.
    pub fn new(drain: Duration, lost: Option<Instant>) -> Self {
        let facts = MembershipFacts {
            lost,
            ..MembershipFacts::default()
        };
        Membership {
            rebalance: drain + SILENCE,
            facts: Mutex::new(facts),
        }
    }

    /// The coordinator has heard from us as a member at that time or later.
    pub(super) fn heard(&self, at: Instant) {
        self.note(|facts| {
            if facts.lost.is_some() && facts.heard <= facts.lost && Some(at) > facts.lost {
                facts.back = Some(at);
            }
            facts.heard = facts.heard.max(Some(at));
        });
    }

    /// Whether a request of our own to join, sent while the membership was lost, may be answered
    /// only now.
    pub(super) fn expects_late_answers(&self, now: Instant) -> bool {
        self.facts.lock().is_ok_and(|facts| {
            let is_lost = facts.lost.is_some() && facts.heard <= facts.lost;
            let is_early = |back| now.saturating_duration_since(back) < LATE_ANSWERS;
            is_lost || facts.back.is_some_and(is_early)
        })
    }

    /// The group goes on without us, or may do so.
    pub(super) fn lost(&self, at: Instant) {
        self.note(|facts| (facts.lost, facts.rebalancing) = (Some(at), None));
    }

    /// Whether the group rebalances, as this look shows.
    pub(super) fn rebalances(&self, rebalances: bool, at: Instant) {
        self.note(|facts| facts.rebalancing = rebalances.then(|| facts.rebalancing.unwrap_or(at)));
    }

    /// A broker has answered.
    pub fn answered(&self, at: Instant) {
        self.note(|facts| facts.answered = facts.answered.max(Some(at)));
    }

    /// A client reports a problem.
    pub(super) fn reported(&self, words: &str, at: Instant) {
        let words = text::cut(words, WORDS).into_owned();
        self.note(|facts| facts.report = Some((at, words)));
    }

    fn note(&self, change: impl FnOnce(&mut MembershipFacts)) {
        if let Ok(mut facts) = self.facts.lock() {
            change(&mut facts);
        }
    }

    /// A snapshot of the membership at `now`.
    pub fn standing(&self, now: Instant) -> MembershipView {
        let Ok(facts) = self.facts.lock() else {
            return MembershipView::default();
        };
        let member = facts.heard > facts.lost;
        let while_rebalancing = facts
            .rebalancing
            .filter(|_| member)
            .and_then(|since| Some(facts.answered?.min(since + self.rebalance)));
        let proven = facts
            .heard
            .max(while_rebalancing.filter(|_| facts.heard.is_some()));
        let up = proven.is_some_and(|proven| now.saturating_duration_since(proven) < SILENCE);
        let report = facts
            .report
            .clone()
            .filter(|(at, _)| up || Some(*at) >= facts.heard);
        MembershipView {
            up,
            member,
            proven,
            report: report.or_else(|| (!up).then(|| (now, facts.silence().to_owned()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(20);

    /// A membership, and a clock that begins with it.
    fn joined() -> (Membership, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let membership = Membership::new(DRAIN, None);
        membership.heard(start);
        (membership, move |seconds| {
            start + Duration::from_secs(seconds)
        })
    }

    #[test]
    fn a_silent_coordinator_is_gone_after_25_s_and_back_with_the_next_answer() {
        let nobody = Membership::new(DRAIN, None).standing(Instant::now());
        assert_eq!(
            (nobody.up, nobody.member, nobody.proven),
            (false, false, None)
        );
        let (membership, at) = joined();
        let up = |second| membership.standing(at(second)).up;
        assert!(up(0) && up(24) && !up(25) && !up(1000));
        // Other brokers may answer whatever they like.
        membership.answered(at(26));
        assert!(!up(27));
        assert_eq!(membership.standing(at(27)).proven, Some(at(0)));
        membership.heard(at(30));
        assert!(up(31));
    }

    #[test]
    fn in_a_rebalance_the_brokers_answers_count_but_not_for_ever() {
        let (membership, at) = joined();
        let up = |second| membership.standing(at(second)).up;
        membership.rebalances(true, at(1));
        membership.rebalances(true, at(9));
        membership.answered(at(12));
        assert!(up(36) && !up(37), "silent since 12");
        membership.answered(at(40));
        assert!(up(64));
        membership.answered(at(90));
        assert!(
            !up(91),
            "since 1 it rebalances, for longer than a rebalance takes"
        );
        membership.rebalances(false, at(92));
        membership.heard(at(92));
        assert!(up(93));
    }

    #[test]
    fn a_lost_membership_has_the_rest_of_the_25_s_to_come_back_whoever_answers() {
        let (membership, at) = joined();
        membership.rebalances(true, at(3));
        membership.lost(at(5));
        membership.answered(at(6));
        membership.rebalances(true, at(6));
        let lost = membership.standing(at(6));
        assert_eq!(
            (lost.up, lost.member, lost.proven),
            (true, false, Some(at(0)))
        );
        membership.answered(at(24));
        assert!(!membership.standing(at(25)).up);
        membership.heard(at(26));
        let back = membership.standing(at(27));
        assert_eq!((back.up, back.member), (true, true));
    }

    #[test]
    fn for_30_s_after_it_came_back_late_answers_are_expected_and_not_without_a_loss() {
        let (membership, at) = joined();
        assert!(!membership.expects_late_answers(at(1)));
        membership.lost(at(5));
        membership.heard(at(4));
        assert!(membership.expects_late_answers(at(300)));
        membership.heard(at(300));
        membership.heard(at(320));
        assert!(membership.expects_late_answers(at(329)));
        assert!(!membership.expects_late_answers(at(330)));
        let next = Membership::new(DRAIN, Some(at(0)));
        next.heard(at(2));
        assert!(next.expects_late_answers(at(31)) && !next.expects_late_answers(at(32)));
    }

    #[test]
    fn the_report_says_what_is_wrong_now() {
        let words =
            |membership: &Membership, at| membership.standing(at).report.map(|(_, words)| words);
        let (membership, at) = joined();
        assert_eq!(words(&membership, at(1)), None);
        membership.reported("one of three brokers is away", at(2));
        assert_eq!(
            words(&membership, at(3)).as_deref(),
            Some("one of three brokers is away")
        );
        membership.heard(at(10));
        assert!(
            words(&membership, at(40))
                .is_some_and(|words| words.contains("coordinator does not answer")),
            "that report is old"
        );
        membership.lost(at(41));
        assert!(
            words(&membership, at(42))
                .is_some_and(|words| words.contains("coordinator does not answer")),
            "the client gave up itself"
        );
        membership.answered(at(43));
        assert!(
            words(&membership, at(44))
                .is_some_and(|words| words.contains("went on without this instance"))
        );
        // Anything reported since the last sign of life is the likely cause.
        membership.reported(&"x".repeat(5000), at(12));
        assert!(
            words(&membership, at(44))
                .is_some_and(|words| words.starts_with("xx") && words.len() <= WORDS)
        );
    }
}
