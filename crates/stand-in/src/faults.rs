//! Faults: what goes wrong on command, for whom and how often.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::user::User;

/// Something that goes wrong with an answer, apart from a mere status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No answer, for as long as the client waits.
    Hang,
    /// The connection is reset instead of an answer.
    Reset,
    /// The same, if the connection has carried a call before; others are answered as ever.
    ResetKept,
    /// A web page, as a proxy or a login form would send it, with status 200.
    Html,
    /// A body that claims to be JSON and is none, with status 200.
    NotJson,
    /// A redirect (302) to another path of the same server.
    Redirect,
    /// The true answer, packed with gzip though nobody asked for it.
    Gzip,
    /// A body that unpacks to 67 MB, in a `Content-Encoding` that nobody asked for.
    GzipBomb,
    /// The true answer, cut in half; then the server's side of the connection ends, while it still
    /// reads.
    HalfClose,
    /// The true answer under a `Content-Length` that is 1000 bytes too long; then the connection
    /// ends.
    WrongLength,
    /// The true answer with a megabyte of padding.
    Oversized,
    /// The true answer's head and the beginning of its body, followed by padding without end.
    Endless,
    /// The true answer, a byte every 50 ms.
    SlowDrip,
}

/// Which calls a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Updates of users.
    #[default]
    Updates,
    /// Logins.
    Logins,
}

/// One fault with its conditions. Build it with [`Rule::status`], [`Rule::fault`] or
/// [`Rule::delay`].
///
/// The rules are asked in the order in which they were set; the first that applies decides. A call
/// whose answer a rule replaces takes no effect, unless [`Rule::applied`] says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Only calls for this user.
    pub user: Option<User>,
    /// Which calls.
    pub on: On,
    /// Only that many calls more; none: until taken back.
    pub times: Option<u32>,
    /// The share of calls that are hit, from 0 to 1; none: all.
    pub probability: Option<f64>,
    /// Waits so long before all else.
    #[serde(with = "compact::optional")]
    pub delay: Option<Duration>,
    /// Answers with this status, in the API's own shape.
    pub status: Option<u16>,
    /// With `status`: this body instead of the API's own. A string is sent as it is.
    pub body: Option<Value>,
    /// With `status`: the value of `Retry-After`, seconds or a date or nonsense.
    #[serde(deserialize_with = "text_or_number")]
    pub retry_after: Option<String>,
    /// Another fault than a status.
    pub fault: Option<Fault>,
    /// The call takes effect although its answer is replaced.
    pub applied: bool,
}

impl Rule {
    /// Calls are answered with this status.
    pub fn status(status: u16) -> Self {
        Rule {
            status: Some(status),
            ..Rule::default()
        }
    }

    /// Calls meet this fault.
    pub fn fault(fault: Fault) -> Self {
        Rule {
            fault: Some(fault),
            ..Rule::default()
        }
    }

    /// Calls wait so long, then are answered as ever.
    pub fn delay(delay: Duration) -> Self {
        Rule {
            delay: Some(delay),
            ..Rule::default()
        }
    }

    /// Only for calls of this user.
    pub fn user(self, user: impl Into<User>) -> Self {
        Rule {
            user: Some(user.into()),
            ..self
        }
    }

    /// For logins instead of updates.
    pub fn logins(self) -> Self {
        Rule {
            on: On::Logins,
            ..self
        }
    }

    /// Only for the next so many calls.
    pub fn times(self, times: u32) -> Self {
        Rule {
            times: Some(times),
            ..self
        }
    }

    /// Only for this share of the calls, from 0 to 1.
    pub fn probability(self, probability: f64) -> Self {
        Rule {
            probability: Some(probability),
            ..self
        }
    }

    /// With this body (a string is sent as it is) if the rule sets a status.
    pub fn body(self, body: impl Into<Value>) -> Self {
        Rule {
            body: Some(body.into()),
            ..self
        }
    }

    /// With this `Retry-After` if the rule sets a status.
    pub fn retry_after(self, value: impl ToString) -> Self {
        Rule {
            retry_after: Some(value.to_string()),
            ..self
        }
    }

    /// After waiting so long.
    pub fn after(self, delay: Duration) -> Self {
        Rule {
            delay: Some(delay),
            ..self
        }
    }

    /// The call takes effect all the same.
    pub fn applied(self) -> Self {
        Rule {
            applied: true,
            ..self
        }
    }

