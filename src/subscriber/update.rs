//! An update: a record that a subscriber has claimed, with everything needed to call for it, settle
//! it, or dead-letter it.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memchr::memchr;
use memchr::memmem::{self, Finder};
use uuid::Uuid;

use crate::api::{Api, Changes};
use crate::http::attempt;
use crate::kafka::ClaimFilter;
use crate::model::dead_letter::REPLAY_OF;
use crate::model::event::{self, Event, Identity, InvalidChanges, TraceContext};
use crate::model::outcome;
use crate::model::record::Record;
use crate::model::route::{self, Router};
use crate::model::user::{UserId, UserValue};
use crate::subscriber::lane_key::LaneKeys;
use crate::telemetry::traces::{Arrived, DeliverSpan};
use engine::verdict::Reason;
use engine::{Merge, Work};

/// A claimed record.
pub struct Update {
    /// The record as it came.
    pub record: Record,
    /// Who sent it, as far as known.
    pub identity: Identity,
    /// The user, where known.
    pub user: Option<UserId>,
    /// The names of the fields that it would change, if nothing can be sent and they are known.
    pub refused_fields: Option<Vec<String>>,
    /// The API to send it to. `None` where there is none.
    pub api: Option<&'static Api>,
    /// The trace that the record belongs to.
    pub trace: Option<TraceContext>,
    /// Its span, where traces are sent.
    pub span: OnceLock<Box<DeliverSpan>>,
    /// What to send. `None` where nothing can be sent.
    pub call: Option<attempt::Update>,
    /// Why nothing can be sent, in words.
    pub problem: Option<String>,
    /// What the engine is to do with it.
    pub work: Work,
    /// When it was read.
    pub received_at: Timestamp,
    /// When the first call was made for it in this process.
    pub first_attempt_at: OnceLock<Timestamp>,
}

impl Update {
    /// The place in a trace that its outcome and its log line have: its span's where there is one,
    /// else what came with the record.
    pub fn trace(&self) -> Option<Cow<'_, TraceContext>> {
        match self.span.get() {
            Some(span) => Some(Cow::Owned(span.context())),
            None => self.trace.as_ref().map(Cow::Borrowed),
        }
    }

    /// Its arrival at the subscriber of that group and name, for a span.
    pub fn arrived<'a>(&'a self, group: &'a str, target: &'a str) -> Arrived<'a> {
        Arrived {
            group,
            target,
            place: &self.record.place,
            identity: &self.identity,
            user: self.user_value(),
            trace: self.trace.as_ref(),
            received_at: self.received_at.into(),
        }
    }

    /// The user as its API has it in JSON, if known.
    pub fn user_value(&self) -> Option<UserValue> {
        let form = self.api.map(|api| api.id_form);
        self.user.as_ref().map(|user| user.value(form))
    }

    /// The same, as a line of the log takes it.
    pub fn logged_user(&self) -> Option<Box<dyn tracing::Value>> {
        Some(match self.user_value()? {
            UserValue::Number(number) => Box::new(number),
            UserValue::Text(text) => Box::new(text),
        })
    }

    /// The names of the fields that it changes, if known.
    pub fn fields(&self) -> Option<Vec<String>> {
        match &self.call {
            Some(call) => Some(call.changes.names().map(str::to_owned).collect()),
            None => self.refused_fields.clone(),
        }
    }

    /// Memory that it takes, in bytes: the record, and everything read out of it.
    pub fn size(&self) -> usize {
        let Identity {
            id,
            source,
            event_type,
        } = &self.identity;
        let texts = [id, source, event_type, &self.problem]
            .into_iter()
            .flatten()
            .chain(self.refused_fields.iter().flatten());
        let texts = texts
            .map(|text| size_of::<String>() + text.len())
            .sum::<usize>();
        let changes = self.call.as_ref().map_or(0, |call| call.changes.size());
        let ids = self.user.as_ref().map_or(0, UserId::size);
        let own = size_of::<Self>() - size_of::<Record>();
        self.record.size() + own + texts + changes + ids + BOOKKEEPING
    }

    /// When its record was written, in milliseconds since 1970, as far as that can be believed.
    pub fn written_ms(&self) -> i64 {
        self.record.written_ms(self.received_at.as_millisecond())
    }

    /// What to send where earlier updates of the same user are sent in the same call, the first
    /// first.
    pub fn call_with(&self, merged: &[Arc<Update>]) -> Option<attempt::Update> {
        let calls = || {
            merged
                .iter()
                .map(|update| &**update)
                .chain([self])
                .filter_map(|update| update.call.as_ref())
        };
        let keys: Vec<_> = calls()
            .map(|call| call.idempotency_key.to_string())
            .collect();
        Some(attempt::Update {
            user: self.call.as_ref()?.user.clone(),
            changes: Changes::merged(calls().map(|call| &call.changes)),
            // One of its own: each of the updates may still have to be sent by itself.
            idempotency_key: Uuid::new_v5(&Uuid::NAMESPACE_URL, keys.join(",").as_bytes()),
        })
    }
}

