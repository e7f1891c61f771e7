//! Configurations without mistakes: what is read from them.

use super::*;
use crate::config::secret_file::Secret;

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = Fixture::new().load(LEAST, &[], &[]).unwrap();
    assert_eq!(config.kafka.bootstrap_servers, "localhost:9092");
    assert_eq!(config.kafka.group_id, "user-courier");
    assert!(!config.kafka.instance_id.is_empty());
    assert_eq!(config.kafka.topics, Topics::default());
    assert_eq!(config.kafka.session_timeout.as_secs(), 15);
    assert!(config.kafka.consumer.0.is_empty());
    let target = &config.targets[0];
    assert_eq!((target.name.as_str(), target.api.name), ("aipix", "aipix"));
    assert_eq!(target.base_url.as_str(), "https://vms.example.com/");
    assert_eq!(
        (&target.delivery, &target.retry, &target.tls),
        (&Delivery::default(), &Retry::default(), &Tls::default())
    );
    assert_eq!(target.delivery.request_timeout.as_secs(), 10);
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(
        (config.log.level, config.log.format),
        (
            tracing::level_filters::LevelFilter::INFO.into(),
            LogFormat::Auto
        )
    );
    assert_eq!(
        config
            .console
            .instances
            .iter()
            .map(|url| url.as_str())
            .collect::<Vec<_>>(),
        ["http://127.0.0.1:9464/"]
    );
    assert_eq!(
        (&config.console.hosts[..], &config.console.token),
        (&[][..], &None)
    );
    assert_eq!(config.shutdown.drain_timeout.as_secs(), 20);
    assert!(config.routes.is_empty());
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn a_whole_configuration_is_read_and_shows_no_secret() {
    let text = r#"
[kafka]
bootstrap_servers = "kafka-1:9092, kafka-2:9092,[::1]:9092"
group_id          = "team.courier"
instance_id       = "courier-1"
[kafka.topics]
updates      = "u"
outcomes     = "o"
dead_letters = "d"
[kafka.properties]
security.protocol = "sasl_plaintext"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "courier"
"sasl.password" = "pl4in-s3cret"
"ssl.key.password_file" = "DIR/password"
"socket.keepalive.enable" = true
[kafka.consumer_properties]
session.timeout.ms = 30000
[kafka.producer_properties]
"compression.type" = "zstd"
"linger.ms" = 2.5

[targets.aipix]
api        = "aipix"
base_url   = "https://vms.example.com/prefix"
token_file = "DIR/token"
[targets.valt-2]
api           = "valt"
base_url      = "http://valt.example.com"
username      = "courier"
password_env  = "VALT_PASSWORD"
[targets.valt-2.delivery]
request_timeout = "29s"
max_concurrency = 1
rate_limit      = 7
max_waiting     = 20
merge           = false
[targets.valt-2.retry]
initial_backoff = "1ms"
max_backoff     = "2m"
max_attempts    = 3

[[routes]]
source = "/billing/*"
type   = "com.example.billing.*"
target = "aipix"
[[routes]]
type   = "*"
target = "valt-2"

[admin]
listen = "0.0.0.0:0"
[log]
level  = "debug"
format = "json"
[shutdown]
drain_timeout = "0s"
"#;
    let fixture = Fixture::new();
    let config = fixture
        .load(text, &[("VALT_PASSWORD", "3nv-s3cret")], &[])
        .unwrap();
    assert_eq!(config.kafka.session_timeout.as_secs(), 30);
    assert_eq!(
        plain(&config.kafka.common, "socket.keepalive.enable"),
        "true"
    );
    assert_eq!(plain(&config.kafka.consumer, "session.timeout.ms"), "30000");
    assert_eq!(plain(&config.kafka.producer, "linger.ms"), "2.5");
    assert_eq!(plain(&config.kafka.producer, "sasl.username"), "courier");
    assert!(!config.kafka.producer.0.contains_key("session.timeout.ms"));
    assert!(!config.kafka.consumer.0.contains_key("compression.type"));
    let resolved = config.kafka.common.resolve().unwrap();
    assert!(resolved.contains(&("ssl.key.password".to_owned(), "p4ssword".to_owned())));

    let [aipix, valt] = config.targets.as_slice() else {
        panic!("two targets")
    };
    assert_eq!(aipix.base_url.path(), "/prefix");
    assert_eq!(
        aipix.credentials,
        Credentials::Token(Secret::File(format!("{}/token", fixture.folder()).into()))
    );
    let password = Secret::Env("VALT_PASSWORD".into());
    assert_eq!(
        valt.credentials,
        Credentials::login(valt.api, "courier", password).unwrap()
    );
    assert_eq!(valt.delivery.rate_limit.map(u32::from), Some(7));
    assert!(!valt.delivery.merge);
    assert_eq!(
        (valt.retry.max_backoff.as_secs(), valt.retry.max_attempts),
        (120, 3)
    );

    let billing = &config.routes[0];
    assert!(
        billing.source.as_ref().unwrap().is_match("/billing/eu/x"),
        "a star takes slashes too"
    );
    assert!(
        !billing
            .source
            .as_ref()
            .unwrap()
            .is_match("/other/billing/x")
    );
    assert!(
        billing
            .event_type
            .as_ref()
            .unwrap()
            .is_match("com.example.billing.user.changed")
    );
    assert!(config.routes[1].source.is_none());
    assert_eq!(config.routes[1].target, "valt-2");

    let warned: Vec<String> = config
        .warnings
        .iter()
        .map(|warning| warning.replace(fixture.folder(), "DIR"))
        .collect();
    assert_eq!(
        warned,
        [
            "DIR/config.toml:14:1: kafka.properties.sasl.password: is a secret written in plain sight: use `sasl.password_file` or `sasl.password_env`",
            "DIR/config.toml:29:1: targets.valt-2.base_url: is http:// and not loopback: credentials and updates can be read on their way; use https://",
            "DIR/config.toml:52:1: admin.listen: is not loopback: whoever reaches this address can read metrics and status",
        ]
    );
    let shown = format!("{config:?}");
    for secret in ["pl4in-s3cret", "p4ssword", "t0ken-s3cret", "3nv-s3cret"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn the_example_is_read_and_holds_the_defaults() {
    let fixture = Fixture::new();
    let example = include_str!("../../../config/user-courier.toml");
    let text = example
        .replace("/run/secrets/aipix-token", "DIR/token")
        .replace("/run/secrets/valt-password", "DIR/password");
    let config = fixture.load(&text, &[], &[]).unwrap();
    let least = fixture.load(LEAST, &[], &[]).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(config.targets.len(), 2);
    assert_eq!(config.targets[1].delivery, Delivery::default());
    assert_eq!(config.targets[1].retry, Retry::default());
    assert_eq!(
        (
            config.kafka.topics,
            config.kafka.group_id,
            config.kafka.instance_id
        ),
        (
            least.kafka.topics,
            least.kafka.group_id,
            least.kafka.instance_id
        )
    );
    assert_eq!(
        (config.admin, config.log, config.shutdown),
        (least.admin, least.log, least.shutdown)
    );
    assert_eq!(config.traces, least.traces);

    // What it leaves out by a comment is right too.
    let commented = text.replace(
        "
# \"", "
\"",
    );
    let commented = commented.replace("/run/secrets/kafka-password", "DIR/password");
    let commented = commented.replace("\"ssl.ca.location\" = \"/etc/ssl/kafka-ca.pem\"", "");
    let config = fixture.load(&commented, &[], &[]).unwrap();
    assert!(config.kafka.common.0.contains_key("sasl.password"));
    assert!(config.kafka.producer.0.contains_key("compression.type"));
}

#[test]
fn what_leaves_the_brokers_certificates_unchecked_is_warned_about() {
    for (property, unsafe_value, safe_value) in [
        ("enable.ssl.certificate.verification", "false", "true"),
        (
            "ssl.endpoint.identification.algorithm",
            "\"none\"",
            "\"https\"",
        ),
    ] {
        for (value, count) in [(unsafe_value, 1), (safe_value, 0)] {
            let text = format!("{LEAST}[kafka.properties]\n\"{property}\" = {value}\n");
            let warnings = Fixture::new().load(&text, &[], &[]).unwrap().warnings;
            assert_eq!(warnings.len(), count, "{warnings:?}");
            assert!(
                warnings.iter().all(|warning| warning.contains(property)
                    && warning.contains("certificates unchecked")),
                "{warnings:?}"
            );
        }
    }
}
