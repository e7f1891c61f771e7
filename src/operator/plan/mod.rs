//! The plan for one dead letter: the parts of it that a replay would send. Pure: it knows neither
//! Kafka nor time.
//!
//! Updates are compared by their *first* positions on the update topic. A replayed one has a later
//! position, but is no newer for that.

use crate::kafka::reader::Spot;

/// Maximum number of replays: an event that fails again after them has another problem.
pub const MAX_REPLAYS: u32 = 3;

/// Why a letter is refused if an update whose first position is unknown sets the same.
const UNCLEAR: &str = "a replayed update of the same user overwrites it, and whether that one is \
    newer cannot be told any more";

/// An update's first position on the update topic, and when it was written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Milliseconds since 1970; `None` if unknown.
    pub written_ms: Option<i64>,
}

impl First {
    /// On a topic that had the name before: everything on this one is newer.
    pub const BEFORE_THE_TOPIC: First = First {
        partition: -1,
        offset: -1,
        written_ms: None,
    };

    /// Whether this update came after the other one. Within a partition the offsets tell. A user's
    /// updates move to another partition when some are added; then the times tell, and what they
    /// leave open counts as newer: a change that is left out for that can be made again, but an old
    /// value over a new one is not seen.
    pub fn is_newer_than(&self, other: &First) -> bool {
        let comparable =
            self.partition == other.partition || [*self, *other].contains(&First::BEFORE_THE_TOPIC);
        if comparable {
            return self.offset > other.offset;
        }
        self.written_ms
            .zip(other.written_ms)
            .is_none_or(|(own, others)| own >= others)
    }
}

/// The facts about a dead letter.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// The update's first position, or the earliest one that is still known.
    pub first: First,
    /// The parts that it sets; empty if that is unknown.
    pub parts: &'a [String],
    /// How often it was replayed.
    pub replays: u32,
    /// Why it cannot be known for sure what came after it, in words.
    pub blind: Option<&'a str>,
    /// Why it must not be sent unless that is forced, in words.
    pub objection: Option<&'a str>,
    /// Why it is known to fail again if any of it is sent, in words.
    pub fails_again: Option<&'a str>,
    /// Why it cannot be sent at all, in words.
    pub obstacle: Option<&'a str>,
}

/// Another update of the same user and target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherUpdate {
    /// Its position on the update topic.
    pub at: Spot,
    /// Its first position; `None` if that is no longer known.
    pub first: Option<First>,
    /// The parts that it sets.
    pub parts: Vec<String>,
    /// It was dead-lettered, and so overwrites nothing.
    pub dead: bool,
}

/// The action planned for a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlannedAction {
    /// Send all of it.
    Send,
    /// Send it without the parts that newer updates have overwritten.
    Trim,
    /// Send nothing, since newer updates have overwritten all of it.
    Supersede,
    /// Leave it where it is.
    Refuse,
}

impl PlannedAction {
    /// Every action.
    pub const ALL: [PlannedAction; 4] = [
        PlannedAction::Send,
        PlannedAction::Trim,
        PlannedAction::Supersede,
        PlannedAction::Refuse,
    ];

    /// Its name in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            PlannedAction::Send => "send",
            PlannedAction::Trim => "trim",
            PlannedAction::Supersede => "supersede",
            PlannedAction::Refuse => "refuse",
        }
    }
}

/// The plan for one dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterPlan {
    /// The action.
    pub action: PlannedAction,
    /// The parts that are sent.
    pub sent: Vec<String>,
    /// The parts that newer updates have overwritten.
    pub left_out: Vec<String>,
    /// The positions of those updates.
    pub by: Vec<Spot>,
    /// Why it is refused, or what was overridden by force.
    pub why: Option<String>,
}

/// Plans the action for the dead letter, given the other updates of its user at its target. `force`
/// overrides doubts, never impossibilities.
pub fn step(case: &Case<'_>, others: &[OtherUpdate], force: bool) -> LetterPlan {
    let sets = |other: &OtherUpdate, part: &String| !other.dead && other.parts.contains(part);
    let newer = |other: &OtherUpdate| {
        other
            .first
            .is_some_and(|first| first.is_newer_than(&case.first))
    };
    let (mut sent, mut left_out, mut by) = (Vec::new(), Vec::new(), Vec::new());
    for part in case.parts {
        match others
            .iter()
            .rfind(|other| newer(other) && sets(other, part))
        {
            Some(other) => {
                left_out.push(part.clone());
                if !by.contains(&other.at) {
                    by.push(other.at);
                }
            }
            None => sent.push(part.clone()),
        }
    }
    // An update whose first position is unknown may be newer or not.
    let stands_after =
        |(partition, offset): Spot| partition != case.first.partition || offset > case.first.offset;
    let unclear = others.iter().any(|other| {
        other.first.is_none() && stands_after(other.at) && sent.iter().any(|part| sets(other, part))
    });
    let too_often = (case.replays >= MAX_REPLAYS).then(|| {
        format!(
            "it was replayed {} times already: mend what it fails of, or replay it with --force",
            case.replays
        )
    });
    let hindrance = case.objection.map(str::to_owned).or(too_often);
    let superseded = sent.is_empty() && !left_out.is_empty();
    let unless_superseded = |why: Option<&str>| why.filter(|_| !superseded).map(str::to_owned);
    let doubt = hindrance
        .or_else(|| unless_superseded(case.fails_again))
        .or_else(|| unless_superseded(case.blind))
        .or_else(|| unclear.then(|| UNCLEAR.to_owned()));
    let refusal = case
        .obstacle
        .map(str::to_owned)
        .or_else(|| doubt.clone().filter(|_| !force));
    if let Some(why) = refusal {
        return LetterPlan {
            action: PlannedAction::Refuse,
            sent: Vec::new(),
            left_out: Vec::new(),
            by: Vec::new(),
            why: Some(why),
        };
    }
    let action = match (sent.is_empty(), left_out.is_empty()) {
        (true, false) => PlannedAction::Supersede,
        (false, false) => PlannedAction::Trim,
        (_, true) => PlannedAction::Send,
    };
    LetterPlan {
        action,
        sent,
        left_out,
        by,
        why: doubt.map(|doubt| format!("forced: {doubt}")),
    }
}

#[cfg(test)]
mod tests;