impl Merge for Update {
    fn may_join(&self, earlier: &Self) -> bool {
        let replayed = |update: &Update| update.record.header_text(REPLAY_OF).is_some();
        let (Some(api), Some(call), Some(before)) = (self.api, &self.call, &earlier.call) else {
            return false;
        };
        // Two users may share a lane.
        call.user == before.user
            && !replayed(self)
            && !replayed(earlier)
            && api.may_merge(&before.changes, &call.changes)
    }
}

/// Memory that the engine takes for an update, at the most (its entry, lane and place in the
/// ledger), in bytes.
const BOOKKEEPING: usize = 540;

/// Decides which records are one subscriber's, and reads them.
pub struct Claims {
    /// The service's group id, without the target.
    pub group_id: String,
    /// The subscriber's name: a target, or `unclaimed`.
    pub subscriber: String,
    /// The target's API; `None` for `unclaimed`, which takes what no target does.
    pub api: Option<&'static Api>,
    /// Knows all configured targets.
    pub router: Arc<Router>,
    /// The name as JSON writes it, where only an event that names this target can be its own.
    named: Option<Finder<'static>>,
    lanes: LaneKeys,
}

impl Claims {
    /// What belongs to that subscriber of that group. `api` is `None` for `unclaimed`.
    pub fn new(
        group_id: String,
        subscriber: String,
        api: Option<&'static Api>,
        router: Arc<Router>,
    ) -> Self {
        let only_named = api.is_some() && !router.leads_to(&subscriber);
        let named = only_named.then(|| Finder::new(&format!("\"{subscriber}\"")).into_owned());
        Claims {
            group_id,
            subscriber,
            api,
            router,
            named,
            lanes: LaneKeys::default(),
        }
    }
}

impl ClaimFilter<Update> for Claims {
    /// Most records of other targets are told apart without being read: none of ours lacks our
    /// name, unless its JSON is written in escapes or packed in Base64.
    fn may_claim(&self, value: Option<&[u8]>) -> bool {
        let (Some(named), Some(value)) = (&self.named, value) else {
            return self.named.is_none();
        };
        named.find(value).is_some()
            || memchr(b'\\', value).is_some()
            || memmem::find(value, b"data_base64").is_some()
    }

    /// The update in the record, if it is this subscriber's.
    fn claim(&self, record: Record) -> Option<Box<Update>> {
        let outcome_id = || outcome::outcome_id(&self.group_id, &self.subscriber, &record.place);
        let claimed = match event::decode(&record) {
            Ok(event) => match (self.router.claim(&event), self.api) {
                (route::Claim::Target(target), Some(api)) if target == self.subscriber => {
                    self.ours(outcome_id(), event, api)
                }
                (route::Claim::Unroutable { message }, None) => Claimed {
                    // It belongs to no user's lane: an id means nobody without its target.
                    user: event.any_user_id(),
                    refused_fields: refused_fields(&event),
                    ..Claimed::dead(event.identity, Reason::Unroutable, message)
                },
                _ => return None,
            },
            Err(undecodable) if self.api.is_none() => Claimed::dead(
                undecodable.identity,
                Reason::Undecodable,
                undecodable.message,
            ),
            Err(_) => return None,
        };
        let Claimed {
            identity,
            user,
            refused_fields,
            call,
            problem,
            work,
        } = claimed;
        let received_at = Timestamp::now();
        Some(Box::new(Update {
            trace: TraceContext::of(&record),
            span: OnceLock::new(),
            record,
            identity,
            user,
            refused_fields,
            api: self.api,
            call,
            problem,
            work,
            received_at,
            first_attempt_at: OnceLock::new(),
        }))
    }
}

