//! SCIM 2.0: the answers of RFC 7644 to PATCH, and an authorization server for client credentials
//! on the same port.

use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{ApiServer, Purpose};
use crate::message::{Answer, Request, unescaped};
use crate::state::ServerState;
use crate::user::User;

const TOKEN: &str = "/oauth/token";
const CONFIG: &str = "/scim/v2/ServiceProviderConfig";
const USERS: &str = "/scim/v2/Users/";

const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

const SCIM_JSON: &str = "application/scim+json";

/// A server of SCIM 2.0.
pub(super) struct ScimServer;

impl ApiServer for ScimServer {
    fn name(&self) -> &'static str {
        "scim"
    }

    fn user(&self, id: &str) -> Option<User> {
        (!id.is_empty()).then(|| User::from(id))
    }

    fn purpose(&self, method: &Method, path: &str) -> Purpose {
        let id = path.strip_prefix(USERS).filter(|id| !id.contains('/'));
        match (method, id.and_then(|id| self.user(&unescaped(id)))) {
            (&Method::PATCH, Some(user)) => Purpose::Update(user),
            (&Method::POST, None) if path == TOKEN => Purpose::Login,
            _ => Purpose::Other,
        }
    }

    fn answer(
        &mut self,
        request: &Request,
        purpose: &Purpose,
        state: &mut ServerState,
        now: Instant,
    ) -> Answer {
        let token = request.bearer();
        let is_known = token.is_some_and(|token| state.tokens.knows(token, now));
        match purpose {
            Purpose::Login => login(request, state, now),
            Purpose::Other if request.path() != CONFIG => Answer::page(StatusCode::NOT_FOUND),
            _ if !is_known => self.refusal(StatusCode::UNAUTHORIZED, None),
            Purpose::Other => scim(
                StatusCode::OK,
                &json!({
                    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
                    "patch": { "supported": true },
                }),
            ),
            Purpose::Update(user) if state.settings.users.contains(user) => {
                update(request, user, state)
            }
            Purpose::Update(_) => self.refusal(StatusCode::NOT_FOUND, None),
        }
    }

    fn refusal(&self, status: StatusCode, _: Option<&User>) -> Answer {
        let detail = match status.as_u16() {
            401 => "The token is missing or not valid",
            404 => "There is no such resource",
            _ => status.canonical_reason().unwrap_or("Error"),
        };
        error(status, None, detail)
    }
}

fn scim(status: StatusCode, body: &Value) -> Answer {
    Answer::text(status, SCIM_JSON, body.to_string())
}

fn error(status: StatusCode, scim_type: Option<&str>, detail: &str) -> Answer {
    let mut body = json!({
        "schemas": [ERROR], "status": status.as_u16().to_string(), "detail": detail,
    });
    if let Some(scim_type) = scim_type {
        body["scimType"] = scim_type.into();
    }
    scim(status, &body)
}

/// RFC 6749, 4.4: the account's name and password are the client's id and secret.
fn login(request: &Request, state: &mut ServerState, now: Instant) -> Answer {
    let refused = |status, what: &str| Answer::json(status, &json!({ "error": what }));
    if request.form("grant_type").as_deref() != Some("client_credentials") {
        return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let settings = &state.settings;
    let is_right = request.form("client_id").as_ref() == Some(&settings.username)
        && request.form("client_secret").as_ref() == Some(&settings.password);
    if !is_right || settings.refuse_logins {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let lifetime = settings.token_lifetime;
    let token = state.tokens.issue(now, lifetime);
    let body = json!({
        "access_token": token, "token_type": "Bearer", "expires_in": lifetime.as_secs(),
    });
    Answer::json(StatusCode::OK, &body)
}

fn update(request: &Request, user: &User, state: &mut ServerState) -> Answer {
    let mut fields = state.users.fields(user).cloned().unwrap_or_default();
    if let Err((scim_type, detail)) = patched(request, &mut fields) {
        return error(StatusCode::BAD_REQUEST, Some(scim_type), &detail);
    }
    state.users.replace(user, fields.clone());
    // A password is never returned.
    fields.remove("password");
    fields.insert("schemas".to_owned(), json!([CORE]));
    fields.insert("id".to_owned(), user.to_string().into());
    Answer {
        applied: true,
        ..scim(StatusCode::OK, &Value::Object(fields))
    }
}

/// All operations or none, as RFC 7644 has it.
fn patched(
    request: &Request,
    fields: &mut Map<String, Value>,
) -> Result<(), (&'static str, String)> {
    let syntax = |detail: &str| ("invalidSyntax", detail.to_owned());
    let body = request.json.as_ref().ok_or_else(|| syntax("no JSON"))?;
    if !body["schemas"]
        .as_array()
        .is_some_and(|all| all.contains(&PATCH.into()))
    {
        return Err(syntax("The schema of a PatchOp is missing"));
    }
    let operations = body["Operations"].as_array();
    for operation in operations.ok_or_else(|| syntax("Operations is missing"))? {
        let path = operation["path"].as_str().unwrap_or_default();
        let (name, member) = steps(path)
            .filter(|(name, member)| exists(name, *member))
            .ok_or_else(|| ("invalidPath", format!("There is no attribute {path}")))?;
        match (operation["op"].as_str(), member) {
            (Some("remove"), _) if path == "userName" => {
                return Err(("mutability", "userName is required".to_owned()));
            }
            (Some("remove"), None) => drop(fields.remove(name)),
            (Some("remove"), Some(member)) => {
                if let Some(Value::Object(members)) = fields.get_mut(name) {
                    members.remove(member);
                    if members.is_empty() {
                        fields.remove(name);
                    }
                }
            }
            (Some("replace" | "add"), None) => {
                fields.insert(name.to_owned(), operation["value"].clone());
            }
            (Some("replace" | "add"), Some(member)) => {
                let members = fields.entry(name).or_insert_with(|| json!({}));
                members[member] = operation["value"].clone();
            }
            _ => return Err(syntax("There is no such op")),
        }
    }
    Ok(())
}

/// An attribute, and one of its own if the path names that.
fn steps(path: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = path.strip_prefix(ENTERPRISE) {
        return Some((
            ENTERPRISE,
            if rest.is_empty() {
                None
            } else {
                Some(rest.strip_prefix(':')?)
            },
        ));
    }
    Some(match path.split_once('.') {
        Some((name, member)) => (name, Some(member)),
        None => (path, None),
    })
}

fn exists(name: &str, member: Option<&str>) -> bool {
    match (name, member) {
        ("name", Some(member)) => [
            "formatted",
            "familyName",
            "givenName",
            "middleName",
            "honorificPrefix",
            "honorificSuffix",
        ]
        .contains(&member),
        (ENTERPRISE, Some(member)) => [
            "employeeNumber",
            "costCenter",
            "organization",
            "division",
            "department",
            "manager",
        ]
        .contains(&member),
        (name, None) => ATTRIBUTES.contains(&name) || name == ENTERPRISE,
        _ => false,
    }
}

const ATTRIBUTES: [&str; 22] = [
    "userName",
    "displayName",
    "nickName",
    "profileUrl",
    "title",
    "userType",
    "preferredLanguage",
    "locale",
    "timezone",
    "externalId",
    "active",
    "password",
    "name",
    "emails",
    "phoneNumbers",
    "ims",
    "photos",
    "entitlements",
    "roles",
    "x509Certificates",
    "addresses",
    "groups",
];
