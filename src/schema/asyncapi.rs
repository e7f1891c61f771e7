//! AsyncAPI
use serde_json::Value;
pub(super) fn document() -> Value { Value::Null }
