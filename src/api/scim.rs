//! SCIM 2.0 (RFC 7643, 7644): `PATCH /Users/{id}` with one operation for each attribute. Ids are
//! texts, and the status in an error is one too.

use bytes::Bytes;
use serde_json::Value;

use crate::api::judge::{self, Body, Proof, Refusal, Shape};
use crate::api::{
    Access, Answer, Api, Changes, Check, Field, Judgement, Kind, Other, Replaced, Request,
    TakesAway, TokenPlace,
};
use crate::model::error::ApiError;
use crate::model::json;
use crate::model::text::percent_encoded;
use crate::model::user::{IdForm, UserId};

/// The API of any server of SCIM 2.0.
pub(super) static SCIM: Api = Api {
    name: "scim",
    title: "SCIM",
    id_form: IdForm::Text,
    access: Access {
        token_key: "token",
        other: Other::Client,
    },
    fields: FIELDS,
    check: Check {
        request: check,
        judge: judge_check,
    },
    update,
    judge,
};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
const PATCH: &str = concat!(
    r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"#,
    r#""Operations":["#
);

const SCIM_JSON: &str = "application/scim+json";

/// The items of a list at most.
const MAX_ITEMS: usize = 10_000;

const fn text(name: &'static str, help: &'static str, sample: &'static str) -> Field {
    Field::new(name, Kind::Text, help, sample).removable()
}

const fn members(
    name: &'static str,
    members: &'static [Field],
    help: &'static str,
    sample: &'static str,
) -> Field {
    Field::new(name, Kind::Object(members), help, sample)
        .removable()
        .replaced(Replaced::Members)
}

const ADDRESSES: Kind = Kind::List {
    of: &Kind::Object(ADDRESS),
    max: MAX_ITEMS,
};

const fn list(name: &'static str, help: &'static str, sample: &'static str) -> Field {
    Field::new(
        name,
        Kind::List {
            of: &Kind::Object(ITEM),
            max: MAX_ITEMS,
        },
        help,
        sample,
    )
    .removable()
    .takes_away(TakesAway::Empty)
}

