//! `[targets.NAME.guard]`: how many users may lose something before somebody looks at it.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::Api;
use crate::config::section::{Section, quoted};
use crate::model::text;

/// The guard of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// So many users may lose something,
    pub max_users: u32,
    /// within this time.
    pub window: Duration,
    /// Fields of which any value counts as a loss.
    pub also: Vec<String>,
    /// Until then nothing is counted.
    pub allow_until: Option<Timestamp>,
    /// Until then updates that take something away become dead letters.
    pub refuse_until: Option<Timestamp>,
}

impl Guard {
    /// `None` unless something is set. A window alone guards nothing.
    pub(super) fn read(section: &Section<'_>, api: Option<&'static Api>) -> Option<Self> {
        if section.entries.iter().all(|(name, _)| name == "window") {
            section.duration("window");
            return None;
        }
        let also = section.texts("also").unwrap_or_default();
        if let Some(api) = api {
            let names = || api.fields.iter().map(|field| field.name);
            for name in also
                .iter()
                .filter(|also| names().all(|name| name != **also))
            {
                let nearest = text::nearest(name, names()).unwrap_or_default();
                let message = format!(
                    "{} is no field of this API; the nearest is `{nearest}`",
                    quoted(name)
                );
                section.wrong("also", message);
            }
        }
        if !section.is_set("max_users") {
            section.missing(
                "max_users",
                "is required in a guard: so many users may lose something",
            );
        }
        let (allow_until, refuse_until) =
            (section.time("allow_until"), section.time("refuse_until"));
        if section.is_set("allow_until") && section.is_set("refuse_until") {
            let message = format!(
                "contradicts `allow_until`, which was set at {}: keep one of the two",
                section.origin_of("allow_until")
            );
            section.wrong("refuse_until", message);
        }
        Some(Guard {
            max_users: section.number("max_users"),
            window: section.duration("window"),
            also,
            allow_until,
            refuse_until,
        })
    }
}
