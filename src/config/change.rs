//! A change of the configuration: which keys differ between two readings, and which of them a
//! running service can take up.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::config::keys;
use crate::config::tree::{Node, Value};

/// The keys that differ, by name; never their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Those that a running service takes up.
    pub taken: Vec<String>,
    /// Those that need a restart.
    pub refused: Vec<String>,
}

/// Every key that was set, with a hash of its value: values may be secrets, and only whether they
/// differ is asked.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<Vec<String>, u64>);

impl Keys {
    pub(super) fn of(root: &Node) -> Self {
        let mut keys = Keys::default();
        keys.add(Vec::new(), root);
        keys
    }

    fn add(&mut self, path: Vec<String>, node: &Node) {
        let below = |segment: String| path.iter().cloned().chain([segment]).collect();
        let text = match &node.value {
            Value::Table(entries) => {
                return entries
                    .iter()
                    .for_each(|(key, node)| self.add(below(key.clone()), node));
            }
            Value::Array(items) => {
                return items
                    .iter()
                    .enumerate()
                    .for_each(|(index, node)| self.add(below(index.to_string()), node));
            }
            // Text and number alike, since the environment knows only text.
            Value::Scalar(_, text) => text,
        };
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        self.0.insert(path, hasher.finish());
    }

    pub(super) fn change_since(&self, before: &Keys) -> Change {
        let all: BTreeSet<_> = self.0.keys().chain(before.0.keys()).collect();
        let mut change = Change::default();
        for path in all
            .into_iter()
            .filter(|path| self.0.get(*path) != before.0.get(*path))
        {
            // Nothing of `[console]` concerns a running service.
            let is_taken = path.first().is_some_and(|section| section == "console")
                || keys::at(path).is_some_and(|key| key.live);
            let list = if is_taken {
                &mut change.taken
            } else {
                &mut change.refused
            };
            list.push(path.join("."));
        }
        change
    }
}
