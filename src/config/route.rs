//! `[[routes]]`: which target takes an event that names none itself.

use globset::{GlobBuilder, GlobMatcher};

use crate::config::section::{Section, quoted};
use crate::config::tree::{Entries, Node, Value};
use crate::model::route::Route;
use crate::model::text::nearest;

/// Reads all routes, in their order.
pub(super) fn read_all(root: &Section<'_>, targets: &Entries) -> Vec<Route> {
    let items = match root.node("routes").map(|node| &node.value) {
        None => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(other) => {
            root.wrong(
                "routes",
                format!(
                    "is {} and should be an array of tables: [[routes]]",
                    other.kind()
                ),
            );
            return Vec::new();
        }
    };
    let read = |(index, item): (usize, &Node)| {
        let section = Section::open("routes", format!("routes[{index}]"), item, root.reading);
        section.check_names(|_| None);
        read_one(&section, targets)
    };
    items.iter().enumerate().filter_map(read).collect()
}

fn read_one(section: &Section<'_>, targets: &Entries) -> Option<Route> {
    let (source, event_type) = (section.parsed("source", glob), section.parsed("type", glob));
    if !section.is_set("source") && !section.is_set("type") {
        section.missing(
            "source",
            "a route needs `source` or `type` or both: \"*\" fits everything",
        );
    }
    let target = section.text("target")?;
    let names = targets.iter().map(|(name, _)| name.as_str());
    if !names.clone().any(|name| name == target) {
        let nearest = nearest(&target, names)
            .map(|nearest| format!("; the nearest is `{nearest}`"))
            .unwrap_or_default();
        section.missing(
            "target",
            format!("there is no target {}{nearest}", quoted(&target)),
        );
    }
    Some(Route {
        source,
        event_type,
        target,
    })
}

fn glob(text: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(text)
        .literal_separator(false)
        .backslash_escape(true)
        .build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|error| format!("{} is not a glob: {}", quoted(text), error.kind()))
}
