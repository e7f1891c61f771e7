//! `protected_users` of `[targets.NAME]`: users for whom no call is ever made.

use std::collections::HashSet;

use crate::api::Api;
use crate::config::section::{Section, quoted};
use crate::model::user::{IdForm, UserId};

/// The users of a target for whom no call is made. None unless set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// First and last of each range, in their order, none of them touching another.
    ranges: Vec<(u64, u64)>,
    /// Ids that are no numbers.
    texts: HashSet<UserId>,
}

impl Protected {
    pub(super) fn read(section: &Section<'_>, api: Option<&'static Api>) -> Self {
        let (mut ranges, mut texts) = (Vec::new(), HashSet::new());
        let form = api.map_or(IdForm::Text, |api| api.id_form);
        for text in section.ids("protected_users").unwrap_or_default() {
            match one(&text, form) {
                Some(One::Range(first, last)) => ranges.push((first, last)),
                Some(One::Text(id)) => drop(texts.insert(id)),
                // What it should be is told with the API, which is a mistake of its own then.
                None if api.is_none() => {}
                None => section.wrong("protected_users", wrong(&text, form)),
            }
        }
        Protected {
            ranges: joined(ranges),
            texts,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.texts.is_empty()
    }

    /// Whether the user is one of them.
    pub fn contains(&self, user: &UserId) -> bool {
        let Some(number) = user.as_number() else {
            return self.texts.contains(user);
        };
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        after > 0 && number <= self.ranges[after - 1].1
    }
}

enum One {
    Range(u64, u64),
    Text(UserId),
}

/// An id, or a range if ids are numbers. Any other id may have a dash in it.
fn one(text: &str, form: IdForm) -> Option<One> {
    if let (IdForm::Number, Some((first, last))) = (form, text.split_once('-')) {
        let number = |text| form.parse(text).ok()?.as_number();
        let (first, last) = (number(first)?, number(last)?);
        return (first <= last).then_some(One::Range(first, last));
    }
    let id = form.parse(text).ok()?;
    Some(match id.as_number() {
        Some(number) => One::Range(number, number),
        None => One::Text(id),
    })
}

fn wrong(text: &str, form: IdForm) -> String {
    let wanted = match form {
        IdForm::Number => {
            "an id of this API, such as 4711, or a range from low to high, such as \"1-99\""
        }
        IdForm::Text => "an id of this API: 1 to 256 characters",
    };
    format!("{} is not {wanted}", quoted(text))
}

/// The same numbers in ranges that do not overlap, in their order.
fn joined(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_may_overlap_and_their_ends_belong_to_them() {
        let protected = Protected {
            ranges: joined(vec![
                (50, 99),
                (1, 10),
                (5, 20),
                (21, 22),
                (60, 70),
                (200, 200),
            ]),
            texts: HashSet::new(),
        };
        assert_eq!(protected.ranges, [(1, 22), (50, 99), (200, 200)]);
        let found = |number| protected.contains(&UserId::number(number).unwrap());
        for (number, expected) in [
            (1, true),
            (22, true),
            (23, false),
            (49, false),
            (50, true),
            (99, true),
            (100, false),
            (199, false),
            (200, true),
            (201, false),
            (i64::MAX as u64, false),
        ] {
            assert_eq!(found(number), expected, "{number}");
        }
    }

    #[test]
    fn a_dash_is_a_range_only_if_ids_are_numbers() {
        assert!(matches!(
            one("1-99", IdForm::Number),
            Some(One::Range(1, 99))
        ));
        assert!(matches!(one(" 7 ", IdForm::Number), Some(One::Range(7, 7))));
        for text in ["99-1", "0-5", "1-", "-1", "a-b", "1-2-3", "anna", "1..9"] {
            assert!(one(text, IdForm::Number).is_none(), "{text}");
        }
        assert!(matches!(one("1-99", IdForm::Text), Some(One::Text(_))));
        assert!(matches!(
            one("4711", IdForm::Text),
            Some(One::Range(4711, 4711))
        ));
    }
}