    /// The mistake in the rule, if it makes no sense.
    pub(super) fn mistake(&self) -> Option<&'static str> {
        if self.status.is_some() && self.fault.is_some() {
            return Some("give `status` or `fault`, not both");
        }
        if self.status.is_none() && self.fault.is_none() && self.delay.is_none() {
            return Some("say what goes wrong: `status`, `fault` or `delay`");
        }
        if self.status.is_none() && (self.body.is_some() || self.retry_after.is_some()) {
            return Some("`body` and `retry_after` go with a `status`");
        }
        if self
            .status
            .is_some_and(|status| !(200..=999).contains(&status))
        {
            return Some("`status` is a number from 200 to 999");
        }
        if self.times == Some(0) {
            return Some("`times` is at least 1");
        }
        if self
            .probability
            .is_some_and(|share| !(0.0..=1.0).contains(&share))
        {
            return Some("`probability` is a number from 0 to 1");
        }
        if self
            .retry_after
            .as_ref()
            .is_some_and(|value| hyper::header::HeaderValue::from_str(value).is_err())
        {
            return Some("`retry_after` holds a character that no header may hold");
        }
        None
    }

    fn applies(&self, on: On, user: Option<&User>, kept: bool) -> bool {
        (kept || self.fault != Some(Fault::ResetKept))
            && self.on == on
            && self.user.as_ref().is_none_or(|only| Some(only) == user)
            && self.probability.is_none_or(|share| fastrand::f64() < share)
    }
}

/// The rules in force, each with its number.
#[derive(Default)]
pub(super) struct Faults {
    rules: Vec<(u64, Rule)>,
    next: u64,
}

impl Faults {
    /// Adds a rule and returns its number.
    pub(super) fn add(&mut self, rule: Rule) -> u64 {
        self.next += 1;
        self.rules.push((self.next, rule));
        self.next
    }

    /// Takes one rule back; whether it was still there.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        let before = self.rules.len();
        self.rules.retain(|(other, _)| *other != number);
        self.rules.len() < before
    }

    /// Takes all rules back.
    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules still in force, `times` counted down.
    pub(super) fn list(&self) -> &[(u64, Rule)] {
        &self.rules
    }

    /// The rule that decides this call, counted as used. `kept`: its connection has carried others.
    pub(super) fn take(&mut self, on: On, user: Option<&User>, kept: bool) -> Option<Rule> {
        let at = self
            .rules
            .iter()
            .position(|(_, rule)| rule.applies(on, user, kept))?;
        let rule = &mut self.rules[at].1;
        let taken = rule.clone();
        if let Some(times) = &mut rule.times {
            *times -= 1;
            if *times == 0 {
                self.rules.remove(at);
            }
        }
        Some(taken)
    }
}

/// `Retry-After` may be given as `5` or as `"5"`.
fn text_or_number<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    match Option::<Value>::deserialize(value)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(serde::de::Error::custom(
            "`retry_after` is a number of seconds or a string",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Rule {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_first_rule_that_applies_decides_as_often_as_it_may() {
        let mut faults = Faults::default();
        faults.add(Rule::status(503).user(52).times(2));
        let everyone = faults.add(Rule::status(500));
        let mut take = |user| faults.take(On::Updates, Some(&User::Number(user)), true);
        let mut status = |user| take(user).and_then(|rule| rule.status);
        assert_eq!(
            [status(52), status(7), status(52), status(52)],
            [Some(503), Some(500), Some(503), Some(500)]
        );
        assert!(faults.take(On::Logins, None, true).is_none());
        assert!(faults.remove(everyone) && !faults.remove(everyone));
        assert!(
            faults
                .take(On::Updates, Some(&User::Number(7)), true)
                .is_none()
        );
    }

    #[test]
    fn a_rule_is_written_as_flat_json() {
        let written = rule(r#"{"user":52,"status":503,"times":3,"retry_after":5}"#);
        assert_eq!(written, Rule::status(503).user(52).times(3).retry_after(5));
        assert_eq!(
            rule(r#"{"fault":"half_close","delay":"250ms"}"#).delay,
            Some(Duration::from_millis(250))
        );
        assert!(serde_json::from_str::<Rule>(r#"{"stauts":503}"#).is_err());
    }

    #[test]
    fn a_rule_without_sense_is_refused() {
        let wrong = [
            Rule::default(),
            Rule {
                fault: Some(Fault::Hang),
                ..Rule::status(500)
            },
            Rule::fault(Fault::Reset).retry_after(1),
            Rule::status(99),
            Rule::status(500).times(0),
            Rule::status(500).probability(1.5),
            Rule::status(500).retry_after("a\nb"),
        ];
        for wrong in wrong {
            assert!(wrong.mistake().is_some(), "{wrong:?}");
        }
        assert_eq!(Rule::status(429).retry_after("soon").mistake(), None);
    }

    #[test]
    fn a_probability_hits_its_share() {
        let mut faults = Faults::default();
        faults.add(Rule::status(500).probability(0.25));
        let mut take = || faults.take(On::Updates, Some(&User::Number(1)), true);
        let hits = (0..10_000).filter(|_| take().is_some()).count();
        assert!((2_000..3_000).contains(&hits), "{hits}");
    }
}