impl Claims {
    fn ours(&self, outcome_id: Uuid, event: Event, api: &'static Api) -> Claimed {
        let (user, changes) = match valid(&event, api) {
            Ok(valid) => valid,
            Err(invalid) => {
                let user = event.user_id(api.id_form).ok();
                let reason = Reason::InvalidChanges;
                return Claimed {
                    work: Work::Dead {
                        user: user.as_ref().map(|user| self.lanes.key(user)),
                        reason,
                    },
                    user,
                    refused_fields: refused_fields(&event),
                    ..Claimed::dead(event.identity, reason, invalid.message)
                };
            }
        };
        Claimed {
            work: Work::Call {
                user: self.lanes.key(&user),
                expires_at: event.expires_at.map(instant),
            },
            user: Some(user.clone()),
            refused_fields: None,
            call: Some(attempt::Update {
                user,
                changes,
                idempotency_key: outcome_id,
            }),
            problem: None,
            identity: event.identity,
        }
    }
}

/// The user and the changes of an event, if that API takes them.
///
/// # Errors
/// The first thing about user and changes that it does not take.
pub fn valid(event: &Event, api: &'static Api) -> Result<(UserId, Changes), InvalidChanges> {
    let user = event.user_id(api.id_form)?;
    let changes = api.validate(event.changes()?)?;
    Ok((user, changes))
}

/// An update without what every record has.
struct Claimed {
    identity: Identity,
    user: Option<UserId>,
    refused_fields: Option<Vec<String>>,
    call: Option<attempt::Update>,
    problem: Option<String>,
    work: Work,
}

impl Claimed {
    /// Of nobody, as far as known.
    fn dead(identity: Identity, reason: Reason, problem: String) -> Self {
        Claimed {
            identity,
            user: None,
            refused_fields: None,
            call: None,
            problem: Some(problem),
            work: Work::Dead { user: None, reason },
        }
    }
}

/// The names of the fields that it would change, if any are known.
fn refused_fields(event: &Event) -> Option<Vec<String>> {
    Some(event.fields()).filter(|fields| !fields.is_empty())
}

