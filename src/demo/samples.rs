//! Samples: the update events that the demo sends.

use serde_json::{Map, Value, json};

use crate::config::UNCLAIMED;
use crate::model::record::Header;

/// The target that plays aipix VMS.
pub(super) const AIPIX: &str = "aipix";
/// The target that plays VALT.
pub(super) const VALT: &str = "valt";
/// The target that plays an identity system, by SCIM.
pub(super) const DIRECTORY: &str = "directory";
/// The targets.
pub(super) const TARGETS: [&str; 3] = [AIPIX, VALT, DIRECTORY];
/// Every subscriber, in the order of the table.
pub(super) const SUBSCRIBERS: [&str; 4] = [AIPIX, VALT, DIRECTORY, UNCLAIMED];
/// A permission that the stand-in for aipix does not know.
pub(super) const NO_PERMISSION: i64 = 999;
/// A user that no stand-in knows.
pub(super) const NOBODY: u64 = 404;
/// The first user, of all targets.
pub(super) const FIRST_USER: u64 = 52;

/// The id of a user at a target, as its API has it.
pub(super) fn id_at(target: &str, user: u64) -> String {
    if target == DIRECTORY {
        format!("employee/{user}")
    } else {
        user.to_string()
    }
}

/// One event as it is sent, and what its ending is held against.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) key: String,
    pub(super) headers: Vec<Header>,
    pub(super) value: Vec<u8>,
    /// The subscriber that must settle it.
    pub(super) subscriber: &'static str,
    /// The id of the user at the target.
    pub(super) user: String,
    pub(super) changes: Map<String, Value>,
}

/// `events` events, the same ones each time. Every fortieth is of each kind that cannot be
/// delivered.
pub(super) fn samples(events: usize) -> Vec<Sample> {
    let mut rng = fastrand::Rng::with_seed(52);
    // Each user gets several updates, so that order means something.
    let users = (events as u64 / 16).clamp(6, 2000);
    let sample = |number| {
        let user = FIRST_USER + rng.u64(..users);
        let target = TARGETS[rng.usize(..TARGETS.len())];
        let changes = match target {
            AIPIX => permissions(&mut rng),
            VALT => profile(number, user, &mut rng),
            _ => entry(number, &mut rng),
        };
        let event = SampleEvent {
            number,
            target,
            user,
            changes,
            expired: number == events / 2,
        };
        match number % 40 {
            3 => event
                .with(AIPIX, json!({ "permissions": [1, NO_PERMISSION] }))
                .structured(),
            11 => SampleEvent {
                user: NOBODY,
                ..event
            }
            .structured(),
            19 => event.with("crm", json!({ "name": "anna" })).structured(),
            27 => event.unreadable(),
            35 => event.with(VALT, json!({ "rooms": "all of them" })).binary(),
            _ if number % 3 == 0 => event.binary(),
            _ => event.structured(),
        }
    };
    (0..events).map(sample).collect()
}

fn permissions(rng: &mut fastrand::Rng) -> Value {
    let permissions: Vec<i64> = (1..=30).filter(|_| rng.u8(..8) == 0).collect();
    json!({ "permissions": permissions })
}

fn profile(number: usize, user: u64, rng: &mut fastrand::Rng) -> Value {
    match rng.u8(..4) {
        0 => {
            json!({ "display_name": format!("User {user} of {number}"), "rooms": [rng.u32(1..50), rng.u32(50..99)] })
        }
        1 => json!({ "card_number": format!("{:08}", rng.u32(..99_999_999)) }),
        2 => {
            json!({ "user_group": rng.u32(1..9), "video_access": { "users": [user], "user_groups": [] } })
        }
        _ => json!({ "display_name": format!("User {user} of {number}") }),
    }
}

/// Attributes of SCIM; null removes one.
fn entry(number: usize, rng: &mut fastrand::Rng) -> Value {
    let title = ["Nurse", "Physician", "Dispatcher"][rng.usize(..3)];
    match rng.u8(..4) {
        0 => json!({ "active": rng.u8(..8) != 0, "title": title }),
        1 => json!({ "title": null }),
        2 => json!({ "emails": [{ "value": format!("{number}@example.com"), "primary": true }] }),
        _ => json!({ "displayName": format!("Zoë Müller, {number}"), "title": title }),
    }
}

struct SampleEvent {
    number: usize,
    target: &'static str,
    user: u64,
    changes: Value,
    expired: bool,
}

impl SampleEvent {
    fn with(self, target: &'static str, changes: Value) -> Self {
        SampleEvent {
            target,
            changes,
            ..self
        }
    }

    /// Billing's events name no target: the route does.
    fn data(&self) -> Value {
        let mut data = json!({ "user": self.user, "changes": self.changes });
        if self.target == DIRECTORY {
            data["user"] = id_at(DIRECTORY, self.user).into();
        }
        if !self.is_billing() {
            data["target"] = self.target.into();
        }
        data
    }

    fn is_billing(&self) -> bool {
        self.target == AIPIX && self.number.is_multiple_of(4)
    }

    fn attributes(&self) -> Vec<(&'static str, String)> {
        let source = if self.is_billing() {
            "/billing/demo"
        } else {
            "/crm/demo"
        };
        let mut attributes = vec![
            ("specversion", "1.0".to_owned()),
            ("id", format!("demo-{}", self.number)),
            ("source", source.to_owned()),
            ("type", "com.example.user.updated".to_owned()),
        ];
        if self.expired {
            attributes.push(("expirytime", "2020-01-01T00:00:00Z".to_owned()));
        }
        attributes
    }

    fn structured(self) -> Sample {
        let mut event: Map<String, Value> = self
            .attributes()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        event.insert("data".to_owned(), self.data());
        let headers = vec![Header::text("content-type", "application/cloudevents+json")];
        let value = Value::Object(event).to_string();
        self.sample(headers, value)
    }

    fn binary(self) -> Sample {
        let mut headers = vec![Header::text("content-type", "application/json")];
        headers.extend(
            self.attributes()
                .into_iter()
                .map(|(name, value)| Header::text(format!("ce_{name}"), value)),
        );
        let value = self.data().to_string();
        self.sample(headers, value)
    }

    fn unreadable(self) -> Sample {
        SampleEvent {
            target: UNCLAIMED,
            ..self
        }
        .sample(Vec::new(), "this is no event".to_owned())
    }

    fn sample(self, headers: Vec<Header>, value: String) -> Sample {
        let subscriber = if TARGETS.contains(&self.target) {
            self.target
        } else {
            UNCLAIMED
        };
        let changes = self.changes.as_object().cloned().unwrap_or_default();
        Sample {
            key: format!("user-{}", self.user),
            headers,
            value: value.into_bytes(),
            subscriber,
            user: id_at(self.target, self.user),
            changes,
        }
    }
}
