//! The update event as a type: what senders may write. It exists for its schema; the decoder is more precise about what is wrong.

use schemars::JsonSchema;

/// An update event in CloudEvents' structured mode. In binary mode the attributes are `ce_` headers and the value is `data` alone.
#[derive(JsonSchema)]
#[schemars(extend("oneOf" = [{ "required": ["data"] }, { "required": ["data_base64"] }]))]
pub struct UpdateEvent {
    /// The version of CloudEvents.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// Identifies the event together with `source`.
    #[schemars(length(min = 1))]
    pub id: String,
    /// The system that sends it, a URI reference.
    #[schemars(length(min = 1))]
    pub source: String,
    /// What kind of event it is. Routes may look at it.
    #[schemars(rename = "type")]
    #[schemars(length(min = 1))]
    pub event_type: String,
    /// The type of `data`: JSON, if it is said at all.
    #[schemars(regex(pattern = r"^[^/;]+/([^;]+\+)?[Jj][Ss][Oo][Nn] *(;.*)?$"))]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// Past this time of RFC 3339 the update is no longer delivered.
    #[schemars(extend("format" = "date-time"))]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub expirytime: Option<String>,
    /// The update.
    #[schemars(skip_serializing_if = "Option::is_none", with = "UpdateData")]
    pub data: Option<UpdateData>,
    /// The update's JSON in Base64, in place of `data`.
    #[schemars(skip_serializing_if = "Option::is_none", with = "String", extend("contentEncoding" = "base64", "contentMediaType" = "application/json"))]
    pub data_base64: Option<String>,
}

/// An update of one user at one target.
#[derive(JsonSchema)]
pub struct UpdateData {
    /// The name of a configured target. May be left out where a route decides.
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The user's number at that API.
    pub user: User,
    /// What to set, in the names and types of the target's API.
    pub changes: Changes,
}

/// A user's number: without a fraction, also of zero.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum User {
    /// As a number.
    Number(#[schemars(range(min = 1, max = 9_223_372_036_854_775_807_i64))] u64),
    /// As a string of its digits, at most 9223372036854775807.
    Digits(#[schemars(regex(pattern = "^0*[1-9][0-9]{0,18}$"))] String),
}

/// What to set.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Changes {
    /// At a target of the API `aipix`.
    Aipix(AipixChanges),
    /// At a target of the API `valt`.
    Valt(ValtChanges),
}

/// What can be set at an aipix VMS.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AipixChanges {
    /// The whole list of the user's permission ids; an empty one takes them all away.
    pub permissions: Vec<i64>,
}

/// What can be set at a VALT server.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
pub struct ValtChanges {
    /// The user name.
    #[schemars(skip_serializing_if = "Option::is_none", with = "String")]
    pub name: Option<String>,
    /// The password.
    #[schemars(skip_serializing_if = "Option::is_none", with = "String")]
    pub password: Option<String>,
    /// Shown in place of the user name.
    #[schemars(skip_serializing_if = "Option::is_none", with = "String")]
    pub display_name: Option<String>,
    /// The id of the primary group.
    #[schemars(skip_serializing_if = "Option::is_none", with = "i64")]
    pub user_group: Option<i64>,
    /// The number of the card, or the PIN, with its leading zeros.
    #[schemars(skip_serializing_if = "Option::is_none", with = "String")]
    pub card_number: Option<String>,
    /// The ids of the rooms that the user may see.
    #[schemars(skip_serializing_if = "Option::is_none", with = "Vec<i64>")]
    pub rooms: Option<Vec<i64>>,
    /// Whose videos the user may see.
    #[schemars(skip_serializing_if = "Option::is_none", with = "VideoAccess")]
    pub video_access: Option<VideoAccess>,
}

/// Whose videos a user may see.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
pub struct VideoAccess {
    /// The ids of users.
    #[schemars(skip_serializing_if = "Option::is_none", with = "Vec<i64>")]
    pub users: Option<Vec<i64>>,
    /// The ids of user groups.
    #[schemars(skip_serializing_if = "Option::is_none", with = "Vec<i64>")]
    pub user_groups: Option<Vec<i64>>,
}
