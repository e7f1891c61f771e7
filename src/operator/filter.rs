//! The filter: which dead letters are spoken of.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::model::dead_letter::DeadLetter;
use crate::model::event::{UserId, parse_time};
use engine::verdict::Reason;

/// Which dead letters are wanted. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Letters of this target, or `unclaimed`.
    pub target: Option<String>,
    /// Letters with this reason.
    pub reason: Option<Reason>,
    /// Letters of this user.
    pub user: Option<UserId>,
    /// Letters given up then or later.
    pub since: Option<Timestamp>,
    /// Letters given up then or earlier.
    pub until: Option<Timestamp>,
    /// Also those that were replayed or superseded.
    pub all: bool,
}

impl Filter {
    /// Whether the dead letter is wanted; whether it is open is asked elsewhere.
    pub fn takes(&self, letter: &DeadLetter) -> bool {
        let user = letter.user.as_ref();
        self.fits(&letter.target, letter.reason, user, letter.failed_at)
    }

    /// The same by what it asks for.
    pub fn fits(
        &self,
        target: &str,
        reason: Reason,
        user: Option<&UserId>,
        failed_at: Timestamp,
    ) -> bool {
        self.target.as_ref().is_none_or(|wanted| wanted == target)
            && self.reason.is_none_or(|wanted| wanted == reason)
            && (self.user.is_none() || self.user.as_ref() == user)
            && self.since.is_none_or(|since| since <= failed_at)
            && self.until.is_none_or(|until| failed_at <= until)
    }

    /// In words, for a log.
    pub fn words(&self) -> String {
        let parts = [
            self.target
                .as_ref()
                .map(|target| format!("target={target}")),
            self.reason
                .map(|reason| format!("reason={}", reason.as_str())),
            self.user.as_ref().map(|user| format!("user={user}")),
            self.since.map(|since| format!("since={since}")),
            self.until.map(|until| format!("until={until}")),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        let of = if parts.is_empty() {
            String::new()
        } else {
            format!(": {}", parts.join(" "))
        };
        format!("{}{of}", if self.all { "all" } else { "all open ones" })
    }
}

/// A point in time as people give it: `2026-11-22T09:00:00Z`, a date (its beginning in UTC), or an
/// age such as `90s`, `30m`, `2h` or `3d`.
///
/// # Errors
/// An explanation, if it is none of these.
pub fn time(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Some(time) = parse_time(text) {
        return Ok(time);
    }
    if let Some(midnight) = text
        .parse::<Date>()
        .ok()
        .filter(|_| text.len() == 10)
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
    {
        return Ok(midnight.timestamp());
    }
    let age = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            _ => return None,
        };
        let number: u32 = number
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| number.parse().ok())??;
        now.checked_sub(SignedDuration::from_secs(i64::from(number) * seconds))
            .ok()
    };
    age().ok_or_else(|| "write a time as 2026-11-22T09:00:00Z, a date as 2026-11-22 (midnight UTC), or an age as 30m, 2h or 3d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_dates_and_ages_are_understood() {
        let now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
        for (text, wanted) in [
            ("2026-11-21T10:00:00+01:00", "2026-11-21T09:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("90s", "2026-11-22T08:58:30Z"),
            ("30m", "2026-11-22T08:30:00Z"),
            ("2h", "2026-11-22T07:00:00Z"),
            ("3d", "2026-11-19T09:00:00Z"),
            ("1w", "2026-11-15T09:00:00Z"),
            ("0s", "2026-11-22T09:00:00Z"),
        ] {
            assert_eq!(time(text, now).unwrap().to_string(), wanted, "{text}");
        }
        for wrong in [
            "",
            "h",
            "-2h",
            "+2h",
            "2",
            "2 h",
            "yesterday",
            "2026-13-01",
            "20261122",
            "2026-11-22 09:00",
            "99999999999d",
            "2ü",
        ] {
            assert!(time(wrong, now).is_err(), "{wrong}");
        }
    }
}
