//! State: what an API remembers of its users and of the tokens it has given out.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

/// The wrong passwords after which VALT locks the account.
const FAILURES_ALLOWED: u32 = 10;
/// For how long.
const LOCKED_FOR: Duration = Duration::from_secs(180);
/// The passwords that VALT's history remembers of a user.
const PASSWORDS_REMEMBERED: usize = 3;

/// What is known of the users that were updated.
#[derive(Default)]
pub(super) struct Directory {
    users: HashMap<u64, User>,
}

/// One user: the last value of each field, and the latest passwords.
#[derive(Default)]
struct User {
    fields: Map<String, Value>,
    passwords: VecDeque<String>,
}

impl Directory {
    /// Sets these fields of a user.
    pub(super) fn set<'a>(&mut self, user: u64, fields: impl Iterator<Item = (&'a str, &'a Value)>) {
        let user = self.users.entry(user).or_default();
        for (name, value) in fields {
            match (user.fields.get_mut(name), value) {
                // A part that is not named stays as it was.
                (Some(Value::Object(parts)), Value::Object(named)) => parts.extend(named.clone()),
                _ => drop(user.fields.insert(name.to_owned(), value.clone())),
            }
            if let ("password", Some(password)) = (name, value.as_str()) {
                user.passwords.push_back(password.to_owned());
                if user.passwords.len() > PASSWORDS_REMEMBERED {
                    user.passwords.pop_front();
                }
            }
        }
    }

    /// The fields of a user that were ever set.
    pub(super) fn fields(&self, user: u64) -> Option<&Map<String, Value>> {
        self.users.get(&user).map(|user| &user.fields)
    }

    /// All users that were ever updated, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, &Map<String, Value>)> {
        self.users.iter().map(|(number, user)| (*number, &user.fields))
    }

    /// Whether this is one of the user's last three passwords.
    pub(super) fn had_password(&self, user: u64, password: &str) -> bool {
        self.users.get(&user).is_some_and(|user| user.passwords.iter().any(|old| old == password))
    }

    /// Whether another user has this name.
    pub(super) fn name_is_taken(&self, user: u64, name: &str) -> bool {
        self.all().any(|(other, fields)| other != user && fields.get("name").and_then(Value::as_str) == Some(name))
    }
}

/// The tokens that are valid, and the account's lock.
#[derive(Default)]
pub(super) struct Sessions {
    tokens: HashMap<String, Option<Instant>>,
    failures: u32,
    locked_until: Option<Instant>,
}

impl Sessions {
    /// A new token, valid from `now` for that long: 32 hexadecimal digits.
    pub(super) fn issue(&mut self, now: Instant, lifetime: Duration) -> String {
        let token = format!("{:032x}", fastrand::u128(..));
        self.failures = 0;
        self.tokens.insert(token.clone(), now.checked_add(lifetime));
        token
    }

    /// Makes this token valid without a login, without end.
    pub(super) fn accept(&mut self, token: String) {
        self.tokens.insert(token, None);
    }

    /// Whether this token is valid.
    pub(super) fn knows(&self, token: &str, now: Instant) -> bool {
        self.tokens.get(token).is_some_and(|end| end.is_none_or(|end| now < end))
    }

    /// Makes every token invalid.
    pub(super) fn expire(&mut self) {
        self.tokens.clear();
    }

    /// Notes a wrong password, which may lock the account.
    pub(super) fn fail(&mut self, now: Instant) {
        self.failures += 1;
        if self.failures >= FAILURES_ALLOWED {
            self.failures = 0;
            self.locked_until = now.checked_add(LOCKED_FOR);
        }
    }

    /// Whether the account is locked.
    pub(super) fn is_locked(&self, now: Instant) -> bool {
        self.locked_until.is_some_and(|end| now < end)
    }
}

/// The updates of the current second, for the rate limit.
#[derive(Default)]
pub(super) struct Window {
    start: Option<Instant>,
    count: u32,
}

impl Window {
    /// Counts an update; whether the limit (0 for none) lets it pass.
    pub(super) fn admits(&mut self, limit: u32, now: Instant) -> bool {
        if self.start.is_none_or(|start| now.duration_since(start) >= Duration::from_secs(1)) {
            *self = Window { start: Some(now), count: 0 };
        }
        self.count = self.count.saturating_add(1);
        limit == 0 || self.count <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_in_a_row_lock_the_account_for_three_minutes() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        (0..9).for_each(|_| sessions.fail(start));
        sessions.issue(start, LOCKED_FOR);
        (0..9).for_each(|_| sessions.fail(start));
        assert!(!sessions.is_locked(start));
        sessions.fail(start);
        assert!(sessions.is_locked(start) && sessions.is_locked(start + Duration::from_secs(179)));
        assert!(!sessions.is_locked(start + LOCKED_FOR));
    }

    #[test]
    fn a_token_lives_as_long_as_it_should() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        let token = sessions.issue(start, Duration::from_secs(60));
        sessions.accept("from-a-file".into());
        assert_eq!((token.len(), sessions.knows(&token, start)), (32, true));
        let later = start + Duration::from_secs(60);
        assert!(!sessions.knows(&token, later) && sessions.knows("from-a-file", later));
        sessions.expire();
        assert!(!sessions.knows("from-a-file", start));
    }

    #[test]
    fn the_rate_limit_counts_by_the_second() {
        let start = Instant::now();
        let mut window = Window::default();
        let admitted = |window: &mut Window, now| (0..5).filter(|_| window.admits(3, now)).count();
        assert_eq!(admitted(&mut window, start), 3);
        assert_eq!(admitted(&mut window, start + Duration::from_millis(999)), 0);
        assert_eq!(admitted(&mut window, start + Duration::from_secs(1)), 3);
        assert!((0..100).all(|_| window.admits(0, start)));
    }

    #[test]
    fn three_passwords_are_remembered() {
        let mut directory = Directory::default();
        for password in ["a", "b", "c", "d"] {
            directory.set(1, [("password", &Value::from(password))].into_iter());
        }
        assert!(!directory.had_password(1, "a") && directory.had_password(1, "b") && directory.had_password(1, "d"));
        assert!(!directory.had_password(2, "d"));
    }
}
