//! A letter that was chosen, without its content: what is needed to decide what of it may be sent.

use std::sync::Arc;

use jiff::Timestamp;

use crate::kafka::reader::Spot;
use crate::model::event::UserId;
use crate::model::record::Record;
use crate::operator::ancestry::Link;
use crate::operator::desk::Desk;
use crate::operator::judge::TargetUser;
use crate::operator::letter::{Letter, replay_of};
use crate::operator::plan::First;
use engine::verdict::Reason;

/// Why a letter from before the update topic was recreated should not be sent.
pub(super) const FROM_BEFORE: &str = "it is from before the update topic was made anew: what came after it there cannot be told any more";

/// A dead letter that somebody wants to act on, without its content.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Its position on the dead-letter topic.
    pub spot: Spot,
    /// Its target, or `unclaimed`.
    pub target: Arc<str>,
    /// Its user, if known.
    pub user: Option<UserId>,
    /// Why it is one.
    pub reason: Reason,
    /// The user to whom it would go now.
    pub lane: Option<Arc<TargetUser>>,
    /// The parts that it sets.
    pub parts: Arc<[String]>,
    /// A warning for a replay, which does not prevent it.
    pub remark: Option<Arc<str>>,
    /// Its record's position on the update topic.
    pub origin: Spot,
    /// Its first position there.
    pub first: First,
    /// It is from before the update topic was recreated.
    pub from_before: bool,
    /// When it failed for the first time.
    pub since: Timestamp,
    /// How often it was replayed.
    pub replays: u32,
    /// Why it cannot be known what came after it.
    pub blind: Option<String>,
    /// Why it should not be sent.
    pub objection: Option<String>,
    /// Why it is known to fail again.
    pub fails_again: Option<String>,
    /// Why it cannot be sent.
    pub obstacle: Option<String>,
    /// It was replayed or superseded before it was chosen, and chosen all the same.
    pub settled_before: bool,
    /// The dead letter that its record was before.
    pub(super) replay_of: Link,
}

impl Chosen {
    /// Extracts the facts needed of a letter. `content` is the record that would be sent.
    pub fn new(desk: &Desk, letter: &Letter, content: &Record) -> Self {
        let reading = desk.judge.read(content);
        let facts = &letter.facts;
        let place = letter.place();
        let problem = reading.problem.filter(|(reason, _)| {
            *reason != Reason::Undecodable || facts.reason == Reason::Undecodable
        });
        let is_late = matches!(problem, Some((Reason::Expired, _)));
        let again = problem
            .map(|(reason, words)| format!("it will fail again as {}: {words}", reason.as_str()));
        let (remark, fails_again) = if is_late {
            (again, None)
        } else {
            (None, again)
        };
        let from_before = desk.is_from_before(letter);
        let origin = (facts.origin.partition, facts.origin.offset);
        let first = First {
            partition: origin.0,
            offset: origin.1,
            written_ms: letter.written_ms(),
        };
        let headers_lost =
            letter.record.verbatim_headers.is_some().then(|| {
                "the names of some of its headers are not UTF-8, and those cannot be sent again: --force leaves them out".to_owned()
            });
        Chosen {
            spot: (place.partition, place.offset),
            target: facts.target.as_str().into(),
            user: facts.user.clone(),
            reason: facts.reason,
            lane: reading.lane.map(Arc::new),
            parts: reading.parts.into(),
            remark: remark.map(Into::into),
            origin,
            first: if from_before {
                First::BEFORE_THE_TOPIC
            } else {
                first
            },
            from_before,
            since: facts.failed_at,
            replays: facts.replays,
            blind: (facts.origin.topic != desk.updates.name
                || facts.origin.partition >= desk.updates.partitions)
                .then(|| {
                    format!(
                        "it comes from {}, which is not on the update topic of this configuration",
                        facts.origin
                    )
                }),
            objection: if from_before {
                Some(FROM_BEFORE.to_owned())
            } else {
                headers_lost
            },
            fails_again,
            obstacle: None,
            settled_before: false,
            replay_of: replay_of(&letter.record),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::operator) fn lane(user: u64) -> Arc<TargetUser> {
        Arc::new(TargetUser {
            target: "valt".to_owned(),
            user: UserId::number(user).unwrap(),
        })
    }

    /// The letter at 0/1 of an update that stood at `origin` first, and sets the name.
    pub(in crate::operator) fn chosen(user: u64, origin: Spot) -> Chosen {
        Chosen {
            spot: (0, 1),
            target: "valt".into(),
            user: UserId::number(user),
            reason: Reason::Rejected,
            lane: Some(lane(user)),
            parts: ["name".to_owned()].into(),
            remark: None,
            origin,
            first: First {
                partition: origin.0,
                offset: origin.1,
                written_ms: Some(0),
            },
            from_before: false,
            since: Timestamp::UNIX_EPOCH,
            replays: 0,
            blind: None,
            objection: None,
            fails_again: None,
            obstacle: None,
            settled_before: false,
            replay_of: None,
        }
    }
}
