//! The judge: what the service, as it is configured now, would take a record for.

use jiff::Timestamp;

use crate::api::{Api, Changes};
use crate::config::{Config, Protected};
use crate::model::event::{self, Event, Identity};
use crate::model::record::Record;
use crate::model::route::{Claim, Router};
use crate::model::user::{IdForm, UserId, UserValue};
use crate::subscriber::update;
use engine::verdict::Reason;

/// The line in which updates wait for each other: a user at a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetUser {
    /// The target.
    pub target: String,
    /// The user's id there.
    pub user: UserId,
}

/// The interpretation of a record.
pub struct RecordReading {
    /// The event; if it is none, its sender, as far as that can be read.
    pub event: Result<Event, Identity>,
    /// The target and user, if a target takes it and the user is known.
    pub lane: Option<TargetUser>,
    /// The call that would be made, if one would.
    pub call: Option<(UserId, Changes)>,
    /// The parts that it sets ([`Api::parts`]).
    pub parts: Vec<String>,
    /// Why the service would not even call for it: the reason, and an explanation.
    pub problem: Option<(Reason, String)>,
}

/// Reads records as every subscriber does.
pub struct Judge {
    router: Router,
    targets: Vec<(String, &'static Api, Protected)>,
}

impl Judge {
    /// A judge for these targets and routes.
    pub fn new(config: &Config) -> Self {
        let names = config
            .targets
            .iter()
            .map(|target| target.name.clone())
            .collect();
        Judge {
            router: Router::new(names, config.routes.clone()),
            targets: config
                .targets
                .iter()
                .map(|target| (target.name.clone(), target.api, target.protected.clone()))
                .collect(),
        }
    }

    /// Looks at a record.
    pub fn read(&self, record: &Record) -> RecordReading {
        let event = match event::decode(record) {
            Ok(event) => event,
            Err(undecodable) => {
                let problem = Some((Reason::Undecodable, undecodable.message));
                return RecordReading {
                    event: Err(undecodable.identity),
                    lane: None,
                    call: None,
                    parts: Vec::new(),
                    problem,
                };
            }
        };
        let (target, call) = match self.router.claim(&event) {
            Claim::Unroutable { message } => (None, Err((Reason::Unroutable, message))),
            Claim::Target(name) => (Some(name), self.call(name, &event)),
        };
        let lane = target.and_then(|target| {
            Some(TargetUser {
                target: target.to_owned(),
                user: event.user_id(self.id_form(target)?).ok()?,
            })
        });
        let api = target.and_then(|target| self.api(target));
        let parts = api.zip(event.changes().ok());
        let parts = parts
            .map(|(api, changes)| api.parts(changes))
            .unwrap_or_default();
        let expired = || event.expires_at.filter(|end| *end <= Timestamp::now());
        let call = call.and_then(|call| match expired() {
            Some(end) => Err((Reason::Expired, format!("its expirytime passed at {end}"))),
            None => Ok(call),
        });
        let (call, problem) = match call {
            Ok(call) => (call, None),
            Err(problem) => (None, Some(problem)),
        };
        RecordReading {
            event: Ok(event),
            lane,
            call,
            parts,
            problem,
        }
    }

    /// The target that takes the event, if one does.
    pub fn target(&self, event: &Event) -> Option<&str> {
        match self.router.claim(event) {
            Claim::Target(name) => Some(name),
            Claim::Unroutable { .. } => None,
        }
    }

    /// The target's API, if there is such a target.
    pub fn api(&self, target: &str) -> Option<&'static Api> {
        let mut targets = self.targets.iter();
        targets.find_map(|(name, api, _)| (name == target).then_some(*api))
    }

    /// The form of ids at that target.
    pub fn id_form(&self, target: &str) -> Option<IdForm> {
        Some(self.api(target)?.id_form)
    }

    /// The user of a dead letter as the target's API has it in JSON.
    pub fn user_value(&self, target: &str, user: Option<&UserId>) -> Option<UserValue> {
        Some(user?.value(self.id_form(target)))
    }

    /// The call that would be made, or why none would.
    fn call(
        &self,
        target: &str,
        event: &Event,
    ) -> Result<Option<(UserId, Changes)>, (Reason, String)> {
        let Some((_, api, protected)) = self.targets.iter().find(|(name, ..)| name == target)
        else {
            return Ok(None);
        };
        let (user, changes) = update::valid(event, api)
            .map_err(|invalid| (Reason::InvalidChanges, invalid.message))?;
        if protected.contains(&user) {
            let words = "its user is among the target's protected_users";
            return Err((Reason::Protected, words.to_owned()));
        }
        Ok(Some((user, changes)))
    }
}
