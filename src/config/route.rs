//! `[[routes]]`: which target takes an event that names none itself.

use globset::{GlobBuilder, GlobMatcher};

use super::mistake::{Origin, Reading};
use super::section::{Section, quoted};
use super::tree::{Node, Value};
use crate::text::nearest;

/// One route. An event takes the first whose every glob fits; at least one is given.
///
/// In a glob, `*` stands for any characters, `/` and `.` among them, `?` for one, `[ab]` for one of those, `{x,y}` for
/// either; a backslash takes the meaning from the character after it.
#[derive(Clone, Debug)]
pub struct Route {
    /// Must fit the event's `source`.
    pub source: Option<GlobMatcher>,
    /// Must fit the event's `type`.
    pub event_type: Option<GlobMatcher>,
    /// The name of a configured target.
    pub target: String,
}

impl Route {
    /// Reads all routes, in their order.
    pub(super) fn read_all(node: Option<&Node>, targets: &[&str], reading: &mut Reading) -> Vec<Route> {
        let Some(node) = node else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            let message = format!("is {} and should be an array of tables: [[routes]]", node.value.kind());
            reading.mistake(&node.origin, "routes", message);
            return Vec::new();
        };
        let read = |(index, item)| Route::read(Section::open(format!("routes[{index}]"), item, reading), targets, reading);
        items.iter().enumerate().filter_map(read).collect()
    }

    fn read(mut section: Section<'_>, targets: &[&str], reading: &mut Reading) -> Option<Route> {
        let source = glob(&mut section, "source", reading);
        let event_type = glob(&mut section, "type", reading);
        if !section.is_set("source") && !section.is_set("type") {
            section.missing("source", "a route needs `source` or `type` or both: \"*\" fits everything", reading);
        }
        let target = section.text("target", reading);
        match &target {
            Some(name) if !targets.contains(&name.as_str()) => {
                unknown_target(&section.origin_of("target"), section.key("target"), name, targets, reading);
            }
            None if !section.is_set("target") => {
                section.missing("target", "is required: the name of a target", reading);
            }
            _ => {}
        }
        section.finish(reading);
        Some(Route { source, event_type, target: target? })
    }
}

fn unknown_target(origin: &Origin, key: String, name: &str, targets: &[&str], reading: &mut Reading) {
    let message = match nearest(name, targets.iter().copied()) {
        Some(nearest) => format!("there is no target {}; the nearest is `{nearest}`", quoted(name)),
        None => format!("there is no target {}", quoted(name)),
    };
    reading.missing(origin, key, message);
}

fn glob(section: &mut Section<'_>, key: &str, reading: &mut Reading) -> Option<GlobMatcher> {
    let text = section.text(key, reading)?;
    match GlobBuilder::new(&text).literal_separator(false).backslash_escape(true).build() {
        Ok(glob) => Some(glob.compile_matcher()),
        Err(error) => {
            section.wrong(key, format!("{} is not a glob: {}", quoted(&text), error.kind()), reading);
            None
        }
    }
}