#[rustfmt::skip]
const FIELDS: &[Field] = &[
    text("userName", "The name to log in with.", "\"jdoe\""),
    text("displayName", "The name that is shown.", "\"John Doe\""),
    text("nickName", "A casual name.", "\"Johnny\""),
    text("profileUrl", "The URL of a page about the user.", "\"https://example.com/jdoe\""),
    text("title", "The title, such as Vice President.", "\"Engineer\""),
    text("userType", "The relation to the organization, such as Contractor.", "\"Employee\""),
    text("preferredLanguage", "The language, as in `Accept-Language`.", "\"en-GB\""),
    text("locale", "The format of numbers and dates.", "\"en-GB\""),
    text("timezone", "The time zone, by its name in the Olson database.", "\"Europe/London\""),
    text("externalId", "The id at the client.", "\"4711\""),
    Field::new("active", Kind::Boolean, "Whether the user may log in.", "true").removable()
        .takes_away(TakesAway::False),
    // A server may bar the last passwords: one that is left out would not be among them.
    text("password", "The password.", "\"correct horse\"").secret().replaced(Replaced::Remembered),
    members("name", NAME, "The name; each part is replaced by itself.", r#"{"familyName": "Doe"}"#),
    list("emails", "The whole list of mail addresses.", r#"[{"value": "j@example.com"}]"#),
    list("phoneNumbers", "The whole list of telephone numbers.", r#"[{"value": "tel:+44-20"}]"#),
    list("ims", "The whole list of addresses for messages.", r#"[{"value": "jdoe"}]"#),
    list("photos", "The whole list of URLs of photographs.", r#"[{"value": "https://a/j.jpg"}]"#),
    list("entitlements", "The whole list of entitlements.", "[{\"value\": \"printing\"}]"),
    list("roles", "The whole list of roles.", "[{\"value\": \"auditor\"}]"),
    list("x509Certificates", "The whole list of certificates, in Base64.", "[{\"value\": \"MI\"}]"),
    Field::new("addresses", ADDRESSES, "The whole list of addresses.", r#"[{"country": "GB"}]"#)
        .removable().takes_away(TakesAway::Empty),
    members(ENTERPRISE, ENTERPRISE_USER, "The enterprise user; each part is replaced by itself.",
        r#"{"department": "Sales"}"#),
];

#[rustfmt::skip]
const NAME: &[Field] = &[
    text("formatted", "The whole name.", "\"Mr. John Doe\""),
    text("familyName", "The family name.", "\"Doe\""),
    text("givenName", "The given name.", "\"John\""),
    text("middleName", "The middle names.", "\"Q.\""),
    text("honorificPrefix", "What stands before the name.", "\"Mr.\""),
    text("honorificSuffix", "What stands behind it.", "\"III\""),
];

const fn part(name: &'static str, help: &'static str, sample: &'static str) -> Field {
    Field::new(name, Kind::Text, help, sample)
}

#[rustfmt::skip]
const ITEM: &[Field] = &[
    part("value", "The value itself.", "\"j@example.com\""),
    part("type", "What it is for, such as work.", "\"work\""),
    Field::new("primary", Kind::Boolean, "Whether it is the preferred one.", "true"),
    part("display", "How it is shown.", "\"at work\""),
];

#[rustfmt::skip]
const ADDRESS: &[Field] = &[
    part("formatted", "The whole address.", "\"1 High Street, London\""),
    part("streetAddress", "The street and the house.", "\"1 High Street\""),
    part("locality", "The town.", "\"London\""),
    part("region", "The state or region.", "\"Greater London\""),
    part("postalCode", "The postal code.", "\"E1 6AN\""),
    part("country", "The country, in two letters.", "\"GB\""),
    part("type", "What it is for, such as work.", "\"work\""),
    Field::new("primary", Kind::Boolean, "Whether it is the preferred one.", "true"),
];

#[rustfmt::skip]
const ENTERPRISE_USER: &[Field] = &[
    text("employeeNumber", "The number of the employee.", "\"701984\""),
    text("costCenter", "The cost center.", "\"4130\""),
    text("organization", "The organization.", "\"Universal Studios\""),
    text("division", "The division.", "\"Theme Park\""),
    text("department", "The department.", "\"Sales\""),
    Field::new("manager", Kind::Object(MANAGER), "The manager.", r#"{"value": "26118915"}"#)
        .removable(),
];

const MANAGER: &[Field] = &[part("value", "The manager's id.", "\"26118915\"")];

const SHAPE: Shape = Shape { proof, refusal };

fn request(method: hyper::Method, path: String, body: Bytes) -> Request {
    Request {
        method,
        path,
        token: TokenPlace::Bearer,
        content_type: SCIM_JSON,
        accept: SCIM_JSON,
        body,
    }
}

fn update(user: &UserId, changes: &Changes) -> Request {
    let mut body = String::from(PATCH);
    let mut separator = "";
    let mut operation = |path: &str, value: &str| {
        body.push_str(separator);
        separator = ",";
        match value {
            "null" => body.extend([r#"{"op":"remove","path":""#, path, r#""}"#]),
            _ => {
                let parts = [
                    r#"{"op":"replace","path":""#,
                    path,
                    r#"","value":"#,
                    value,
                    "}",
                ];
                body.extend(parts);
            }
        }
    };
    for (field, value) in changes.fields() {
        if field.replaced != Replaced::Members || !value.starts_with('{') {
            operation(field.name, value);
            continue;
        }
        let between = if field.name == ENTERPRISE { ":" } else { "." };
        for (name, value) in json::members(value) {
            operation(&format!("{}{between}{name}", field.name), value.get());
        }
    }
    body.push_str("]}");
    let id = user.to_string();
    let path = format!("/Users/{}", percent_encoded(&id));
    request(hyper::Method::PATCH, path, body.into())
}

fn judge(user: &UserId, _: &Changes, answer: &Answer) -> Judgement {
    match answer.status {
        204 => judge::delivered(),
        // No server of SCIM refuses one user's update so in any other shape.
        413 if !is_error(answer) => judge::stranger(413),
        501 => judge::fault("the API answered 501: it does not know PATCH"),
        _ => judge::judge(&SHAPE, user, answer),
    }
}

fn is_error(answer: &Answer) -> bool {
    Body::of(answer).is_some_and(|body| has_schema(&body, ERROR))
}

fn has_schema(body: &Body<'_>, schema: &str) -> bool {
    let schemas = body.get("schemas");
    schemas
        .as_array()
        .is_some_and(|schemas| schemas.iter().any(|one| one == schema))
}

/// A success may leave the id out, if it was asked for other attributes.
fn proof(body: &Body<'_>) -> Proof {
    match body.get("id") {
        _ if has_schema(body, ERROR) => Proof::Missing,
        Value::String(id) if !id.is_empty() => Proof::Of(id),
        id @ Value::Number(_) => judge::number(&id).into(),
        _ if has_schema(body, USER) => Proof::Given,
        _ => Proof::Missing,
    }
}

/// The URN alone makes the shape: servers leave the status out. A missing user and a duplicate come
/// with many words, so no word decides anything.
fn refusal(body: &Body<'_>) -> Refusal {
    let own_shape = has_schema(body, ERROR);
    let (scim_type, detail) = (body.get("scimType"), body.get("detail"));
    let words = [judge::text(&scim_type), judge::text(&detail)];
    let words: Vec<_> = words.into_iter().flatten().collect();
    Refusal {
        own_shape,
        user_missing: own_shape,
        words: ApiError::new(match words.is_empty() {
            true => "the API refused the update and gave no message".to_owned(),
            false => words.join(": "),
        }),
    }
}

fn check() -> Request {
    let path = "/ServiceProviderConfig".to_owned();
    request(hyper::Method::GET, path, Bytes::new())
}

/// The configuration may be incomplete: only a PATCH that is denied says that there is none.
fn judge_check(answer: &Answer) -> Option<Result<String, String>> {
    let body = Body::of(answer).filter(|_| answer.status == 200)?;
    let patch = &body.get("patch")["supported"];
    Some(match patch {
        Value::Bool(true) => {
            Ok("reached, the token is not refused, and PATCH is supported".to_owned())
        }
        Value::Bool(false) => Err(
            "reached, but the server says that it does not support PATCH, which every update needs"
                .to_owned(),
        ),
        _ if body.has("schemas") || body.has("patch") => Ok(
            "reached, and the token is not refused; whether PATCH is supported is not said"
                .to_owned(),
        ),
        _ => return None,
    })
}