/// The point in time on the clock that the engine reckons by.
fn instant(time: Timestamp) -> Instant {
    let left = time.duration_since(Timestamp::now());
    let now = Instant::now();
    match Duration::try_from(left) {
        // Centuries are cut to a length that the clock can add.
        Ok(left) => now + left.min(Duration::from_secs(100 * 365 * 86_400)),
        Err(_) => now,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use globset::Glob;
    use serde_json::{Value, json};

    use super::*;
    use crate::api;
    use crate::model::record::{Header, Place};
    use crate::model::route::Route;

    fn claim(offset: i64, changes: &Value, more: Option<Header>) -> Arc<Update> {
        claim_of(52, offset, changes, more)
    }

    /// The record at that offset, of an update of that user.
    pub(in crate::subscriber) fn record(
        user: u64,
        offset: i64,
        changes: &Value,
        more: Option<Header>,
    ) -> Record {
        let event = json!({
            "specversion": "1.0", "id": offset.to_string(), "source": "/tests", "type": "com.example.tests",
            "data": { "target": "valt", "user": user, "changes": changes },
        });
        Record {
            place: Place {
                topic: "user-updates".into(),
                partition: 0,
                offset,
            },
            key: None,
            value: Some(event.to_string().into_bytes()),
            timestamp_ms: None,
            headers: [Header::text("content-type", "application/cloudevents+json")]
                .into_iter()
                .chain(more)
                .collect(),
            verbatim_headers: None,
        }
    }

    fn claim_of(user: u64, offset: i64, changes: &Value, more: Option<Header>) -> Arc<Update> {
        let router = Router::new(vec!["valt".to_owned()], Vec::new());
        Claims::new(
            "user-courier".to_owned(),
            "valt".to_owned(),
            api::by_name("valt"),
            Arc::new(router),
        )
        .claim(record(user, offset, changes, more))
        .unwrap()
        .into()
    }

    #[test]
    fn in_a_merged_call_the_later_value_of_a_field_wins_and_the_key_is_its_own() {
        let first = claim(1, &json!({ "display_name": "first", "rooms": [1] }), None);
        let second = claim(
            2,
            &json!({ "display_name": "second", "video_access": { "users": [1] } }),
            None,
        );
        let last = claim(3, &json!({ "display_name": "last", "user_group": 4 }), None);
        let call = last.call_with(&[first.clone(), second.clone()]).unwrap();
        let expected = json!({ "display_name": "last", "rooms": [1], "video_access": { "users": [1] }, "user_group": 4 });
        assert_eq!(*call.changes.body(), *expected.to_string().as_bytes());
        let keys = [&first, &second, &last]
            .map(|update| update.call.as_ref().unwrap().idempotency_key.to_string());
        assert_eq!(
            call.idempotency_key,
            Uuid::new_v5(&Uuid::NAMESPACE_URL, keys.join(",").as_bytes())
        );
        let others = [
            last.call_with(&[second.clone(), first.clone()]),
            last.call_with(&[second]),
            last.call_with(&[first]),
        ];
        let keys = others.map(|call| call.unwrap().idempotency_key);
        assert!(
            !keys.contains(&call.idempotency_key),
            "other updates, or in another order, have another key"
        );
    }

    #[test]
    fn a_second_password_and_a_replayed_update_do_not_join() {
        let password = |offset| claim(offset, &json!({ "password": "a-Canary-1" }), None);
        let name = claim(3, &json!({ "display_name": "a" }), None);
        let replayed = claim(
            4,
            &json!({ "display_name": "b" }),
            Some(Header::text(REPLAY_OF, "user-update-dead-letters/0/1")),
        );
        assert!(name.may_join(&password(1)) && password(2).may_join(&name));
        assert!(!password(2).may_join(&password(1)));
        assert!(!replayed.may_join(&name) && !name.may_join(&replayed));
    }

    #[test]
    fn updates_of_two_users_never_join_even_in_one_lane() {
        let name = json!({ "display_name": "a" });
        let [anna, bert] = [52, 53].map(|user| claim_of(user, 1, &name, None));
        assert!(claim_of(52, 2, &name, None).may_join(&anna));
        assert!(!claim_of(52, 2, &name, None).may_join(&bert));
    }

    #[test]
    fn what_is_passed_over_unread_is_never_ours() {
        let packed = BASE64_STANDARD.encode(r#"{"target":"valt"}"#);
        let router = |routes| {
            Arc::new(Router::new(
                vec!["valt".to_owned(), "aipix".to_owned()],
                routes,
            ))
        };
        let route = Route {
            source: None,
            event_type: Some(Glob::new("*").unwrap().compile_matcher()),
            target: "valt".to_owned(),
        };
        let claims = |name: &str, router| {
            Claims::new("g".to_owned(), name.to_owned(), api::by_name(name), router)
        };
        let valt = claims("valt", router(Vec::new()));
        for (value, may) in [
            (r#"{"data":{"target":"valt"}}"#, true),
            (r#"{"data":{"target":"\u0076alt"}}"#, true),
            (&format!(r#"{{"data_base64":"{packed}"}}"#), true),
            (r#"{"data":{"target":"aipix","x":"valt2"}}"#, false),
            (r#"{"data":{}}"#, false),
        ] {
            assert_eq!(valt.may_claim(Some(value.as_bytes())), may, "{value}");
            for all in [
                claims("unclaimed", router(Vec::new())),
                claims("valt", router(vec![route.clone()])),
            ] {
                assert!(
                    all.may_claim(Some(value.as_bytes())) && all.may_claim(None),
                    "{value}"
                );
            }
        }
        assert!(!valt.may_claim(None));
    }
}
