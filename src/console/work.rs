//! Work: what takes long, such as reading a user's history or a replay. Each piece is a job in a
//! thread of its own, which the page asks about.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::console::gate::GateRefusal;
use crate::console::progress::Progress;
use crate::operator::ReadFailure;

/// Jobs that read at once: each has a thread, and clients of Kafka.
const AT_ONCE: usize = 6;
/// Plans that may wait for a yes beside them. One more, and the oldest is given up: a plan that
/// somebody left open is in nobody's way.
const WAITING: usize = 6;
/// Jobs that are remembered after their end.
const REMEMBERED: usize = 32;
/// How long a plan waits for a yes.
const PATIENCE: Duration = Duration::from_secs(600);

/// All jobs.
pub(super) struct Jobs {
    jobs: Mutex<VecDeque<Arc<Job>>>,
    room: Arc<Semaphore>,
}

/// One of them.
pub(super) struct Job {
    /// The name under which it is asked for. Nobody can guess it.
    pub(super) id: String,
    pub(super) progress: Progress,
    state: Mutex<JobState>,
    /// Its place among those that read. A plan that waits has none, nor has a replay, of which
    /// there is one at a time.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    yes: Mutex<Option<SyncSender<Yes>>>,
    stop: AtomicBool,
}

/// How far a job is.
pub(super) enum JobState {
    /// It reads.
    Running,
    /// The plan is made, and waits for a yes.
    Planned(Value),
    /// The plan is carried out.
    Replaying(Value),
    /// It has ended, with this.
    Done(Value),
    /// It could not be done, in words.
    Failed(String),
}

/// An operator's yes to a plan.
pub(super) struct Yes {
    /// The name that he gave.
    pub(super) operator: String,
    /// The operator's address.
    pub(super) peer: String,
    /// Events a second.
    pub(super) rate: Option<u32>,
}

