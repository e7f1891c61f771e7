use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use super::*;

/// The metrics that are no target's.
const OF_THE_PROCESS: [&str; 5] = [
    "build_info",
    "config_reloads_total",
    "dead_letters_near_retention",
    "log_lines_left_out_total",
    "spans_left_out_total",
];
/// What Prometheus and the scrape configuration add to every series.
const ADDED: [&str; 6] = ["cluster", "namespace", "instance", "job", "le", "__name__"];

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Everything that can be counted has been: each metric without its prefix, with its type and its
/// own labels.
fn exposed() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let metrics = Metrics::new().unwrap();
    let target = metrics.target("valt");
    target.attempted(Verdict::Delivered, "200", Duration::from_millis(3));
    target.lag("user-updates", HashMap::from([(0, 7)]));
    let text = metrics.text().unwrap();
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|line| line.split_once(' '))
        {
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((series, labels)) = line.split_once('{') {
            let (_, names) = found.get_mut(family(series)).unwrap();
            let labels = labels.split('}').next().unwrap().split(',');
            names.extend(
                labels
                    .map(|label| label.split('=').next().unwrap().to_owned())
                    .filter(|name| !ADDED.contains(&name.as_str())),
            );
        }
    }
    found
}

/// The metric that a series belongs to.
fn family(series: &str) -> &str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| series.strip_suffix(end))
        .unwrap_or(series)
}

/// The table in docs/metrics.md, in the form of [`exposed`].
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = file("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let mut found: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let name = cells[1].trim_matches('`');
            let mut labels: BTreeSet<_> = cells[3]
                .split(", ")
                .map(|label| label.trim_matches('`').to_owned())
                .collect();
            labels.remove("");
            if !OF_THE_PROCESS.contains(&name) {
                labels.insert("target".to_owned());
            }
            (
                format!("user_courier_{name}"),
                (cells[2].to_owned(), labels),
            )
        })
        .collect();
    for word in page.split('`').filter(|word| word.starts_with("process_")) {
        let kind = if word.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        found.insert(word.to_owned(), (kind.to_owned(), BTreeSet::new()));
    }
    found
}

/// The metrics that PromQL speaks of, each with the labels that it matches on.
fn named_in(query: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let starts = query
        .match_indices("user_courier_")
        .chain(query.match_indices("process_"))
        .map(|(at, _)| at);
    for at in starts.filter(|at| !query[..*at].ends_with(is_word)) {
        let end = query[at..]
            .find(|letter| !is_word(letter))
            .map_or(query.len(), |length| at + length);
        let labels = found.entry(family(&query[at..end]).to_owned()).or_default();
        if let Some(matchers) = query[end..]
            .strip_prefix('{')
            .and_then(|rest| rest.split('}').next())
        {
            labels.extend(
                matchers
                    .split(',')
                    .map(|matcher| matcher.trim().split(['=', '!']).next().unwrap().to_owned()),
            );
        }
    }
    found
}

/// Every query of the dashboard.
fn dashboard_queries() -> String {
    fn collect(value: &serde_json::Value, queries: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, value) in members {
                    match value {
                        serde_json::Value::String(query)
                            if name == "expr" || name == "query" || name == "definition" =>
                        {
                            queries.push(query.clone());
                        }
                        value => collect(value, queries),
                    }
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, queries)),
            _ => {}
        }
    }
    let mut queries = Vec::new();
    collect(
        &serde_json::from_str(&file("deploy/grafana/dashboards/user-courier.json")).unwrap(),
        &mut queries,
    );
    assert!(
        queries.len() > 10,
        "these are not the queries of a dashboard: {queries:?}"
    );
    queries.join("\n")
}

#[test]
fn the_documentation_names_what_is_exposed_and_nothing_else() {
    assert_eq!(documented(), exposed());
}

#[test]
fn the_dashboard_and_the_alerts_name_only_what_is_exposed_and_the_dashboard_all_of_it() {
    let exposed = exposed();
    let rules = file("deploy/prometheus/alerts.yml");
    let on_dashboard = named_in(&dashboard_queries());
    for (place, named) in [
        ("the dashboard", &on_dashboard),
        ("the alerts", &named_in(&rules)),
    ] {
        for (name, labels) in named {
            let (_, known) = exposed
                .get(name)
                .unwrap_or_else(|| panic!("{place} speaks of {name}, which is not exposed"));
            let unknown: Vec<_> = labels
                .iter()
                .filter(|label| !known.contains(*label) && !ADDED.contains(&label.as_str()))
                .collect();
            assert!(
                unknown.is_empty(),
                "{place} matches {name} on labels that it does not have: {unknown:?}"
            );
        }
    }
    let unused: Vec<_> = exposed
        .keys()
        .filter(|name| name.starts_with("user_courier_") && !on_dashboard.contains_key(*name))
        .collect();
    assert!(unused.is_empty(), "nobody looks at {unused:?}");
}

#[test]
fn each_alert_has_its_section_in_the_runbook_and_each_section_its_alert() {
    let (rules, runbook) = (
        file("deploy/prometheus/alerts.yml"),
        file("docs/runbook.md"),
    );
    let alerts: BTreeSet<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let sections: BTreeSet<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|title| title.starts_with("UserCourier"))
        .collect();
    assert_eq!(alerts, sections);
    let links: BTreeSet<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook_url: docs/runbook.md#"))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        links,
        alerts.iter().map(|alert| alert.to_lowercase()).collect()
    );
    let tested = file("deploy/prometheus/alerts_test.yml");
    let untested: Vec<_> = alerts
        .iter()
        .filter(|alert| !tested.contains(&format!("alertname: {alert}\n        exp_alerts:\n")))
        .collect();
    assert!(untested.is_empty(), "no test sees these fire: {untested:?}");
}

#[test]
fn a_counter_is_there_before_it_counts() {
    let metrics = Metrics::new().unwrap();
    let _target = metrics.target("valt");
    let text = metrics.text().unwrap();
    for series in [
        r#"logins_total{result="refused",target="valt"} 0"#,
        r#"rebalances_total{kind="lost",target="valt"} 0"#,
        r#"outcomes_total{outcome="dead_lettered",reason="expired",target="valt"} 0"#,
        r#"order_violations_total{target="valt"} 0"#,
        r#"altered_messages_total{target="valt",topic="dead_letters",what="headers"} 0"#,
        r#"altered_messages_total{target="valt",topic="outcomes",what="error"} 0"#,
        r#"config_reloads_total{result="refused"} 0"#,
        "spans_left_out_total 0",
    ] {
        assert!(
            text.contains(&format!("user_courier_{series}")),
            "{series} is missing"
        );
    }
}
