//! The environment over the file, and flags over both.

use super::*;
use crate::config::secret_file::Secret;

#[test]
fn the_environment_wins_over_the_file_and_flags_win_over_both() {
    let text = format!(
        "{LEAST}[targets.aipix.retry]\nmax_attempts = 3\nmax_backoff = \"3s\"\n[kafka.properties]\n\"client.id\" = \"file\"\nclient.rack = \"file\"\n[targets.VALT-eu]\napi = \"valt\"\nbase_url = \"https://a\"\naccess_token_file = \"DIR/token\"\n[[routes]]\nsource = \"a\"\ntarget = \"aipix\"\n"
    );
    let environment = [
        ("USER_COURIER__TARGETS__AIPIX__RETRY__MAX_ATTEMPTS", "4"),
        ("USER_COURIER__TARGETS__AIPIX__RETRY__MAX_BACKOFF", "4s"),
        ("USER_COURIER__TARGETS__AIPIX__DELIVERY__MERGE", "false"),
        ("USER_COURIER__TARGETS__VALT_EU__RETRY__MAX_ATTEMPTS", "5"),
        (
            "USER_COURIER__TARGETS__VALT_EU__ACCESS_TOKEN_ENV",
            "MY_TOKEN",
        ),
        ("USER_COURIER__KAFKA__GROUP_ID", "from-environment"),
        ("USER_COURIER__KAFKA__PROPERTIES__CLIENT_ID", "environment"),
        (
            "USER_COURIER__KAFKA__PROPERTIES__CLIENT_RACK",
            "environment",
        ),
        ("USER_COURIER__KAFKA__PROPERTIES__SASL_PASSWORD", "s3cret"),
        (
            "USER_COURIER__KAFKA__PROPERTIES__SSL_KEY_PASSWORD_FILE",
            "DIR/password",
        ),
        (
            "USER_COURIER__KAFKA__CONSUMER_PROPERTIES__SESSION_TIMEOUT_MS",
            "20000",
        ),
        ("USER_COURIER__ROUTES__0__TARGET", "VALT-eu"),
        ("USER_COURIER__ROUTES__1__TYPE", "b"),
        ("USER_COURIER__ROUTES__1__TARGET", "aipix"),
        ("MY_TOKEN", "x"),
        ("USER_COURIER_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
        ("RUST_LOG", "debug"),
    ];
    let flags = [
        ("targets.aipix.retry.max_attempts", "6"),
        ("kafka.properties.client.rack", "flag"),
        ("kafka.properties.\"sasl.username\"", "flag"),
        ("targets.\"VALT-eu\".base_url", "https://b"),
        ("log.level", "warn"),
        ("log.level", "trace"),
    ];
    let config = Fixture::new().load(&text, &environment, &flags).unwrap();
    let (aipix, valt) = (&config.targets[0], &config.targets[1]);
    assert_eq!(
        (
            aipix.retry.max_attempts,
            aipix.retry.max_backoff.as_secs(),
            aipix.delivery.merge
        ),
        (6, 4, false)
    );
    assert_eq!(
        (
            config.targets.len(),
            valt.name.as_str(),
            valt.retry.max_attempts
        ),
        (2, "VALT-eu", 5)
    );
    assert_eq!(valt.base_url.as_str(), "https://b/");
    assert_eq!(
        valt.credentials,
        Credentials::Token(Secret::Env("MY_TOKEN".into())),
        "over the file's access_token_file"
    );
    assert_eq!(config.kafka.group_id, "from-environment");
    assert_eq!(plain(&config.kafka.common, "client.id"), "environment");
    assert_eq!(plain(&config.kafka.common, "client.rack"), "flag");
    assert_eq!(plain(&config.kafka.common, "sasl.username"), "flag");
    assert_eq!(plain(&config.kafka.common, "sasl.password"), "s3cret");
    assert!(matches!(
        config.kafka.common.0["ssl.key.password"],
        PropertyValue::Secret(Secret::File(_))
    ));
    assert_eq!(config.kafka.session_timeout.as_secs(), 20);
    assert_eq!(
        config
            .routes
            .iter()
            .map(|route| route.target.as_str())
            .collect::<Vec<_>>(),
        ["VALT-eu", "aipix"]
    );
    assert_eq!(
        config.log.level,
        tracing::level_filters::LevelFilter::TRACE.into()
    );
}

#[test]
fn everything_can_come_from_the_environment() {
    let environment = [
        ("USER_COURIER__KAFKA__BOOTSTRAP_SERVERS", "kafka:9092"),
        ("USER_COURIER__TARGETS__VALT__API", "valt"),
        (
            "USER_COURIER__TARGETS__VALT__BASE_URL",
            "https://valt.example.com",
        ),
        ("USER_COURIER__TARGETS__VALT__USERNAME", "courier"),
        ("USER_COURIER__TARGETS__VALT__PASSWORD_ENV", "VALT_PASSWORD"),
        ("VALT_PASSWORD", "x"),
    ];
    let config = Fixture::new().load("", &environment, &[]).unwrap();
    assert_eq!(
        (config.targets.len(), config.targets[0].name.as_str()),
        (1, "valt")
    );
}

#[test]
fn mistakes_in_the_environment_and_the_flags_name_them() {
    let environment = [
        ("USER_COURIER__TARGETS__AIPIX__RETRY__MAX_ATTEMPTS", "many"),
        ("USER_COURIER__TARGETS__AIPIX__TOKEN", "hunter2"),
        (
            "USER_COURIER__TARGETS__AIPIX__DELIVERY__REQUEST_TIMEOUT",
            "60s",
        ),
        ("USER_COURIER__KAFKA", "localhost:9092"),
        ("USER_COURIER__LOG__", "x"),
        ("USER_COURIER__ADMIN__LISTEN__PORT", "1"),
        ("USER_COURIER__ROUTES__0__SOURCE", "*"),
        ("USER_COURIER__TARGET__X__API", "x"),
    ];
    let flags = [
        ("shutdown.drain_timeout", "0.5s"),
        ("kafka group", "x"),
        ("routes.1.target", "x"),
        ("", "x"),
        ("a = 1\nb", "x"),
    ];
    let text = format!("{LEAST}[admin]\nlisten = \"127.0.0.1:0\"\n");
    let lines = Fixture::new().mistakes(&text, &environment, &flags);
    let expected = [
        "environment variable USER_COURIER__ADMIN__LISTEN__PORT: admin.listen.port: what stands above it is not a table",
        "environment variable USER_COURIER__KAFKA: kafka: is a string and should be a table: [kafka]",
        "environment variable USER_COURIER__LOG__: names no key: write it as USER_COURIER__SECTION__KEY",
        "environment variable USER_COURIER__ROUTES__0__SOURCE: routes[0].target: is required: the name of a target",
        "environment variable USER_COURIER__TARGETS__AIPIX__DELIVERY__REQUEST_TIMEOUT: targets.aipix.delivery.request_timeout: request_timeout (1m) must be below session.timeout.ms (15s), or a call of a lost instance could land after its successor's",
        "environment variable USER_COURIER__TARGETS__AIPIX__RETRY__MAX_ATTEMPTS: targets.aipix.retry.max_attempts: is a string and should be a whole number",
        "environment variable USER_COURIER__TARGETS__AIPIX__TOKEN: targets.aipix.token: a secret is never written in the configuration: name a file in `token_file` or an environment variable in `token_env`",
        "environment variable USER_COURIER__TARGET__X__API: target: unknown key; the nearest known one is `targets` (known here: kafka, targets, routes, admin, console, log, traces, shutdown)",
        "--set : names no key: write it as --set section.key=value",
        "--set a = 1?b: names no key: write it as --set section.key=value",
        "--set kafka group: names no key: write it as --set section.key=value",
        "--set routes.1.target: routes[1].source: a route needs `source` or `type` or both: \"*\" fits everything",
        "--set routes.1.target: routes[1].target: there is no target `x`; the nearest is `aipix`",
        "--set shutdown.drain_timeout: shutdown.drain_timeout: `0.5s` is not a duration: write a whole number and its unit (ms, s, m, h), such as \"250ms\" or \"30s\"",
        "14 mistakes in the configuration",
    ];
    assert_eq!(lines, expected);
}
