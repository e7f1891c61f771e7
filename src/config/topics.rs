//! `[kafka.topics]`: the names of the three topics.

use super::mistake::Reading;
use super::section::{Section, is_plain_name, quoted};

/// The names of the topics; no two are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Where updates come from.
    pub updates: String,
    /// Where outcomes go.
    pub outcomes: String,
    /// Where undeliverable records go.
    pub dead_letters: String,
}

impl Default for Topics {
    fn default() -> Self {
        Topics {
            updates: "user-updates".to_owned(),
            outcomes: "user-update-outcomes".to_owned(),
            dead_letters: "user-update-dead-letters".to_owned(),
        }
    }
}

impl Topics {
    pub(super) fn read(mut section: Section<'_>, reading: &mut Reading) -> Self {
        let Topics { updates, outcomes, dead_letters } = Topics::default();
        let mut names = [("updates", updates), ("outcomes", outcomes), ("dead_letters", dead_letters)];
        for (key, name) in &mut names {
            if let Some(text) = section.text(key, reading) {
                if !is_plain_name(&text, 249) || text == "." || text == ".." {
                    section.wrong(key, "is no topic's name: 1 to 249 letters, digits, `.`, `_` or `-`", reading);
                }
                *name = text;
            }
        }
        for (index, (key, name)) in names.iter().enumerate() {
            if let Some((other, _)) = names.iter().take(index).find(|(_, earlier)| earlier == name) {
                // Whichever was set is the one to look at.
                let (at, other) = if section.is_set(key) { (key, other) } else { (other, key) };
                section.wrong(at, format!("{} is the topic of `{other}` too: they must differ", quoted(name)), reading);
            }
        }
        section.finish(reading);
        let [(_, updates), (_, outcomes), (_, dead_letters)] = names;
        Topics { updates, outcomes, dead_letters }
    }
}
