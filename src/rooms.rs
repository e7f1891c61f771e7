//! The rooms are in the order of the flow: each imports only those before it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// In the order of the flow, then the tools around it. `engine`, before all of them, is a crate.
const ROOMS: [&str; 14] = [
    "model",
    "api",
    "config",
    "telemetry",
    "http",
    "kafka",
    "subscriber",
    "service",
    "operator",
    "schema",
    "console",
    "demo",
    "commands",
    "rooms",
];

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The rooms that a text names after `crate::`, also in `use crate::{…}`, without its tests.
fn imports(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let mut rooms = BTreeSet::new();
    for after in text.split("crate::").skip(1) {
        let list = after
            .strip_prefix('{')
            .map_or(after, |list| list.split_once('}').unwrap().0);
        let items = if after.starts_with('{') {
            list.split(',').collect()
        } else {
            vec![list]
        };
        for item in items {
            let name = item
                .trim()
                .split(|character: char| !character.is_alphanumeric() && character != '_')
                .next();
            rooms.extend(name.filter(|name| ROOMS.contains(name)).map(str::to_owned));
        }
    }
    rooms
}

#[test]
fn no_room_imports_one_that_stands_after_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for file in source_files(&root) {
        let path = file.strip_prefix(&root).unwrap();
        let room = path
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs");
        let is_test = path
            .iter()
            .any(|part| part == "tests" || part == "tests.rs");
        if ["lib", "main"].contains(&room) || is_test {
            continue;
        }
        let own = place(room).unwrap_or_else(|| panic!("{room} has no place among the rooms"));
        let imports = imports(&std::fs::read_to_string(&file).unwrap());
        seen += imports.len();
        let after = |import: &String| place(import).is_some_and(|place| place > own);
        wrong.extend(
            imports
                .into_iter()
                .filter(after)
                .map(|import| format!("{} imports {import}", path.display())),
        );
    }
    assert!(seen > 300, "only {seen} imports were seen");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
