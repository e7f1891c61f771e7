//! A Kafka that lets nobody in unasked: client certificates, SCRAM logins, rights; and what is said
//! where it refuses.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::harness::bench::Bench;
use crate::harness::kafka::OwnBrokers;
use crate::harness::service::Service;
use crate::harness::update::Update;

const WRONG: &str = "wrong-Canary-password";

/// How the service is to come in.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// With a client certificate.
    Certificate,
    /// With a user's name, and the mechanism.
    Login(&'static str, &'static str),
}

/// Points the service at one of the secured listeners.
pub(crate) fn come_by(bench: &mut Bench, brokers: &OwnBrokers, way: Way) {
    let tls = brokers.env("KAFKA_TLS");
    bench.set("kafka.properties.ssl.ca.location", format!("{tls}/ca.pem"));
    match way {
        Way::Certificate => {
            bench.set("kafka.bootstrap_servers", brokers.env("KAFKA_MTLS_SERVERS"));
            bench.set("kafka.properties.security.protocol", "ssl");
            bench.set(
                "kafka.properties.ssl.certificate.location",
                format!("{tls}/client.pem"),
            );
            bench.set(
                "kafka.properties.ssl.key.location",
                format!("{tls}/client.key"),
            );
        }
        Way::Login(user, mechanism) => {
            bench.set("kafka.bootstrap_servers", brokers.env("KAFKA_SASL_SERVERS"));
            bench.set("kafka.properties.security.protocol", "sasl_ssl");
            bench.set("kafka.properties.sasl.mechanism", mechanism);
            bench.set("kafka.properties.sasl.username", user);
            bench.set(
                "kafka.properties.sasl.password_file",
                format!("{tls}/password"),
            );
        }
    }
}

