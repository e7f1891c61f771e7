//! Settings: how a stand-in behaves for every call, until it is told otherwise.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact;
use serde::{Deserialize, Serialize};

use super::user::User;

/// How a stand-in behaves. The control page takes the same names as JSON, any subset at a time.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The account's name (`login` at aipix, `username` at VALT, `client_id` at SCIM).
    pub username: String,
    /// The account's password.
    #[serde(skip_serializing)]
    pub password: String,
    /// Every login is refused, whatever its credentials.
    pub refuse_logins: bool,
    /// How long a token is valid.
    #[serde(with = "compact::required")]
    pub token_lifetime: Duration,
    /// How long every call waits before anything else happens.
    #[serde(with = "compact::required")]
    pub latency: Duration,
    /// Calls that are worked on at once, each for `latency`; the others queue. 0 for no queue.
    pub servers: usize,
    /// Updates answered within one second before the rest of that second gets 429; 0 for no limit.
    pub rate_limit: u32,
    /// The users that exist.
    pub users: Users,
    /// aipix: the permission ids that exist; `null` for all.
    pub permissions: Option<BTreeSet<i64>>,
    /// VALT: a password is refused if it is one of the user's last three.
    pub password_history: bool,
    /// VALT: a name that another user has is answered with 500.
    pub unique_names: bool,
    /// An `Idempotency-Key` that comes again with another body is answered with 422.
    pub idempotency_keys: bool,
    /// How many calls the journal remembers, the oldest forgotten first; 0 switches it off.
    pub journal_size: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            username: "courier".into(),
            password: "courier".into(),
            refuse_logins: false,
            token_lifetime: Duration::from_secs(8 * 60 * 60),
            latency: Duration::ZERO,
            servers: 0,
            rate_limit: 0,
            users: Users::All,
            permissions: None,
            password_history: false,
            unique_names: false,
            idempotency_keys: false,
            journal_size: 100_000,
        }
    }
}

/// The users that exist: `"all"`, `{"only": [1, 2]}`, `{"except": [3]}` or `{"range": {"start": 1,
/// "end": 9}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Users {
    /// Every user.
    All,
    /// These.
    Only(HashSet<User>),
    /// All but these.
    Except(HashSet<User>),
    /// From the first to the last of these, both included.
    Range(RangeInclusive<u64>),
}

impl Users {
    /// These.
    pub fn only(users: impl IntoIterator<Item = impl Into<User>>) -> Self {
        Users::Only(users.into_iter().map(Into::into).collect())
    }

    /// All but these.
    pub fn except(users: impl IntoIterator<Item = impl Into<User>>) -> Self {
        Users::Except(users.into_iter().map(Into::into).collect())
    }

    /// Whether that user exists. Numbers begin at 1.
    pub fn contains(&self, user: &User) -> bool {
        if user.number() == Some(0) {
            return false;
        }
        match self {
            Users::All => true,
            Users::Only(users) => users.contains(user),
            Users::Except(users) => !users.contains(user),
            Users::Range(range) => user.number().is_some_and(|number| range.contains(&number)),
        }
    }
}
