//! Routing: which target an event is for.

use globset::GlobMatcher;

use crate::model::event::Event;
use crate::model::text;

/// One route. An event takes the first whose every glob fits; at least one is given.
///
/// In a glob, `*` matches any characters, `/` and `.` among them, `?` one, `[ab]` one of those,
/// `{x,y}` either; a backslash makes the character after it literal.
#[derive(Clone, Debug)]
pub struct Route {
    /// Must fit the event's `source`.
    pub source: Option<GlobMatcher>,
    /// Must fit the event's `type`.
    pub event_type: Option<GlobMatcher>,
    /// The name of a configured target.
    pub target: String,
}

/// The target that takes an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// This target.
    Target(&'a str),
    /// No target does.
    Unroutable {
        /// Why, in words.
        message: String,
    },
}

/// Decides for every subscriber alike: it knows all configured targets, whichever of them run in
/// this process.
#[derive(Clone, Debug)]
pub struct Router {
    targets: Vec<String>,
    routes: Vec<Route>,
}

impl Router {
    /// A router for these configured targets. The routes are tried in their order.
    pub fn new(targets: Vec<String>, routes: Vec<Route>) -> Self {
        Router { targets, routes }
    }

    /// The target of the event: the one it names itself, else that of the first route that matches.
    pub fn claim(&self, event: &Event) -> Claim<'_> {
        if let Some(named) = &event.target {
            let known = self.targets.iter().find(|target| *target == named);
            return known.map_or_else(|| self.unknown(named), |target| Claim::Target(target));
        }
        match self.routes.iter().find(|route| matches(route, event)) {
            Some(route) if self.targets.contains(&route.target) => Claim::Target(&route.target),
            Some(route) => self.unknown(&route.target),
            None => Claim::Unroutable {
                message:
                    "data.target: is missing, and no route matches the event's source and type"
                        .to_owned(),
            },
        }
    }

    /// Whether an event that names no target may come to that one.
    pub fn leads_to(&self, target: &str) -> bool {
        self.routes.iter().any(|route| route.target == target)
    }

    fn unknown(&self, name: &str) -> Claim<'_> {
        let configured = self.targets.join(", ");
        let message = format!(
            "data.target: there is no target `{}`; configured are: {}",
            text::name(name, 64),
            text::cut(&configured, 512)
        );
        Claim::Unroutable { message }
    }
}

/// A pattern that is left out matches everything.
fn matches(route: &Route, event: &Event) -> bool {
    let fits = |glob: &Option<GlobMatcher>, text: &Option<String>| {
        glob.as_ref()
            .is_none_or(|glob| text.as_ref().is_some_and(|text| glob.is_match(text)))
    };
    fits(&route.source, &event.identity.source)
        && fits(&route.event_type, &event.identity.event_type)
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;
    use crate::model::event::Identity;

    fn event(target: Option<&str>, source: &str, event_type: &str) -> Event {
        let identity = Identity {
            id: Some("1".into()),
            source: Some(source.into()),
            event_type: Some(event_type.into()),
        };
        Event {
            identity,
            expires_at: None,
            target: target.map(str::to_owned),
            user: None,
            changes: None,
        }
    }

    fn route(source: Option<&str>, event_type: Option<&str>, target: &str) -> Route {
        let glob = |text: &str| Glob::new(text).unwrap().compile_matcher();
        Route {
            source: source.map(glob),
            event_type: event_type.map(glob),
            target: target.into(),
        }
    }

    fn router() -> Router {
        Router::new(
            vec!["aipix".into(), "valt".into()],
            vec![
                route(Some("/billing/*"), Some("com.example.billing.*"), "aipix"),
                route(Some("/billing/*"), None, "valt"),
                route(None, Some("any.where"), "valt"),
                route(Some("/late/*"), None, "gone"),
            ],
        )
    }

    #[test]
    fn the_first_route_that_matches_wins() {
        let router = router();
        let claim = |source, event_type| router.claim(&event(None, source, event_type));
        assert_eq!(
            claim("/billing/eu", "com.example.billing.v1"),
            Claim::Target("aipix")
        );
        assert_eq!(
            claim("/billing/eu", "com.example.crm"),
            Claim::Target("valt")
        );
        assert_eq!(claim("urn:x", "any.where"), Claim::Target("valt"));
        assert!(matches!(
            claim("/crm", "com.example.billing.v1"),
            Claim::Unroutable { .. }
        ));
        assert!(matches!(claim("/late/x", "t"), Claim::Unroutable { .. }));
    }

    #[test]
    fn the_events_own_target_wins_over_all_routes() {
        let router = router();
        let billing = |target| {
            router.claim(&event(
                Some(target),
                "/billing/eu",
                "com.example.billing.v1",
            ))
        };
        assert_eq!(billing("valt"), Claim::Target("valt"));
        for unknown in ["", "Valt", "valt ", "unclaimed", &"x\n".repeat(5_000)] {
            let Claim::Unroutable { message } = billing(unknown) else {
                panic!("{unknown:?} was routed")
            };
            assert!(message.contains("configured are: aipix, valt"), "{message}");
            assert!(message.len() < 300 && !message.contains('\n'), "{message}");
        }
    }
}
