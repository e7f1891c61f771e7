//! A verdict: how the answer to one attempt is judged. What follows from it is the engine's
//! business.

use std::time::Duration;

/// Why an update is undeliverable. The names stand so in outcomes, headers and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The record is no update event.
    Undecodable,
    /// No target claims the event.
    Unroutable,
    /// `changes` or `user` are not what the API takes.
    InvalidChanges,
    /// The API refused this very update.
    Rejected,
    /// The API knows no such user.
    UserNotFound,
    /// The update kept failing while its target delivered others.
    AttemptsExhausted,
    /// The event's `expirytime` passed before it was delivered.
    Expired,
    /// The user is one whom the target never calls for.
    Protected,
    /// It would take something away from its user, and the target's guard refuses that.
    HeldBack,
}

impl Reason {
    /// Every reason, in the documented order.
    pub const ALL: [Reason; 9] = [
        Reason::Undecodable,
        Reason::Unroutable,
        Reason::InvalidChanges,
        Reason::Rejected,
        Reason::UserNotFound,
        Reason::AttemptsExhausted,
        Reason::Expired,
        Reason::Protected,
        Reason::HeldBack,
    ];

    /// What it means.
    pub fn meaning(self) -> &'static str {
        match self {
            Reason::Undecodable => "The record is no update event.",
            Reason::Unroutable => "No target claims the event.",
            Reason::InvalidChanges => "`changes` or `user` are not what the API takes.",
            Reason::Rejected => "The API refused this very update.",
            Reason::UserNotFound => "The API knows no such user.",
            Reason::AttemptsExhausted => {
                "The update kept failing while its target delivered others."
            }
            Reason::Expired => "The event's `expirytime` passed before it was delivered.",
            Reason::Protected => {
                "The user is among the target's `protected_users`; no call was made."
            }
            Reason::HeldBack => {
                "It would take something away from its user while `guard.refuse_until` refuses that."
            }
        }
    }

    /// The reason's name in outcomes, headers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Undecodable => "undecodable",
            Reason::Unroutable => "unroutable",
            Reason::InvalidChanges => "invalid_changes",
            Reason::Rejected => "rejected",
            Reason::UserNotFound => "user_not_found",
            Reason::AttemptsExhausted => "attempts_exhausted",
            Reason::Expired => "expired",
            Reason::Protected => "protected",
            Reason::HeldBack => "held_back",
        }
    }
}

/// How one attempt ended, as far as a decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The API confirmed the update.
    Delivered,
    /// The update itself is the problem.
    Rejected {
        /// The API said that there is no such user.
        user_not_found: bool,
    },
    /// It may work later: try again.
    Retry {
        /// The API could not even be connected to (refused, no such host, TLS cut off), so nothing
        /// was sent.
        unreachable: bool,
    },
    /// The API asks for a pause.
    Throttled {
        /// For how long, where it said so: already read from seconds or a date, not yet clamped.
        retry_after: Option<Duration>,
    },
    /// The credentials were refused, after one fresh login where a login is possible.
    Unauthorized,
    /// What answered is not the API, or not where it should be.
    Fault,
    /// No call was made, which says nothing of the API.
    NotCalled,
}

/// How an attempt ended, as far as the engine decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How the last answer is judged.
    pub verdict: Verdict,
    /// The calls made, logins apart.
    pub calls: u32,
    /// It speaks of the account or the connection, and so of every update: a refused login, a 401
    /// to a new token, a certificate that is not accepted, no HTTP. Any other answer may be about
    /// one user.
    pub of_all: bool,
}

impl Verdict {
    /// The verdict's name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Delivered => "delivered",
            Verdict::Rejected { .. } => "rejected",
            Verdict::Retry { .. } => "retry",
            Verdict::Throttled { .. } => "throttled",
            Verdict::Unauthorized => "unauthorized",
            Verdict::Fault => "fault",
            Verdict::NotCalled => "not_called",
        }
    }
}