/// The certificate of an authority that the broker has nothing to do with.
fn another_authority() -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap()
        .pem()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_delivers_and_commits_with_a_client_certificate_and_with_a_scram_login() {
    let brokers = OwnBrokers::secured("secured-ways");
    let mut bench = Bench::on(&brokers.servers).await;
    let mut places = Vec::new();
    for way in [
        Way::Certificate,
        Way::Login("courier", "SCRAM-SHA-256"),
        Way::Login("courier", "SCRAM-SHA-512"),
    ] {
        come_by(&mut bench, &brokers, way);
        let service = bench.start();
        let fine = bench.send(&[Update::valt(52, "Anna"), Update::aipix(7, &[9])]);
        let dead = bench.send(&[Update::new(
            "nowhere",
            5,
            serde_json::json!({ "name": "Anna" }),
        )]);
        places.extend([fine, dead].concat());
        let outcomes = bench.outcomes_of(&places);
        let endings: Vec<_> = outcomes
            .iter()
            .rev()
            .take(3)
            .rev()
            .map(crate::harness::outcome::Outcome::ending)
            .collect();
        assert_eq!(
            endings,
            ["delivered", "delivered", "dead_lettered unroutable"]
        );
        // The offsets went along: nothing of the ways before was called again.
        assert_eq!(service.terminate().code, Some(0));
        let (code, said) = bench.command(&["check"]);
        assert_eq!(code, Some(0), "{said}");
        bench.unset("kafka.properties");
    }
    assert_eq!(
        (bench.valt.stats().updates, bench.aipix.stats().updates),
        (3, 3)
    );
    assert_eq!(bench.dead_letters(3).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_not_let_in_it_waits_and_says_what_to_do_and_never_the_password() {
    let brokers = OwnBrokers::secured("secured-refusals");
    let mut bench = Bench::on(&brokers.servers).await;
    let wrong_password = bench.file("wrong", WRONG);
    let other_authority = bench.file("other.pem", &another_authority());
    let login = Way::Login("courier", "SCRAM-SHA-512");
    type Spoil<'a> = &'a dyn Fn(&mut Bench);
    let troubles: [(&str, Way, Spoil<'_>, [&str; 2]); 4] = [
        (
            "a wrong password",
            login,
            &|bench| {
                bench.set(
                    "kafka.properties.sasl.password_file",
                    wrong_password.clone(),
                )
            },
            [
                "invalid credentials",
                "check sasl.mechanism, sasl.username and the file of sasl.password",
            ],
        ),
        (
            "a mechanism that the broker does not have",
            login,
            &|bench| bench.set("kafka.properties.sasl.mechanism", "PLAIN"),
            ["supported mechanisms: SCRAM", "check sasl.mechanism"],
        ),
        (
            "an unknown authority",
            login,
            &|bench| bench.set("kafka.properties.ssl.ca.location", other_authority.clone()),
            [
                "broker certificate could not be verified",
                "ssl.ca.location (the authority of the brokers)",
            ],
        ),
        (
            "no client certificate",
            Way::Certificate,
            &|bench| {
                bench.unset("kafka.properties.ssl.certificate");
                bench.unset("kafka.properties.ssl.key");
            },
            ["alert", "ssl.certificate.location with ssl.key.location"],
        ),
    ];
    for (trouble, way, spoil, words) in troubles {
        come_by(&mut bench, &brokers, way);
        spoil(&mut bench);
        let (code, said) = bench.command(&["check"]);
        assert_eq!(code, Some(3), "{trouble}: {said}");
        let mut service = Service::run_unready(&bench.config_file());
        service.wait_for_log("waiting for Kafka");
        assert_eq!(
            (service.get("/livez").0, service.get("/readyz").0),
            (200, 503),
            "{trouble}"
        );
        service.wait_until("its status says so too", |service| {
            let status = service.status();
            assert!(!status.to_string().contains(WRONG), "{trouble}: {status}");
            let words_of = status["kafka"]["last_error"]
                .as_str()
                .is_some_and(|said| said.contains(words[1]));
            words_of && status["kafka"]["state"] == "down"
        });
        let ended = service.terminate();
        assert_eq!(ended.code, Some(0), "{trouble}");
        let (code, listed) = bench.command(&["dead-letters", "list"]);
        assert_eq!(code, Some(3), "{trouble}: {listed}");
        for text in [&said, &ended.errors, &listed] {
            assert!(
                words.iter().all(|words| text.contains(words)),
                "{trouble}: {words:?} is not said in {text}"
            );
            assert!(
                !text.contains(WRONG) && !text.contains("Canary"),
                "{trouble}: {text}"
            );
        }
        bench.unset("kafka.properties");
    }
}

/// Gives `stranger` rights on what has this name, as the documentation lists them.
fn grant(brokers: &OwnBrokers, operations: &[&str], resource: &[&str]) {
    let operations = operations
        .iter()
        .flat_map(|operation| ["--operation", operation]);
    let arguments = [
        "org.apache.kafka.tools.AclCommand",
        "--add",
        "--force",
        "--allow-principal",
        "User:stranger",
    ];
    brokers.tool(
        &arguments
            .into_iter()
            .chain(operations)
            .chain(resource.iter().copied())
            .collect::<Vec<_>>(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_suffice_and_a_missing_one_is_named() {
    let brokers = OwnBrokers::secured("secured-rights");
    let mut bench = Bench::on(&brokers.servers).await;
    come_by(
        &mut bench,
        &brokers,
        Way::Login("stranger", "SCRAM-SHA-512"),
    );
    let [updates, outcomes, dead_letters] = [0, 1, 2].map(|number| bench.topic(number));
    let prefix = format!("{}.", bench.id);
    let rights = "give the account the rights that docs/configuration.md lists";

    let (code, said) = bench.command(&["check"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains(&updates) && said.contains(rights), "{said}");
    let mut service = Service::run_unready(&bench.config_file());
    service.wait_for_log(rights);
    // It goes on by itself as soon as it may.
    grant(&brokers, &["Read", "Describe"], &["--topic", &updates]);
    grant(
        &brokers,
        &["Write", "Describe"],
        &["--topic", &outcomes, "--topic", &dead_letters],
    );
    for named in [
        "Broker: Group authorization failed",
        "Broker: Transactional Id authorization failed",
    ] {
        service.wait_for_log(named);
    }
    grant(
        &brokers,
        &["Read", "Describe"],
        &["--group", &prefix, "--resource-pattern-type", "prefixed"],
    );
    grant(
        &brokers,
        &["Write", "Describe"],
        &[
            "--transactional-id",
            &prefix,
            "--resource-pattern-type",
            "prefixed",
        ],
    );
    service.wait_until_ready();
    let places = bench.send(&[
        Update::valt(52, "Anna"),
        Update::new("nowhere", 5, serde_json::json!({ "name": "Anna" })),
    ]);
    let endings: Vec<_> = bench
        .outcomes_of(&places)
        .iter()
        .map(crate::harness::outcome::Outcome::ending)
        .collect();
    assert_eq!(endings, ["delivered", "dead_lettered unroutable"]);
    bench.dead_letters(1);
    assert_eq!(service.terminate().code, Some(0));
    let (code, said) = bench.command(&["check"]);
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_password_of_kafka_is_taken_up_without_a_restart() {
    const RENEWED: &str = "renewed-Canary-password";
    let brokers = OwnBrokers::secured("secured-renewal");
    let mut bench = Bench::on(&brokers.servers).await;
    come_by(&mut bench, &brokers, Way::Login("courier", "SCRAM-SHA-512"));
    let first = std::fs::read_to_string(format!("{}/password", brokers.env("KAFKA_TLS"))).unwrap();
    let file = bench.file("kafka-password", &first);
    bench.set("kafka.properties.sasl.password_file", file);
    let service = bench.start();
    let before = bench.send(&[Update::valt(52, "Anna")]);
    bench.outcomes_of(&before);
    let password = format!("SCRAM-SHA-512=[password={RENEWED}]");
    brokers.tool(&[
        "kafka.admin.ConfigCommand",
        "--alter",
        "--entity-type",
        "users",
        "--entity-name",
        "courier",
        "--add-config",
        &password,
    ]);
    // A file that is being written, or was written wrong, ends nothing.
    bench.file("kafka-password", "");
    service.wait_for_logs("the clients stay as they are until it is mended", 3);
    let meanwhile = bench.send(&[Update::valt(53, "Carla")]);
    bench.outcomes_of(&[before.clone(), meanwhile.clone()].concat());
    // Only what is made of the new file is let in any more.
    bench.file("kafka-password", RENEWED);
    service.wait_for_logs("the clients are made anew", 3);
    service.wait_for_logs("subscriber started", 6);
    let after = bench.send(&[Update::valt(52, "Berta"), Update::aipix(7, &[9])]);
    let outcomes = bench.outcomes_of(&[before, meanwhile, after].concat());
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending() == "delivered")
    );
    assert_eq!(
        (bench.valt.stats().updates, bench.aipix.stats().updates),
        (3, 1),
        "nothing was called again"
    );
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.errors.contains("Canary"), "{}", ended.errors);
}
