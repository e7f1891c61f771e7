//! A user's id, which is a number at one API and text at another.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// The id of a user. In JSON it is a number or a string, as the API has it; `52` and `"52"` are the
/// same user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum User {
    /// A number.
    Number(u64),
    /// Any text.
    Text(String),
}

impl User {
    /// The number, if the id is one.
    pub fn number(&self) -> Option<u64> {
        match self {
            User::Number(number) => Some(*number),
            User::Text(_) => None,
        }
    }
}

impl From<u64> for User {
    fn from(number: u64) -> Self {
        User::Number(number)
    }
}

impl From<&str> for User {
    fn from(text: &str) -> Self {
        User::Text(text.to_owned())
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            User::Number(number) => number.fmt(f),
            User::Text(text) => text.fmt(f),
        }
    }
}

impl PartialEq for User {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (User::Number(number), User::Number(other)) => number == other,
            _ => self.to_string() == other.to_string(),
        }
    }
}

impl Eq for User {}

impl Hash for User {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_string().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_is_the_same_as_a_number_and_as_text() {
        let read = |json: &str| serde_json::from_str::<User>(json).unwrap();
        let seen = HashSet::from([User::from(52), User::from("jane")]);
        assert!(
            seen.contains(&read("52"))
                && seen.contains(&read("\"52\""))
                && seen.contains(&read("\"jane\""))
        );
        assert!(!seen.contains(&read("\"052\"")));
        assert_eq!(
            serde_json::to_string(&[User::from(52), User::from("52")]).unwrap(),
            r#"[52,"52"]"#
        );
        assert!(serde_json::from_str::<User>("-1").is_err());
    }
}
