//! Secrets and certificates that nobody needs may be missing.

use super::*;

const NOTHING_THERE: &str = "[kafka]
bootstrap_servers = \"localhost:9092\"
properties = { \"sasl.password_file\" = \"DIR/gone\", \"ssl.ca.location\" = \"DIR/gone\" }
[targets.valt]
api = \"valt\"
base_url = \"https://valt.example.com\"
username = \"courier\"
password_file = \"DIR/gone\"
proxy = \"http://proxy:3128\"
proxy_user = \"courier\"
proxy_password_env = \"GONE\"
[targets.valt.tls]
ca_file = \"DIR/gone\"
[console]
token_file = \"DIR/gone\"
";

fn mistakes(needed: Needed, text: &str) -> Vec<String> {
    let fixture = Fixture::new();
    let file = fixture.0.path().join("config.toml");
    fs::write(&file, text.replace("DIR", fixture.folder())).unwrap();
    match Config::load_with(needed, &file, std::iter::empty(), &[]) {
        Ok(_) => Vec::new(),
        Err(Mistakes(found)) => found.into_iter().map(|mistake| mistake.key).collect(),
    }
}

#[test]
fn what_nobody_needs_may_be_missing() {
    let of_kafka = [
        "kafka.properties.sasl.password_file",
        "kafka.properties.ssl.ca.location",
    ];
    let of_targets = [
        "targets.valt.password_file",
        "targets.valt.proxy_password_env",
        "targets.valt.tls.ca_file",
        "console.token_file",
    ];
    assert_eq!(
        mistakes(Needed::All, NOTHING_THERE),
        [&of_kafka[..], &of_targets].concat()
    );
    assert_eq!(mistakes(Needed::Kafka, NOTHING_THERE), of_kafka);
    assert_eq!(mistakes(Needed::Nothing, NOTHING_THERE), [""; 0]);
}

#[test]
fn any_other_mistake_is_still_one() {
    let wrong = NOTHING_THERE.replace("username", "user_name");
    for needed in [Needed::Kafka, Needed::Nothing] {
        let found = mistakes(needed, &wrong);
        assert!(
            found.contains(&"targets.valt.user_name".to_owned()),
            "{found:?}"
        );
    }
}
