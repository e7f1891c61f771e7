//! The judge: what the service, as it is configured now, would take a record for.

use jiff::Timestamp;

use crate::api::Api;
use crate::config::Config;
use crate::model::event::{self, Event};
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
    /// The event, if it is one.
    pub event: Option<Event>,
    /// The target and user, if a target takes it and the user is known.
    pub lane: Option<TargetUser>,
    /// The parts that it sets ([`Api::parts`]).
    pub parts: Vec<String>,
    /// Why the service would not even call for it: the reason, and an explanation.
    pub problem: Option<(Reason, String)>,
}

/// Reads records as every subscriber does.
pub struct Judge {
    router: Router,
    targets: Vec<(String, &'static Api)>,
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
                .map(|target| (target.name.clone(), target.api))
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
                    event: None,
                    lane: None,
                    parts: Vec::new(),
                    problem,
                };
            }
        };
        let (target, problem) = match self.router.claim(&event) {
            Claim::Unroutable { message } => (None, Some((Reason::Unroutable, message))),
            Claim::Target(name) => (Some(name), self.invalid(name, &event)),
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
        let problem = problem.or_else(|| {
            expired().map(|end| (Reason::Expired, format!("its expirytime passed at {end}")))
        });
        RecordReading {
            event: Some(event),
            lane,
            parts,
            problem,
        }
    }

    /// The target's API, if there is such a target.
    pub fn api(&self, target: &str) -> Option<&'static Api> {
        let mut targets = self.targets.iter();
        targets.find_map(|(name, api)| (name == target).then_some(*api))
    }

    /// The form of ids at that target.
    pub fn id_form(&self, target: &str) -> Option<IdForm> {
        Some(self.api(target)?.id_form)
    }

    /// The user of a dead letter as the target's API has it in JSON.
    pub fn user_value(&self, target: &str, user: Option<&UserId>) -> Option<UserValue> {
        Some(user?.value(self.id_form(target)))
    }

    fn invalid(&self, target: &str, event: &Event) -> Option<(Reason, String)> {
        update::valid(event, self.api(target)?)
            .err()
            .map(|invalid| (Reason::InvalidChanges, invalid.message))
    }
}
