//! The layers over the file: the environment, and over that the flags.

use std::mem::discriminant;

use toml::de::{DeTable, DeValue};

use crate::config::keys::{self, sources};
use crate::config::librdkafka::is_known;
use crate::config::mistake::{ConfigReading, Origin};
use crate::config::tree::{Entries, Node, PROPERTY_TABLES, Type, Value};

const PREFIX: &str = "USER_COURIER__";

/// Lays the variables `USER_COURIER__SECTION__KEY` over the tree.
pub(super) fn environment(root: &mut Node, reading: &ConfigReading) {
    let ours = reading.environment.iter().filter_map(|(name, value)| {
        let path = name.strip_prefix(PREFIX)?;
        Some((
            path.split("__").map(str::to_lowercase).collect(),
            name,
            value,
        ))
    });
    let mut ours: Vec<(Vec<String>, &String, &String)> = ours.collect();
    // By number if it is one, so that the tenth route is not laid before the second.
    ours.sort_by_cached_key(|(path, name, _)| {
        let numbers: Vec<_> = path
            .iter()
            .map(|segment| (segment.parse::<u32>().ok(), segment.clone()))
            .collect();
        (numbers, *name)
    });
    for (path, name, value) in ours {
        let origin = Origin::Environment(one_line(name));
        if path.iter().any(String::is_empty) {
            reading.mistake(
                &origin,
                "",
                "names no key: write it as USER_COURIER__SECTION__KEY",
            );
        } else {
            lay(root, &environment_path(path), &origin, value, reading);
        }
    }
}

/// Lays the flags `--set section.key=value`, given as pairs, over the tree.
pub(super) fn flags(root: &mut Node, flags: &[(String, String)], reading: &ConfigReading) {
    for (key, value) in flags {
        let origin = Origin::Flag(one_line(key));
        match flag_path(key) {
            Some(path) => lay(root, &path, &origin, value, reading),
            None => reading.mistake(
                &origin,
                "",
                "names no key: write it as --set section.key=value",
            ),
        }
    }
}

/// A name in a report, which has one line for each mistake.
fn one_line(name: &str) -> String {
    name.replace(char::is_control, "?")
}

/// Variables cannot have dots in their names, so `_` stands for one in a property's name.
fn environment_path(mut path: Vec<String>) -> Vec<String> {
    if is_property(&path) {
        let name = path.split_off(2).join(".").replace('_', ".");
        // librdkafka has properties of its own that end in `.file`: those are meant by their names.
        let source = [".file", ".env"]
            .into_iter()
            .find(|end| name.ends_with(end) && !is_known(&name));
        path.push(match source {
            Some(end) => format!(
                "{}_{}",
                name.trim_end_matches(end),
                end.trim_start_matches('.')
            ),
            None => name,
        });
    }
    path
}

/// A flag's key is read as TOML reads one, so that a name with a dot can be quoted.
fn flag_path(key: &str) -> Option<Vec<String>> {
    let line = format!("{key} = 0");
    let mut table = DeTable::parse(&line).ok()?.into_inner();
    let mut path = Vec::new();
    loop {
        if table.len() != 1 {
            return None;
        }
        let (segment, value) = table.into_iter().next()?;
        path.push(segment.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    if is_property(&path) {
        let name = path.split_off(2).join(".");
        path.push(name);
    }
    Some(path)
}

fn is_property(path: &[String]) -> bool {
    matches!(path, [first, second, _, ..] if first == "kafka" && PROPERTY_TABLES.contains(&second.as_str()))
}

/// Puts the value at the path, over what stands there. Reports a path that leads nowhere.
fn lay(root: &mut Node, path: &[String], origin: &Origin, value: &str, reading: &ConfigReading) {
    let mut place = root;
    for (depth, segment) in path.iter().enumerate() {
        let next = match &mut place.value {
            Value::Table(entries) => {
                if depth + 1 == path.len() {
                    drop_other_sources(entries, path, origin);
                }
                entry(entries, path.get(..=depth).unwrap_or_default(), origin)
            }
            Value::Array(items) => item(items, segment, origin),
            Value::Scalar(..) => Err("what stands above it is not a table".to_owned()),
        };
        match next {
            Ok(node) => place = node,
            Err(message) => return reading.mistake(origin, path.join("."), message),
        }
    }
    *place = Node {
        origin: origin.clone(),
        value: Value::Scalar(Type::Untyped, value.to_owned()),
    };
}

/// A secret has one source: `password_env` of a later layer also wins over `password_file` of an
/// earlier one, and over a property that was written as it is.
fn drop_other_sources(entries: &mut Entries, path: &[String], origin: &Origin) {
    let (name, is_property) = (path.last().map_or("", String::as_str), is_property(path));
    let secret = name.trim_end_matches("_file").trim_end_matches("_env");
    if is_property || name != secret && keys::at(path).is_some_and(|key| key.kind.is_secret()) {
        let [file, env] = sources(secret);
        let is_source =
            |other: &str| other == file || other == env || (is_property && other == secret);
        entries.retain(|(other, node)| {
            other == name || !is_source(other) || discriminant(&node.origin) == discriminant(origin)
        });
    }
}

/// The entry at the end of the path, made if there is none.
fn entry<'a>(
    entries: &'a mut Entries,
    path: &[String],
    origin: &Origin,
) -> Result<&'a mut Node, String> {
    let name = path.last().map_or("", String::as_str);
    let mut index = entries.iter().position(|(key, _)| key == name);
    if let (None, [targets, _], Origin::Environment(_)) = (index, path, origin)
        && targets == "targets"
    {
        // A target's name may have capitals, dots and hyphens; a variable's name is more limited.
        let folded = |text: &str| text.to_lowercase().replace(['-', '.'], "_");
        let mut alike = entries
            .iter()
            .enumerate()
            .filter(|(_, (key, _))| folded(key) == folded(name));
        index = alike.next().map(|(index, _)| index);
        if alike.next().is_some() {
            return Err(
                "fits more than one target: give them names that differ in letters or digits"
                    .to_owned(),
            );
        }
    }
    let index = index.unwrap_or_else(|| {
        let is_list = path.len() == 1 && name == "routes";
        let value = if is_list {
            Value::Array(Vec::new())
        } else {
            Value::Table(Vec::new())
        };
        entries.push((
            name.to_owned(),
            Node {
                origin: origin.clone(),
                value,
            },
        ));
        entries.len() - 1
    });
    entries
        .get_mut(index)
        .map(|(_, node)| node)
        .ok_or_else(String::new)
}

/// The item of that index, which may be the one after the last.
fn item<'a>(
    items: &'a mut Vec<Node>,
    index: &str,
    origin: &Origin,
) -> Result<&'a mut Node, String> {
    let count = items.len();
    let index = index.parse::<usize>().ok().filter(|index| *index <= count);
    if index == Some(count) {
        items.push(Node {
            origin: origin.clone(),
            value: Value::Table(Vec::new()),
        });
    }
    let place = index.and_then(|index| items.get_mut(index));
    place.ok_or_else(|| {
        format!("needs a number from 0 to {count} here: there are {count} of them before it")
    })
}
