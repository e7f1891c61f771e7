//! Wrong configurations, and the very lines that they are answered with.

use super::*;

#[test]
fn many_mistakes_are_reported_at_once_in_the_order_of_their_places() {
    let text = "[kafka]
group_id = 7
[kafka.topics]
outcomes = \"user-updates\"
[targets.valt]
api = \"valtt\"
base_url = \"ftp://valt.example.com\"
[targets.valt.retry]
max_atempts = 3
[targets.aipix]
api = \"aipix\"
base_url = \"https://vms.example.com\"
token_file = \"DIR/missing\"
[log]
level = \"loud\"
";
    let lines = Fixture::new().mistakes(
        text,
        &[("USER_COURIER__LOG__FORMAT", "xml")],
        &[("admin.listen", "9464")],
    );
    let expected = [
        "DIR/config.toml:1:2: kafka.bootstrap_servers: is required: one or more brokers, such as \"localhost:9092\"",
        "DIR/config.toml:2:1: kafka.group_id: is a whole number and should be a string in quotes",
        "DIR/config.toml:4:1: kafka.topics.outcomes: `user-updates` is the topic of `updates` too: they must differ",
        "DIR/config.toml:6:1: targets.valt.api: `valtt` is not one of APIS",
        "DIR/config.toml:7:1: targets.valt.base_url: must begin with https:// or http://",
        "DIR/config.toml:9:1: targets.valt.retry.max_atempts: unknown key; the nearest known one is `max_attempts` (known here: initial_backoff, max_backoff, max_attempts)",
        "DIR/config.toml:13:1: targets.aipix.token_file: the file DIR/missing cannot be read: No such file or directory (os error 2)",
        "DIR/config.toml:15:1: log.level: `loud` is not one of error, warn, info, debug, trace, off; a list is written as \"info,user_courier::subscriber::ending=warn\"",
        "environment variable USER_COURIER__LOG__FORMAT: log.format: `xml` is not one of auto, text, json",
        "--set admin.listen: admin.listen: is not an address: write an IP address and a port, such as \"127.0.0.1:9464\" or \"[::1]:9464\"",
        "10 mistakes in the configuration",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn an_empty_file_lacks_what_is_required() {
    check(
        "",
        &[
            "kafka.bootstrap_servers: is required: one or more brokers, such as \"localhost:9092\"",
            "targets: at least one target is required: [targets.NAME] with `api`, `base_url` and credentials",
        ],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let fixture = Fixture::new();
    let missing = fixture.0.path().join("missing.toml");
    let mistakes = Config::load(&missing, std::iter::empty(), &[])
        .map(|_| ())
        .unwrap_err();
    let expected = format!(
        "{}: the file cannot be read: No such file or directory (os error 2)\n1 mistake in the configuration",
        missing.display()
    );
    assert_eq!(mistakes.to_string(), expected);
    let binary = fixture.0.path().join("binary.toml");
    fs::write(&binary, b"\xff").unwrap();
    let mistakes = Config::load(&binary, std::iter::empty(), &[])
        .map(|_| ())
        .unwrap_err();
    assert_eq!(mistakes.0[0].message, "the file is not UTF-8 text");
}

#[test]
fn what_is_no_toml_is_reported_with_the_other_mistakes_and_without_guesses() {
    let text = "[kafka]
bootstrap_servers = localhost:9092
[targets.aipix
[targets.valt]
api = \"valt\"
password_env = hunter2
frobnicate = 1
frobnicate = 1
[log]
level = \"loud\"
";
    check(
        text,
        &[
            "2:21: this is not TOML: string values must be quoted, expected literal string",
            "3:15: this is not TOML: unclosed table, expected `]`",
            "6:16: this is not TOML: string values must be quoted, expected literal string",
            "7:1: targets.valt.frobnicate: unknown key; the nearest known one is `username` (known here: api, base_url, paused, access_token_file, access_token_env, username, password_file, password_env, proxy, proxy_user, proxy_password_file, proxy_password_env, delivery, retry, tls)",
            "8:1: this is not TOML: duplicate key",
            "10:1: log.level: `loud` is not one of error, warn, info, debug, trace, off; a list is written as \"info,user_courier::subscriber::ending=warn\"",
        ],
    );
}

#[test]
fn the_values_of_a_target_are_checked() {
    let duration = "is not a duration: write a whole number and its unit (ms, s, m, h), such as \"250ms\" or \"30s\"";
    check_added(&[
        (
            "retry = 3\n",
            &[
                "7:1: targets.aipix.retry: is a whole number and should be a table: [targets.aipix.retry]",
            ],
        ),
        (
            "[targets.aipix.retry]\nmax_attempts = 0\n",
            &["8:1: targets.aipix.retry.max_attempts: must be from 1 to 1000000, not 0"],
        ),
        (
            "retry.max_attempts = 99999999999999999999\n",
            &[
                "7:7: targets.aipix.retry.max_attempts: must be from 1 to 1000000, not 99999999999999999999",
            ],
        ),
        (
            "retry.max_attempts = 1.5\n",
            &[
                "7:7: targets.aipix.retry.max_attempts: is a number with a fraction and should be a whole number",
            ],
        ),
        (
            "retry.max_attempts = \"8\"\n",
            &["7:7: targets.aipix.retry.max_attempts: is a string and should be a whole number"],
        ),
        (
            "retry.initial_backoff = \"0s\"\n",
            &["7:7: targets.aipix.retry.initial_backoff: must be from 1ms to 1h, not 0s"],
        ),
        (
            "retry.initial_backoff = \"1m\"\n",
            &[
                "7:7: targets.aipix.retry.initial_backoff: initial_backoff (1m) must not be above max_backoff (30s)",
            ],
        ),
        (
            "retry.max_backoff = \"100ms\"\n",
            &[
                "7:7: targets.aipix.retry.max_backoff: initial_backoff (200ms) must not be above max_backoff (100ms)",
            ],
        ),
        (
            "retry.max_backoff = \"soon\"\n",
            &[&format!(
                "7:7: targets.aipix.retry.max_backoff: `soon` {duration}"
            )],
        ),
        (
            "delivery.request_timeout = 10\n",
            &[
                "7:10: targets.aipix.delivery.request_timeout: is a whole number and should be a duration such as \"250ms\" or \"30s\"",
            ],
        ),
        (
            "delivery.max_concurrency = 0\n",
            &["7:10: targets.aipix.delivery.max_concurrency: must be from 1 to 100000, not 0"],
        ),
        (
            "delivery.max_waiting = 10000001\n",
            &["7:10: targets.aipix.delivery.max_waiting: must be from 1 to 10000000, not 10000001"],
        ),
        (
            "delivery.rate_limit = -1\n",
            &["7:10: targets.aipix.delivery.rate_limit: must be from 0 to 1000000, not -1"],
        ),
        (
            "delivery.merge = \"yes\"\n",
            &["7:10: targets.aipix.delivery.merge: is a string and should be true or false"],
        ),
    ]);
}

#[test]
fn sections_are_checked() {
    check_added(&[
        (
            "[log]\nlevel = \"\"\n",
            &["8:1: log.level: must not be empty"],
        ),
        (
            "[admin]\nlisten = \"localhost:9464\"\n",
            &[
                "8:1: admin.listen: is not an address: write an IP address and a port, such as \"127.0.0.1:9464\" or \"[::1]:9464\"",
            ],
        ),
        (
            "[console]\ninstances = [\"localhost:9464\"]\nhosts = [\"A:1\"]\ntoken = \"hunter2\"\n",
            &[
                "8:1: console.instances: should be the addresses of admin endpoints, such as \"http://courier-1:9464\": http://, a host and a port, nothing else",
                "9:1: console.hosts: `A:1` is no host's name: write it in lower case and without a port, such as \"courier.example.com\"",
                "10:1: console.token: a secret is never written in the configuration: name a file in `token_file` or an environment variable in `token_env`",
            ],
        ),
        (
            "[console]\ninstances = 7\nhosts = [8]\ntoken_env = \"SET\"\n",
            &[
                "8:1: console.instances: is a whole number and should be a list of strings: [\"…\", \"…\"]",
                "9:10: console.hosts: holds a whole number and should be a list of strings",
                "10:1: console.token_env: the token is too short: 16 characters at least, such as those of `openssl rand -hex 32`",
            ],
        ),
        (
            "[kafka.topics]\nupdates = \"a/b\"\n",
            &[
                "8:1: kafka.topics.updates: is no topic's name: 1 to 249 letters, digits, `.`, `_` or `-`",
            ],
        ),
        (
            "[kafka.topics]\nupdates = \"user-update-outcomes\"\n",
            &[
                "8:1: kafka.topics.updates: `user-update-outcomes` is the topic of `outcomes` too: they must differ",
            ],
        ),
        (
            "[shutdown]\ndrain_timeout = \"5m\"\n",
            &[
                "8:1: shutdown.drain_timeout: drain_timeout (5m) must be below max.poll.interval.ms (5m), or the group moves on before a partition is handed over",
            ],
        ),
    ]);
    check_replaced(&[
        (
            "localhost:9092",
            "localhost:port",
            "2:1: kafka.bootstrap_servers: should be host:port, several separated by commas, such as \"kafka-1:9092,kafka-2:9092\"",
        ),
        (
            "localhost:9092",
            " ",
            "2:1: kafka.bootstrap_servers: must not be empty",
        ),
        (
            "[kafka]",
            "[kafka]\ninstance_id = \"a b\"",
            "2:1: kafka.instance_id: should be 1 to 200 letters, digits, `.`, `_` or `-`",
        ),
    ]);
}

#[test]
fn a_secret_put_in_the_wrong_place_is_not_repeated() {
    let text = "[kafka]
bootstrap_servers = \"hunter2 hunter2\"
group_id = \"hunter2 hunter2\"
[kafka.properties]
sasl.password = [\"hunter2\"]
ssl.key.password_file = \"hunter2\"
ssl.keystore.password_env = \"hunter2\"
[targets.a]
api = \"aipix\"
base_url = \"https://x:hunter2@y?hunter2\"
token = \"hunter2\"
token_file = \"hunter2\"
password = \"hunter2\"
password_env = \"hunter2\"
tls.ca_file = \"hunter2\"
";
    let lines = Fixture::new().mistakes(
        text,
        &[("USER_COURIER__TARGETS__A__ACCESS_TOKEN", "hunter2")],
        &[("targets.a.secret", "hunter2")],
    );
    assert_eq!(
        lines.last().map(String::as_str),
        Some("14 mistakes in the configuration"),
        "{lines:#?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains("hunter2")),
        "{lines:#?}"
    );
}
