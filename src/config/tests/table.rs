//! The table of keys, and what is held to it: the documentation, the example, the APIs.

use std::path::Path;

use super::*;
use crate::api::{self, Other};
use crate::config::keys::{self, Fallback, KEYS, Key};
use crate::config::kind::ValueKind;
use crate::config::librdkafka::REFUSED;

/// The table that a key stands in, and its name there.
fn split(key: &Key) -> (&'static str, &'static str) {
    key.path.rsplit_once('.').unwrap()
}

/// The keys as they are documented: those of one table after the other. What librdkafka takes is
/// its own business.
fn documented() -> Vec<(&'static str, Vec<&'static Key>)> {
    let keys: Vec<&Key> = KEYS.iter().filter(|key| split(key).1 != "NAME").collect();
    keys.chunk_by(|one, other| split(one).0 == split(other).0)
        .map(|keys| (split(keys[0]).0, keys.to_vec()))
        .collect()
}

/// A default as the file has it.
fn in_toml(key: &Key) -> Option<String> {
    match (key.default, key.kind) {
        (Fallback::Is(text), ValueKind::Text | ValueKind::Word(_) | ValueKind::Duration(_)) => {
            Some(format!("{text:?}"))
        }
        (Fallback::Is(text), _) => Some(text.to_owned()),
        _ => None,
    }
}

fn names(key: &Key) -> Vec<String> {
    if key.kind.is_secret() {
        keys::sources(split(key).1).to_vec()
    } else {
        vec![split(key).1.to_owned()]
    }
}

/// The keys as rows, without the columns that none of them fills.
fn markdown(keys: &[&Key]) -> String {
    let cells = |key: &&Key| {
        let names: Vec<String> = names(key).iter().map(|name| format!("`{name}`")).collect();
        let default = match key.default {
            Fallback::Required => "required".to_owned(),
            _ => in_toml(key)
                .map(|text| format!("`{text}`"))
                .unwrap_or_default(),
        };
        let range = match key.kind {
            ValueKind::Word(words) => words()
                .iter()
                .map(|word| format!("`\"{word}\"`"))
                .collect::<Vec<_>>()
                .join(", "),
            kind => kind.range(),
        };
        let live = if key.live {
            ". Taken up while it runs"
        } else {
            ""
        };
        [
            names.join(", "),
            default,
            range,
            format!("{}{live}", key.help),
        ]
    };
    let mut rows = vec![
        ["key", "default", "range", "meaning"].map(str::to_owned),
        ["---"; 4].map(str::to_owned),
    ];
    rows.extend(keys.iter().map(cells));
    let filled = [0, 1, 2, 3].map(|column| rows.iter().skip(2).any(|row| !row[column].is_empty()));
    let shown = |row: &[String; 4]| {
        let cells = row.iter().zip(filled).filter(|(_, filled)| *filled);
        let cells = cells.map(|(cell, _)| {
            if cell.is_empty() {
                String::new()
            } else {
                format!(" {cell}")
            }
        });
        format!("|{} |\n", cells.collect::<Vec<_>>().join(" |"))
    };
    rows.iter().map(shown).collect()
}

#[test]
fn the_documentation_is_printed_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let found = fs::read_to_string(&path).unwrap();
    let mut wanted = found.clone();
    for (table, keys) in documented() {
        let heading = if table == "routes" {
            "`[[routes]]`".to_owned()
        } else {
            format!("`[{table}]`")
        };
        let heading = wanted
            .find(&format!("\n### {heading}\n"))
            .unwrap_or_else(|| panic!("no heading {heading}"));
        let start = heading
            + wanted[heading..]
                .find("\n| key |")
                .unwrap_or_else(|| panic!("no keys of {table}"))
            + 1;
        let end = start
            + wanted[start..]
                .split_inclusive('\n')
                .take_while(|line| line.starts_with('|'))
                .map(str::len)
                .sum::<usize>();
        wanted.replace_range(start..end, &markdown(&keys));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(
        found == wanted,
        "docs/configuration.md is out of date: run `UPDATE_DOCS=1 cargo test --lib config`"
    );
    assert_eq!(
        found.matches("\n| key |").count(),
        documented().len(),
        "a table that nothing stands behind"
    );
}

#[test]
fn the_documentation_names_every_property_that_is_refused_and_no_other() {
    let docs = include_str!("../../../docs/configuration.md");
    let (_, rest) = docs.split_once("| properties | why |").unwrap();
    let table = rest.split_once("\n\n").unwrap().0;
    let first_cells = table.lines().filter_map(|line| line.split('|').nth(1));
    let mut found: Vec<&str> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let mut refused: Vec<&str> = REFUSED
        .iter()
        .flat_map(|(_, names)| names.split(' '))
        .collect();
    found.sort_unstable();
    refused.sort_unstable();
    assert_eq!(found, refused);
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let example = include_str!("../../../config/user-courier.toml");
    let mut shown: Vec<(String, String, String)> = Vec::new();
    let mut table = String::new();
    for line in example.lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            let mut parts: Vec<_> = name.trim_matches(['[', ']']).split('.').collect();
            if parts[0] == "targets" {
                parts[1] = "NAME";
            }
            table = parts.join(".");
        } else if let Some((name, value)) = line.split_once(" = ") {
            shown.push((table.clone(), name.to_owned(), value.to_owned()));
        }
    }
    for (table, keys) in documented() {
        for key in keys {
            let is_it = |(of, name, _): &&(String, String, String)| {
                of == table && names(key).contains(name)
            };
            let (.., value) = shown
                .iter()
                .find(is_it)
                .unwrap_or_else(|| panic!("{} is not shown", key.path));
            if let Some(default) = in_toml(key) {
                assert_eq!(*value, default, "{}", key.path);
            }
        }
    }
}

#[test]
fn every_default_is_in_its_range_and_every_key_says_what_it_is_for() {
    // A default that is wrong is reported as if it had been set.
    let defaults = KEYS.iter().filter_map(|key| {
        Some(format!(
            "{} = {}\n",
            key.path.replace("NAME", "aipix"),
            in_toml(key)?
        ))
    });
    let text = "kafka.bootstrap_servers = \"localhost:9092\"\ntargets.aipix.api = \"aipix\"\ntargets.aipix.base_url = \"https://a\"\n";
    check(
        &format!(
            "{text}targets.aipix.token_file = \"DIR/token\"\n{}",
            defaults.collect::<String>()
        ),
        &[],
    );
    for (index, key) in KEYS.iter().enumerate() {
        assert!(
            !key.help.is_empty() && !key.help.contains(['|', '\n']),
            "{}",
            key.path
        );
        assert!(
            KEYS[..index].iter().all(|other| other.path != key.path),
            "{} is there twice",
            key.path
        );
    }
}

#[test]
fn every_api_has_its_credentials_in_the_table() {
    for &api in api::ALL {
        let is_secret = |name| keys::find("targets.NAME", name).map(|key| key.kind.is_secret());
        let (public, secret) = match &api.access.other {
            Other::None => (vec![], vec![]),
            Other::Login(account) => (vec![account.username_key], vec!["password"]),
            Other::Client => (
                vec!["token_url", "client_id", "scope"],
                vec!["client_secret"],
            ),
        };
        for name in public {
            assert_eq!(is_secret(name), Some(false), "{} {name}", api.name);
        }
        for name in [api.access.token_key].into_iter().chain(secret) {
            assert_eq!(is_secret(name), Some(true), "{} {name}", api.name);
        }
    }
}
