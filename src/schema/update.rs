//! The update event as a type: what senders may write. It exists for its schema; the decoder is
//! more precise about what is wrong.

use schemars::JsonSchema;

use crate::api::MAX_ITEMS;

/// An update event in CloudEvents' structured mode. In binary mode the attributes are `ce_` headers
/// and the value is `data` alone.
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

/// A user's number.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum User {
    /// As a number.
    Number(#[schemars(range(min = 1, max = 9_223_372_036_854_775_807_i64))] u64),
    /// As a string of its digits, at most 9223372036854775807.
    Digits(#[schemars(regex(pattern = DIGITS))] String),
}

/// The digits of 1 to 2^63-1: up to 18, or 19 that differ from those of the largest in a digit that
/// is smaller.
const DIGITS: &str = concat!(
    "^0*(",
    "[1-9][0-9]{0,17}",
    "|[1-8][0-9]{18}",
    "|9[0-1][0-9]{17}",
    "|92[0-1][0-9]{16}",
    "|922[0-2][0-9]{15}",
    "|9223[0-2][0-9]{14}",
    "|92233[0-6][0-9]{13}",
    "|922337[0-1][0-9]{12}",
    "|92233720[0-2][0-9]{10}",
    "|922337203[0-5][0-9]{9}",
    "|9223372036[0-7][0-9]{8}",
    "|92233720368[0-4][0-9]{7}",
    "|922337203685[0-3][0-9]{6}",
    "|9223372036854[0-6][0-9]{5}",
    "|92233720368547[0-6][0-9]{4}",
    "|922337203685477[0-4][0-9]{3}",
    "|9223372036854775[0-7][0-9]{2}",
    "|922337203685477580[0-7]",
    ")$"
);

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
    #[schemars(length(max = MAX_ITEMS))]
    pub permissions: Vec<Integer>,
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
    #[schemars(skip_serializing_if = "Option::is_none", with = "Integer")]
    pub user_group: Option<Integer>,
    /// The number of the card, or the PIN, with its leading zeros.
    #[schemars(skip_serializing_if = "Option::is_none", with = "String")]
    pub card_number: Option<String>,
    /// The ids of the rooms that the user may see.
    #[schemars(skip_serializing_if = "Option::is_none", with = "Vec<Integer>", length(max = MAX_ITEMS))]
    pub rooms: Option<Vec<Integer>>,
    /// Whose videos the user may see.
    #[schemars(skip_serializing_if = "Option::is_none", with = "VideoAccess")]
    pub video_access: Option<VideoAccess>,
}

/// Whose videos a user may see.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
pub struct VideoAccess {
    /// The ids of users.
    #[schemars(skip_serializing_if = "Option::is_none", with = "Vec<Integer>", length(max = MAX_ITEMS))]
    pub users: Option<Vec<Integer>>,
    /// The ids of user groups.
    #[schemars(skip_serializing_if = "Option::is_none", with = "Vec<Integer>", length(max = MAX_ITEMS))]
    pub user_groups: Option<Vec<Integer>>,
}

/// An integer of 64 bits; 52.0 and 5.2e1 are one too.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub struct Integer(#[schemars(range(min = i64::MIN, max = i64::MAX))] pub i64);
