//! Aside: endings that are settled apart from all others, since their topics refuse them or the
//! link is too slow for them. What ends later of the same user waits behind them: if it were
//! settled first, a crash would call the earlier update again after the later one.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use crate::Ticket;
use crate::UserKey;

/// Whose endings keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Who {
    User(UserKey),
    /// Of a record without a user, nothing waits behind it.
    Record(Ticket),
}

/// Why endings are settled apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apart {
    /// Their topics refuse them for now.
    Refused,
    /// One is so large that it did not get through in time, though alone.
    Slow,
}

#[derive(Debug)]
struct Group {
    apart: Apart,
    /// When they are tried again.
    at: Instant,
    /// In their order, never none.
    tickets: VecDeque<Ticket>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Aside {
    groups: HashMap<Who, Group>,
    due: BTreeSet<(Instant, Who)>,
}

impl Aside {
    /// How many endings wait.
    pub(super) fn len(&self) -> usize {
        self.groups.values().map(|group| group.tickets.len()).sum()
    }

    /// When the next of them are tried again.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether what ends of it waits here.
    pub(super) fn holds(&self, who: Who) -> bool {
        self.groups.contains_key(&who)
    }

    /// Another ending, behind those that are there.
    pub(super) fn push_back(&mut self, who: Who, ticket: Ticket) {
        let Some(group) = self.groups.get_mut(&who) else {
            return;
        };
        group.tickets.push_back(ticket);
    }

    /// An ending that was refused, or taken and not settled, before those that are there: all are
    /// tried again then.
    pub(super) fn put_front(&mut self, who: Who, ticket: Ticket, apart: Apart, at: Instant) {
        let group = self.groups.entry(who).or_insert(Group {
            apart,
            at,
            tickets: VecDeque::new(),
        });
        self.due.remove(&(group.at, who));
        (group.apart, group.at) = (apart, at);
        group.tickets.push_front(ticket);
        self.due.insert((at, who));
    }

    /// Takes endings whose time has come, all of the first one's kind, each group's in their order,
    /// as long as `fits` says so.
    pub(super) fn take(
        &mut self,
        now: Instant,
        mut fits: impl FnMut(Apart, Ticket) -> bool,
    ) -> Option<(Apart, Vec<Ticket>)> {
        let due: Vec<_> = self
            .due
            .iter()
            .take_while(|(at, _)| *at <= now)
            .copied()
            .collect();
        let apart = self.groups.get(&due.first()?.1)?.apart;
        let mut taken = Vec::new();
        for (at, who) in due {
            let Some(group) = self
                .groups
                .get_mut(&who)
                .filter(|group| group.apart == apart)
            else {
                continue;
            };
            while let Some(ticket) = group.tickets.pop_front_if(|ticket| fits(apart, *ticket)) {
                taken.push(ticket);
            }
            if !group.tickets.is_empty() {
                break;
            }
            self.groups.remove(&who);
            self.due.remove(&(at, who));
        }
        Some((apart, taken))
    }

    /// Those are gone of which `stays` says no.
    pub(super) fn retain(&mut self, stays: impl Fn(&Ticket) -> bool) {
        self.groups.retain(|who, group| {
            group.tickets.retain(&stays);
            !group.tickets.is_empty() || !self.due.remove(&(group.at, *who))
        });
    }

    /// Groups with an ending of which `is_urgent` says yes are tried now.
    pub(super) fn hurry(&mut self, now: Instant, is_urgent: impl Fn(&Ticket) -> bool) {
        for (who, group) in &mut self.groups {
            if group.at > now && group.tickets.iter().any(&is_urgent) {
                self.due.remove(&(group.at, *who));
                group.at = now;
                self.due.insert((now, *who));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn user(number: u64) -> Who {
        Who::User(UserKey(number))
    }

    #[test]
    fn what_ends_later_of_a_user_waits_behind_what_was_refused() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let mut aside = Aside::default();
        aside.put_front(user(1), Ticket(7), Apart::Refused, later);
        aside.push_back(user(1), Ticket(9));
        aside.put_front(Who::Record(Ticket(8)), Ticket(8), Apart::Slow, later);
        assert_eq!(
            (aside.len(), aside.holds(user(1)), aside.holds(user(2))),
            (3, true, false)
        );
        assert!(aside.take(start, |_, _| true).is_none());
        assert_eq!(
            aside.take(later, |_, ticket| ticket != Ticket(9)),
            Some((Apart::Refused, vec![Ticket(7)]))
        );
        assert_eq!(
            aside.take(later, |_, _| true),
            Some((Apart::Refused, vec![Ticket(9)]))
        );
        // Both are being settled, and are not.
        assert!(!aside.holds(user(1)));
        aside.put_front(user(1), Ticket(9), Apart::Refused, later);
        aside.put_front(user(1), Ticket(7), Apart::Refused, later);
        aside.push_back(user(1), Ticket(10));
        let mut taken = [
            aside.take(later, |_, _| true).unwrap(),
            aside.take(later, |_, _| true).unwrap(),
        ];
        taken.sort_by_key(|(_, tickets)| tickets.len());
        assert_eq!(taken[0], (Apart::Slow, vec![Ticket(8)]));
        assert_eq!(
            taken[1],
            (Apart::Refused, vec![Ticket(7), Ticket(9), Ticket(10)])
        );
        assert_eq!((aside.len(), aside.next_at()), (0, None));
    }

    #[test]
    fn what_is_urgent_is_tried_at_once() {
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let mut aside = Aside::default();
        aside.put_front(user(1), Ticket(7), Apart::Refused, later);
        aside.push_back(user(1), Ticket(8));
        aside.hurry(start, |ticket| *ticket == Ticket(9));
        assert_eq!(aside.next_at(), Some(later));
        aside.hurry(start, |ticket| *ticket == Ticket(8));
        assert_eq!(
            aside.take(start, |_, _| true),
            Some((Apart::Refused, vec![Ticket(7), Ticket(8)]))
        );
    }
}