impl Default for Jobs {
    fn default() -> Self {
        Jobs {
            jobs: Mutex::default(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Jobs {
    /// Begins a job.
    ///
    /// # Errors
    /// If there are too many.
    pub(super) fn begin(
        &self,
        task: impl FnOnce(&Job) -> Result<Value, ReadFailure> + Send + 'static,
    ) -> Result<String, GateRefusal> {
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            let words = "so much is being read already that this would only wait: try again soon";
            return Err(GateRefusal(
                StatusCode::SERVICE_UNAVAILABLE,
                words.to_owned(),
            ));
        };
        let job = Arc::new(Job {
            id: Uuid::new_v4().simple().to_string(),
            progress: Progress::default(),
            state: Mutex::new(JobState::Running),
            place: Mutex::new(Some(place)),
            yes: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let id = job.id.clone();
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: Vec<_> = jobs.iter().filter(|job| job.waits()).collect();
        waiting
            .iter()
            .take((waiting.len() + 1).saturating_sub(WAITING))
            .for_each(|oldest| oldest.cancel());
        jobs.push_back(job.clone());
        if jobs.len() > REMEMBERED
            && let Some(ended) = jobs.iter().position(|job| job.has_ended())
        {
            jobs.remove(ended);
        }
        drop(jobs);
        // The Kafka client's calls block; and what is still being read when the console ends is
        // left behind.
        std::thread::spawn(move || {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task(&job)));
            job.set(match ended {
                Ok(Ok(value)) => JobState::Done(value),
                Ok(Err(failure)) => JobState::Failed(failure.to_string()),
                Err(_) => JobState::Failed(
                    "a panic: please report this, it is a fault of this program".to_owned(),
                ),
            });
            job.leave_place();
        });
        Ok(id)
    }

    /// The job of that number.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn job(&self, id: &str) -> Result<Arc<Job>, GateRefusal> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let found = jobs.iter().find(|job| job.id == id).cloned();
        found.ok_or_else(|| {
            GateRefusal(
                StatusCode::NOT_FOUND,
                "this is not known any more: ask for it again".to_owned(),
            )
        })
    }

    /// Waits until no replay is under way: each ends with the batch that it is at.
    pub(super) async fn drain(&self) {
        let jobs: Vec<_> = self
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect();
        jobs.iter().for_each(|job| job.cancel());
        for job in jobs {
            while matches!(
                *job.state.lock().unwrap_or_else(PoisonError::into_inner),
                JobState::Replaying(_)
            ) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Job {
    /// From now on it is so.
    pub(super) fn set(&self, state: JobState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn leave_place(&self) {
        self.place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn waits(&self) -> bool {
        matches!(
            *self.state.lock().unwrap_or_else(PoisonError::into_inner),
            JobState::Planned(_)
        ) && !self.is_stopped()
    }

    fn has_ended(&self) -> bool {
        matches!(
            *self.state.lock().unwrap_or_else(PoisonError::into_inner),
            JobState::Done(_) | JobState::Failed(_)
        )
    }

    /// Shows the plan and waits for a yes; `None` if that did not come.
    pub(super) fn ask(&self, plan: Value) -> Option<Yes> {
        let (sender, answer): (_, Receiver<Yes>) = sync_channel(1);
        *self.yes.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        // It may have been given up just before.
        if self.is_stopped() {
            return None;
        }
        self.set(JobState::Planned(plan));
        self.leave_place();
        let yes = answer.recv_timeout(PATIENCE).ok();
        self.yes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        yes
    }

    /// Says yes to its plan, once.
    ///
    /// # Errors
    /// If it does not wait for that.
    pub(super) fn say(&self, yes: Yes) -> Result<(), GateRefusal> {
        let sender = self
            .yes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let said = sender.is_some_and(|sender| sender.send(yes).is_ok());
        let words = "this plan waits for no answer any more: make it again";
        if said {
            Ok(())
        } else {
            Err(GateRefusal(StatusCode::CONFLICT, words.to_owned()))
        }
    }

    /// Gives up a plan, or ends a replay after the batch that is under way.
    pub(super) fn cancel(&self) {
        self.stop.store(true, Relaxed);
        self.yes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// Whether it was told to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// For the page.
    pub(super) fn shown(&self) -> Value {
        let (state, result) = match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            JobState::Running => ("running", Value::Null),
            JobState::Planned(plan) => ("planned", plan.clone()),
            JobState::Replaying(plan) => ("replaying", plan.clone()),
            JobState::Done(value) => ("done", value.clone()),
            JobState::Failed(words) => ("failed", json!(words)),
        };
        json!({ "state": state, "progress": self.progress.shown(), "result": result })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits, as whoever asks about a job does, until it is so.
    fn until(condition: impl Fn() -> bool) {
        while !condition() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn plans_that_are_left_open_keep_nobody_out_and_the_oldest_give_way() {
        let work = Jobs::default();
        let plan = || {
            let begun =
                work.begin(|job| Ok(json!({ "given_up": job.ask(json!("the plan")).is_none() })));
            let job = work
                .job(&begun.map_err(|GateRefusal(_, words)| words).unwrap())
                .map_err(|GateRefusal(_, words)| words)
                .unwrap();
            until(|| job.waits() || job.has_ended());
            job
        };
        let plans: Vec<_> = (0..20).map(|_| plan()).collect();
        let (given_up, waiting) = plans.split_at(20 - WAITING);
        until(|| given_up.iter().all(|job| job.has_ended()));
        assert!(waiting.iter().all(|job| job.waits()));
        // A job that reads finds a place, and a plan that waits still takes a yes.
        assert!(work.begin(|_| Ok(Value::Null)).is_ok());
        let yes = || Yes {
            operator: "Olga".to_owned(),
            peer: String::new(),
            rate: None,
        };
        let last = &waiting[WAITING - 1];
        assert!(last.say(yes()).is_ok() && given_up[0].say(yes()).is_err());
        until(|| last.has_ended());
        assert_eq!(last.shown()["result"]["given_up"], false);
    }
}
