//! State of every API: its settings, its users, and the tokens it has given out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::message::Request;
use super::settings::Settings;
use super::user::User;

/// The state on which an answer depends, apart from the call.
#[derive(Default)]
pub(super) struct ServerState {
    pub(super) settings: Settings,
    pub(super) users: Directory,
    pub(super) tokens: Tokens,
    pub(super) rate_limit: RateLimit,
    pub(super) queue: Queue,
    /// The body of each `Idempotency-Key`.
    keys: HashMap<String, Value>,
}

impl ServerState {
    /// Whether that call's `Idempotency-Key` came with another body before.
    pub(super) fn knows_key_otherwise(&mut self, request: &Request) -> bool {
        let key = request
            .header("idempotency-key")
            .filter(|_| self.settings.idempotency_keys);
        let Some((key, body)) = key.zip(request.json.as_ref()) else {
            return false;
        };
        self.keys
            .entry(key.to_owned())
            .or_insert_with(|| body.clone())
            != body
    }
}

/// The users that were updated: the last value of each field.
#[derive(Default)]
pub(super) struct Directory(HashMap<User, Map<String, Value>>);

impl Directory {
    /// Sets these fields of a user.
    pub(super) fn set<'a>(
        &mut self,
        user: &User,
        fields: impl Iterator<Item = (&'a str, &'a Value)>,
    ) {
        let known = self.0.entry(user.clone()).or_default();
        for (name, value) in fields {
            match (known.get_mut(name), value) {
                // A part that is not named stays as it was.
                (Some(Value::Object(parts)), Value::Object(named)) => parts.extend(named.clone()),
                _ => drop(known.insert(name.to_owned(), value.clone())),
            }
        }
    }

    /// Replaces all fields of a user.
    pub(super) fn replace(&mut self, user: &User, fields: Map<String, Value>) {
        self.0.insert(user.clone(), fields);
    }

    /// The fields of a user that were ever set.
    pub(super) fn fields(&self, user: &User) -> Option<&Map<String, Value>> {
        self.0.get(user)
    }

    /// All users that were ever updated, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&User, &Map<String, Value>)> {
        self.0.iter()
    }
}

/// The tokens that are valid.
#[derive(Default)]
pub(super) struct Tokens(HashMap<String, Option<Instant>>);

impl Tokens {
    /// A new token, valid from `now` for that long: 32 hexadecimal digits.
    pub(super) fn issue(&mut self, now: Instant, lifetime: Duration) -> String {
        let token = format!("{:032x}", fastrand::u128(..));
        self.0.insert(token.clone(), now.checked_add(lifetime));
        token
    }

    /// Makes this token valid without a login, without end.
    pub(super) fn accept(&mut self, token: String) {
        self.0.insert(token, None);
    }

    /// Whether this token is valid.
    pub(super) fn knows(&self, token: &str, now: Instant) -> bool {
        self.0
            .get(token)
            .is_some_and(|end| end.is_none_or(|end| now < end))
    }

    /// Makes every token invalid.
    pub(super) fn expire(&mut self) {
        self.0.clear();
    }
}

/// The updates of the current second, for the rate limit.
#[derive(Default)]
pub(super) struct RateLimit {
    start: Option<Instant>,
    count: u32,
}

impl RateLimit {
    /// Counts an update; whether the limit (0 for none) lets it pass.
    pub(super) fn admits(&mut self, limit: u32, now: Instant) -> bool {
        if self
            .start
            .is_none_or(|start| now.duration_since(start) >= Duration::from_secs(1))
        {
            *self = RateLimit {
                start: Some(now),
                count: 0,
            };
        }
        self.count = self.count.saturating_add(1);
        limit == 0 || self.count <= limit
    }
}

/// The queue before the servers that work on calls: when each of them is free again.
#[derive(Default)]
pub(super) struct Queue(BinaryHeap<Reverse<Instant>>);

impl Queue {
    /// How long a call takes from now on, its time in the queue included.
    pub(super) fn wait(&mut self, servers: usize, latency: Duration, now: Instant) -> Duration {
        if servers == 0 {
            self.0.clear();
            return latency;
        }
        let mut start = now;
        while self.0.len() >= servers {
            start = self.0.pop().map_or(now, |Reverse(free)| free.max(now));
        }
        let end = start + latency;
        self.0.push(Reverse(end));
        end - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_queue_before_the_servers() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let latency = Duration::from_millis(10);
        let mut waits = |servers, times: usize, now| {
            let mut wait = || queue.wait(servers, latency, now).as_millis();
            (0..times).map(|_| wait()).collect::<Vec<_>>()
        };
        assert_eq!(waits(2, 5, now), [10, 10, 20, 20, 30]);
        assert_eq!(waits(2, 2, now + latency * 3), [10, 10]);
        assert_eq!(waits(0, 2, now + latency * 3), [10, 10]);
        assert_eq!(waits(1, 2, now + latency * 3), [10, 20]);
    }

    #[test]
    fn a_token_lives_as_long_as_it_should() {
        let start = Instant::now();
        let mut tokens = Tokens::default();
        let token = tokens.issue(start, Duration::from_secs(60));
        tokens.accept("from-a-file".into());
        assert_eq!((token.len(), tokens.knows(&token, start)), (32, true));
        let later = start + Duration::from_secs(60);
        assert!(!tokens.knows(&token, later) && tokens.knows("from-a-file", later));
        tokens.expire();
        assert!(!tokens.knows("from-a-file", start));
    }

    #[test]
    fn the_rate_limit_counts_by_the_second() {
        let start = Instant::now();
        let mut rate_limit = RateLimit::default();
        let admitted =
            |rate_limit: &mut RateLimit, now| (0..5).filter(|_| rate_limit.admits(3, now)).count();
        assert_eq!(admitted(&mut rate_limit, start), 3);
        assert_eq!(
            admitted(&mut rate_limit, start + Duration::from_millis(999)),
            0
        );
        assert_eq!(admitted(&mut rate_limit, start + Duration::from_secs(1)), 3);
        assert!((0..100).all(|_| rate_limit.admits(0, start)));
    }
}
