//! Random documents, variables and flags: whatever they hold, each mistake is told with its place,
//! and no secret.

use proptest::prelude::*;

use super::*;
use crate::config::keys::{KEYS, Key};
use crate::config::kind::ValueKind;

/// Values of every kind: most of them are wrong for most keys, and two are no TOML.
#[rustfmt::skip]
const VALUES: [&str; 29] = [
    "\"10s\"", "\"99h\"", "\"\"", "0", "-1", "7", "9999999999999999999999999999999999999999999", "0.5", "true", "[]", "[7]",
    "[\"http://courier-1:9464\"]", "[{ a = 1 }]", "{}", "{ a = 1, source_file = \"a\" }", "1979-05-27", "\"aipix\"", "\"valt\"",
    "\"https://vms.example.com\"", "\"http://a@x/?b\"", "\"localhost:9092\"", "\"127.0.0.1:0\"", "\"DIR/token\"",
    "\"DIR/missing\"", "\"info\"", "\"json\"", "\"a[\"", "= 3", "\"x",
];
/// [`LEAST`], so that keys of its tables can be beside it.
const DOTTED: &str = "kafka.bootstrap_servers = \"localhost:9092\"
targets.aipix.api = \"aipix\"
targets.aipix.base_url = \"https://vms.example.com\"
targets.aipix.token_file = \"DIR/token\"
";
const TARGETS: [&str; 3] = ["aipix", "valt-2", "unclaimed"];
const PROPERTIES: [&str; 5] = [
    "sasl.password",
    "session.timeout.ms",
    "max.poll.interval.ms",
    "acks",
    "\"no.such\"",
];

/// A key as the table has it or with a letter changed, and a value. That of a secret is `hunter2`.
fn setting() -> impl Strategy<Value = (String, &'static str)> {
    let typo = prop::option::weighted(0.1, (any::<prop::sample::Index>(), "[a-z._ü]"));
    let key = (
        0..KEYS.len(),
        prop::sample::select(vec!["", "", "_file", "_env"]),
        0..15usize,
    );
    let value = (any::<bool>(), prop::sample::select(&VALUES[..]));
    (key, value, typo).prop_map(|((key, end, name), (is_good, value), typo)| {
        let key = &KEYS[key];
        let value = if is_good { good(key) } else { value };
        let names = if key.path.starts_with("kafka") {
            &PROPERTIES[..]
        } else {
            &TARGETS[..]
        };
        let mut path = key.path.replace("NAME", names[name % names.len()]) + end;
        if let Some((at, letter)) = typo {
            let at = at.index(path.len());
            path.replace_range(at..=at, &letter);
        }
        let is_secret = matches!(key.kind, ValueKind::Secret) || path.contains("password");
        (path, if is_secret { "\"hunter2\"" } else { value })
    })
}

/// A value that the key takes.
fn good(key: &Key) -> &'static str {
    match (key.kind, key.path.rsplit('.').next()) {
        (ValueKind::Number(_), _) => "7",
        (ValueKind::Ratio, _) => "0.5",
        (ValueKind::Boolean, _) => "false",
        (ValueKind::Duration(_), Some("window")) => "\"3m\"",
        (ValueKind::Duration(_), _) => "\"3s\"",
        (ValueKind::Time, _) => "2026-12-01T12:00:00Z",
        (ValueKind::List, Some("also")) => "[\"permissions\"]",
        (ValueKind::List, Some("protected_users")) => "[\"1-99\", 4711]",
        (ValueKind::List, Some("instances")) => "[\"http://courier-1:9464\"]",
        (ValueKind::List, _) => "[\"courier.example.com\"]",
        (ValueKind::Word(words), _) => {
            ["\"auto\"", "\"aipix\""][usize::from(words().contains(&"aipix"))]
        }
        (_, Some("listen")) => "\"[::1]:0\"",
        (_, Some("level")) => "\"debug\"",
        (_, Some("base_url" | "endpoint")) => "\"https://example.com/a\"",
        (_, Some("target")) => "\"valt-2\"",
        (_, Some("NAME")) => "30000",
        _ => "\"good\"",
    }
}

/// A document of these settings; those of routes are in one route.
fn document(settings: &[(String, &'static str)], least: bool) -> String {
    let (routes, others): (Vec<_>, Vec<_>) = settings
        .iter()
        .partition(|(path, _)| path.starts_with("routes."));
    let mut text: String = others
        .iter()
        .map(|(path, value)| format!("{path} = {value}\n"))
        .collect();
    if least {
        text.push_str(DOTTED);
    }
    if !routes.is_empty() {
        text.push_str("[[routes]]\n");
        text.extend(
            routes
                .iter()
                .map(|(path, value)| format!("{} = {value}\n", &path["routes.".len()..])),
        );
    }
    text
}

/// Whether the text at a mistake's place is a part of its key, as far as that can be told.
fn is_place_of(mistake: &Mistake, here: &str) -> bool {
    let Mistake { key, message, .. } = mistake;
    let here = here.trim_start_matches(['[', '"']);
    let is_elsewhere =
        key.is_empty() || message.starts_with("holds ") || message.contains(" must be below ");
    is_elsewhere
        || key
            .split('.')
            .any(|part| here.starts_with(part.trim_matches('"').trim_end_matches("[0]")))
}

proptest! {
    #[test]
    fn each_mistake_has_a_place_and_quotes_no_secret(
        settings in prop::collection::vec(setting(), 0..12),
        variables in prop::collection::vec(setting(), 0..3),
        flags in prop::collection::vec(setting(), 0..3),
        least in any::<bool>(),
    ) {
        let text = document(&settings, least);
        let unquoted = |value: &str| value.trim_matches('"').to_owned();
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|(path, value)| (format!("USER_COURIER__{}", path.to_uppercase().replace('.', "__")), unquoted(value)))
            .collect();
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let flags: Vec<(&str, &str)> = flags.iter().map(|(path, value)| (path.as_str(), *value)).collect();
        let fixture = Fixture::new();
        let Err(mistakes) = fixture.load(&text, &variables, &flags) else { return Ok(()) };
        prop_assert!(!mistakes.to_string().contains("hunter2"), "{mistakes}\n{text}");
        for mistake in &mistakes.0 {
            prop_assert!(!mistake.message.is_empty() && mistake.to_string().lines().count() == 1, "{mistake}");
            match &mistake.origin {
                // A missing key has no place of its own.
                Origin::File { line: 0, .. } => prop_assert!(mistake.message.contains("required"), "{mistake}\n{text}"),
                Origin::File { line, column, .. } => {
                    let here: String = text.lines().nth(line - 1).unwrap_or_default().chars().skip(column - 1).collect();
                    prop_assert!(is_place_of(mistake, &here), "{here}\n{mistake}\n{text}");
                }
                Origin::Environment(name) => prop_assert!(variables.iter().any(|(known, _)| known == name), "{mistake}"),
                Origin::Flag(key) => prop_assert!(flags.iter().any(|(known, _)| known == key), "{mistake}"),
            }
        }
    }
}
