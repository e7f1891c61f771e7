//! The oracle: what must be true of every call, every commit, and in the end.

use std::time::Instant;

use engine::checkpoint::{Checkpoint, MAX_TEXT};
use engine::verdict::{Reason, Verdict};
use engine::{Batch, Commit, End, Ending, Engine, Merge};

use super::super::plan::Kind;
use super::pace::may_be_its_own;
use super::{BACKGROUND, Call, Checked, Record, World};

impl World<'_> {
    /// What must be true of a call that starts.
    pub(super) fn check_start(&self, index: usize, run: &[Record]) -> Checked {
        for (at, record) in run.iter().enumerate() {
            self.check_record(index, record)?;
            let joins = |earlier: &Record| {
                record.user == earlier.user
                    && record.offset > earlier.offset
                    && record.may_join(earlier)
            };
            if at > 0 && !(self.merge && run[..at].iter().all(joins)) {
                return Err(format!("{run:?} are sent in one call"));
            }
        }
        self.check_call(index, run)
    }

    fn check_record(&self, index: usize, record: &Record) -> Checked {
        if self.outcome(record).is_some() {
            return Err(format!("{record:?} is called again though it is settled"));
        }
        if self.owner[record.partition as usize].is_none_or(|(owner, _)| owner != index) {
            return Err(format!(
                "{record:?} is called by instance {index}, which does not own it"
            ));
        }
        if self.calm && self.taken[record.partition as usize][record.index] {
            return Err(format!(
                "{record:?} is called again though the API took it, and nothing was lost"
            ));
        }
        Ok(())
    }

    fn check_call(&self, index: usize, run: &[Record]) -> Checked {
        let (now, record) = (self.now, run[run.len() - 1]);
        let in_flight = |call: &&Call| call.done_at > now && !call.cancelled;
        let instance = &self.instances[index];
        if instance.calls.iter().filter(in_flight).count() >= self.max_concurrency {
            return Err(format!("more than {} calls at once", self.max_concurrency));
        }
        if self
            .instances
            .iter()
            .flat_map(|instance| &instance.calls)
            .filter(in_flight)
            .any(|call| call.user() == record.user)
        {
            return Err(format!("two calls at once for user {}", record.user));
        }
        let unsettled = self.log_from(
            record.partition,
            self.committed[record.partition as usize].offset,
        );
        let earlier = unsettled
            .take_while(|earlier| earlier.offset < record.offset)
            .filter(|earlier| run.iter().all(|record| record.offset != earlier.offset))
            .find(|earlier| {
                earlier.user == record.user
                    && self.needs_call(earlier)
                    && !self.was_answered(index, earlier)
            });
        if let Some(earlier) = earlier {
            return Err(format!("{record:?} overtakes {earlier:?}"));
        }
        Ok(())
    }

    /// A memory that is full takes no more, but for one update each time that it asks for it.
    pub(super) fn check_pause(&self, index: usize) -> Checked {
        let instance = &self.instances[index];
        let held = instance.engine.as_ref().map_or(0, Engine::held);
        // Half as many again of users who fail, one each.
        let full = self.max_waiting + (self.max_waiting / 2).max(1);
        if !instance.paused && held >= full && held > instance.held_at_resume {
            return Err(format!("it reads on with {held} records held"));
        }
        Ok(())
    }

    /// Keeps what an answer says of its updates.
    pub(super) fn hear(&mut self, call: &Call) {
        if call.finding.verdict == Verdict::Delivered {
            self.deliveries.push((self.now, call.user()));
        }
        for record in call.run.iter().filter(|_| may_be_its_own(call.finding)) {
            if let Some(tries) = self.tries.get_mut(&(record.partition, record.offset)) {
                tries.failures += 1;
                tries.failed = Some((tries.failed.map_or(self.now, |(first, _)| first), self.now));
            }
        }
    }

    /// The records of a partition from that offset on.
    pub(super) fn log_from(&self, partition: i32, offset: i64) -> impl Iterator<Item = &Record> {
        let log = &self.log[partition as usize];
        log[log.partition_point(|record| record.offset < offset)..].iter()
    }

    pub(super) fn check_commit(&self, partition: i32, commit: &Commit) -> Checked {
        if commit.metadata.len() > MAX_TEXT {
            return Err(format!("a text of {} bytes", commit.metadata.len()));
        }
        let checkpoint = Checkpoint::read(commit).map_err(|unreadable| unreadable.to_string())?;
        // What is below the last commit was looked at then, and an outcome stays.
        let known = commit.offset.min(self.committed[partition as usize].offset);
        for record in self
            .log_from(partition, known)
            .filter(|record| record.kind != Kind::Foreign)
        {
            let open = record.offset >= commit.offset
                && (record.offset >= checkpoint.horizon
                    || checkpoint.open.contains_key(&record.offset));
            if open == self.outcome(record).is_some() {
                let said = if open { "unsettled" } else { "settled" };
                return Err(format!(
                    "{partition}/{} is called {said} by {commit:?}, and is not",
                    record.offset
                ));
            }
        }
        Ok(())
    }

    pub(super) fn needs_call(&self, record: &Record) -> bool {
        !matches!(
            record.kind,
            Kind::Foreign | Kind::Invalid | Kind::Expiring(_)
        ) && self.outcome(record).is_none()
    }

    /// Whether this instance has an ending for that record that is not committed yet.
    pub(super) fn was_answered(&self, index: usize, record: &Record) -> bool {
        let engine = self.instances[index].engine.as_ref();
        engine.is_some_and(|engine| engine.has_ended(record.partition, record.offset))
    }

    /// What must be true in the end.
    pub(super) fn judge(&self) -> Checked {
        for record in self
            .log
            .iter()
            .flatten()
            .filter(|record| record.user < BACKGROUND)
        {
            let end = self.outcome(record);
            let right = match (record.kind, end) {
                (Kind::Foreign, None)
                | (Kind::Rejected, Some(End::Dead(Reason::Rejected)))
                | (Kind::Invalid, Some(End::Dead(Reason::InvalidChanges)))
                | (Kind::Expiring(_), Some(End::Dead(Reason::Expired))) => true,
                (Kind::Good | Kind::Expiring(_), Some(End::Delivered)) => {
                    self.taken[record.partition as usize][record.index]
                }
                (kind, Some(End::Dead(Reason::HeldBack))) => {
                    kind != Kind::Foreign && self.may_be_held_back(record)
                }
                (
                    Kind::Good | Kind::Rejected | Kind::Odd(_) | Kind::Expiring(_),
                    Some(End::Merged { into }),
                ) => self.was_merged(record, into),
                (Kind::Odd(_), Some(End::Dead(Reason::AttemptsExhausted))) => self.earned(record),
                (
                    Kind::Good | Kind::Rejected | Kind::Expiring(_),
                    Some(End::Dead(Reason::AttemptsExhausted)),
                ) => self.earned(record) && self.failed_between_outages(record),
                _ => false,
            };
            if !right {
                let tries = self.tries.get(&(record.partition, record.offset));
                return Err(format!("{record:?} ended as {end:?} after {tries:?}"));
            }
        }
        self.compare_states()
    }

    /// The API took both, and the other one came later.
    fn was_merged(&self, record: &Record, into: i64) -> bool {
        let other = self
            .log_from(record.partition, into)
            .next()
            .filter(|other| other.offset == into && other.offset > record.offset);
        let taken = |record: &Record| self.taken[record.partition as usize][record.index];
        self.ever_merged
            && taken(record)
            && other.is_some_and(|other| other.user == record.user && taken(other))
    }

    /// A merged update is settled no later than the one that carried it: otherwise a crash between
    /// the two would send its values again, over the later ones.
    pub(super) fn check_merged(
        &self,
        ending: &Ending<Record, ()>,
        batch: &Batch<Record, ()>,
    ) -> Checked {
        let (End::Merged { into }, record) = (ending.end, &*ending.update) else {
            return Ok(());
        };
        let together = batch
            .endings
            .iter()
            .any(|other| (other.update.partition, other.update.offset) == (record.partition, into));
        let carrier = self.log_from(record.partition, into).next();
        if !together && carrier.is_some_and(|carrier| self.outcome(carrier).is_some()) {
            return Err(format!(
                "{record:?} is settled after {into}, in which it was merged"
            ));
        }
        Ok(())
    }

    /// No update is settled as delivered before an earlier one of its user: a crash between the two
    /// would send that one again, over the later one.
    pub(super) fn check_first(
        &self,
        ending: &Ending<Record, ()>,
        batch: &Batch<Record, ()>,
    ) -> Checked {
        let record = &*ending.update;
        let together = |earlier: &Record| {
            batch
                .endings
                .iter()
                .any(|other| other.update.offset == earlier.offset)
        };
        let earlier = self.log[record.partition as usize]
            .iter()
            .take_while(|earlier| earlier.offset < record.offset);
        let open = |earlier: &&Record| {
            earlier.user == record.user
                && earlier.kind != Kind::Foreign
                && self.outcome(earlier).is_none()
        };
        let counts =
            record.user < BACKGROUND && matches!(ending.end, End::Delivered | End::Merged { .. });
        match earlier.filter(open).find(|earlier| !together(earlier)) {
            Some(earlier) if counts => Err(format!("{record:?} is settled before {earlier:?}")),
            _ => Ok(()),
        }
    }

    /// An update is given up only after failures enough, and while another user's was delivered.
    pub(super) fn earned(&self, record: &Record) -> bool {
        let Some(tries) = self.tries.get(&(record.partition, record.offset)) else {
            return false;
        };
        let Some((first, last)) = tries.failed else {
            return false;
        };
        let others =
            |(at, user): &(Instant, u64)| *user != record.user && *at >= first && *at <= last;
        tries.failures >= self.plan.max_attempts && self.deliveries.iter().any(others)
    }

    /// One outage never makes an end of an update that the API would take. Two can look like the
    /// update's own fault, if it is called in both of them, and others are between.
    fn failed_between_outages(&self, record: &Record) -> bool {
        self.tries
            .get(&(record.partition, record.offset))
            .is_some_and(|tries| tries.outages.len() > 1)
    }

    /// An outcome tells no call that was not made; and all that were, whoever made them, where
    /// nothing was lost and the text had room.
    pub(super) fn check_attempts(&self, ending: &Ending<Record, ()>) -> Checked {
        let record = &*ending.update;
        let calls = self
            .tries
            .get(&(record.partition, record.offset))
            .map_or(0, |tries| tries.calls);
        let told = ending.spent.calls;
        let right = if self.calm {
            told == calls
        } else {
            told <= calls && (told > 0 || ending.end != End::Delivered)
        };
        if record.user < BACKGROUND && !right {
            return Err(format!(
                "{record:?} was called {calls} times, and its outcome says {told}"
            ));
        }
        Ok(())
    }

    /// The API shows what the delivered updates, applied in the order of the topic, come to.
    pub(super) fn compare_states(&self) -> Checked {
        for ((user, field), shown) in &self.applied {
            let delivered = |record: &&Record| {
                record.user == *user
                    && record.fields & field != 0
                    && matches!(
                        self.outcome(record),
                        Some(End::Delivered | End::Merged { .. })
                    )
            };
            // All updates of one user are in one partition.
            let last = self.log[shown.partition as usize]
                .iter()
                .filter(delivered)
                .map(|record| record.offset)
                .max();
            // A call whose answer was lost may have been made, and its update have been given up
            // since: the API shows it all the same. So may a merged call, and one of its updates be
            // rejected when it is sent again by itself.
            let given_up = match self.outcome(shown) {
                Some(End::Dead(Reason::Expired | Reason::AttemptsExhausted | Reason::HeldBack)) => {
                    true
                }
                Some(End::Dead(Reason::Rejected)) => self.ever_merged,
                _ => false,
            };
            if last.is_some_and(|last| last != shown.offset && !(given_up && shown.offset > last)) {
                return Err(format!(
                    "field {field} of user {user} shows {shown:?}, though {last:?} was delivered last"
                ));
            }
        }
        Ok(())
    }
}
