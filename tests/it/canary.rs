//! Canaries: secrets of every kind, in the hands of everything that may go wrong. Not a trace of
//! one may be seen anywhere.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use crate::harness::bench::Bench;
use crate::harness::kafka::{Message, OwnBrokers, Reader};
use crate::harness::leaky::{self, WAYS};
use crate::harness::outcome::Outcome;
use crate::harness::update::Update;
use crate::secured_kafka::{Way, come_by};

/// With everything that some writing of it changes.
const PASSWORD: &str = "pä/ss \"w<o>&rd'-Canary";
const CARD: &str = "0004711-Canary-card";
const API_PASSWORD: &str = "api-password-Canary";
const LOGIN_TOKEN: &str = "10ginT0ken/Canary+42";
const FIXED_TOKEN: &str = "f1xedT0ken/Canary+42";
const CLIENT_SECRET: &str = "cl1entSecret/Canary&42";
/// Stands where no secret is expected: the service must be silent of it all the same, but whoever
/// looks at the record itself sees it.
const MISPLACED: &str = "m1splaced-Canary";
const CANARIES: [&str; 6] = [
    PASSWORD,
    CARD,
    API_PASSWORD,
    LOGIN_TOKEN,
    FIXED_TOKEN,
    CLIENT_SECRET,
];

/// The ways in which a secret may be written.
pub(crate) fn forms(secret: &str) -> Vec<String> {
    let quoted = Value::from(secret).to_string();
    let json = quoted[1..quoted.len() - 1].to_owned();
    let php = json.replace('/', "\\/").replace('ä', "\\u00e4");
    let url: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let html = secret
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#039;");
    let cut = secret.chars().take(10).collect();
    let upper = secret.to_uppercase();
    vec![
        secret.to_owned(),
        upper,
        json,
        php,
        url.replace('+', "%20"),
        url,
        html,
        STANDARD.encode(secret),
        URL_SAFE.encode(secret),
        cut,
    ]
}

/// What was seen, each with where.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn see(&mut self, place: impl Into<String>, text: impl AsRef<[u8]>) {
        self.0.push((
            place.into(),
            String::from_utf8_lossy(text.as_ref()).into_owned(),
        ));
    }

    fn command(&mut self, bench: &Bench, arguments: &[&str], code: i32) {
        let (ended, said) = bench.command(arguments);
        assert_eq!(ended, Some(code), "{arguments:?}: {said}");
        self.see(format!("{arguments:?}"), said);
    }

    /// Fails where 8 characters of any form of a secret stand, in upper or lower case.
    #[track_caller]
    fn check(&self, secrets: &[&str]) {
        let mut found = Vec::new();
        for form in secrets.iter().flat_map(|secret| forms(secret)) {
            let beginning: String = form.to_lowercase().chars().take(8).collect();
            for (place, text) in &self.0 {
                if let Some(line) = text
                    .lines()
                    .find(|line| line.to_lowercase().contains(&beginning))
                {
                    found.push(format!("{form} in {place}: {line}"));
                }
            }
        }
        assert!(
            found.is_empty(),
            "{} traces, the first:\n{}",
            found.len(),
            found[..found.len().min(5)].join("\n")
        );
    }
}

/// Updates that are wrong in some way around the secrets in them.
fn malformed() -> Vec<Message> {
    let data = |changes: Value| {
        Update::of_data(
            "52",
            json!({ "target": "valt", "user": 52, "changes": changes }),
        )
        .message()
    };
    let mut messages = vec![
        data(json!({ "password": [PASSWORD], "card_number": { "x": CARD } })),
        data(json!({ "passwort": PASSWORD, "cardnumber": CARD })),
        data(json!({ "password": PASSWORD, "card_number": CARD, "rooms": MISPLACED })),
        data(json!(MISPLACED)),
        Update::of_data("52", json!({ "target": "valt", "user": MISPLACED, "changes": { "password": PASSWORD } })).message(),
        Update::of_data("52", json!({ "target": "nowhere", "user": 1, "changes": { "password": PASSWORD, "card_number": CARD } }))
            .message(),
        Update::new("valt", 52, json!({ "password": PASSWORD })).with("expirytime", "2020-01-01T00:00:00Z").message(),
        Update::new("valt", 52, json!({ "password": PASSWORD })).with("expirytime", MISPLACED).message(),
        Update::new("valt", 52, json!({ "password": PASSWORD, "card_number": CARD })).binary().with("specversion", "7").message(),
    ];
    let directory = |user: Value, changes: Value| {
        let data = json!({ "target": "directory", "user": user, "changes": changes });
        Update::of_data("52", data).message()
    };
    messages.extend([
        directory(json!("52"), json!({ "password": { "value": PASSWORD } })),
        directory(json!("52"), json!({ "passwort": PASSWORD })),
        directory(
            json!("52"),
            json!({ "password": PASSWORD, "active": MISPLACED }),
        ),
        directory(
            json!("52"),
            json!({ "password": PASSWORD, "name": { "password": PASSWORD } }),
        ),
        directory(json!(""), json!({ "password": PASSWORD })),
        directory(json!([MISPLACED]), json!({ "password": PASSWORD })),
    ]);
    let whole = String::from_utf8(
        data(json!({ "card_number": CARD, "password": PASSWORD }))
            .value
            .unwrap(),
    )
    .unwrap();
    for broken in [
        whole[..whole.len() - 12].to_owned(),
        whole.replace("\"changes\"", "changes"),
        whole.replace("\"card_number\"", "\"password\""),
        whole.replace("{\"card", "[\"card"),
        format!("{whole}{whole}"),
        format!("\"{MISPLACED}\""),
    ] {
        let headers = vec![(
            "content-type".to_owned(),
            Some(b"application/cloudevents+json".to_vec()),
        )];
        messages.push(Message {
            key: Some(b"52".to_vec()),
            value: Some(broken.into_bytes()),
            headers,
            timestamp: None,
        });
    }
    messages
}

/// The service against APIs that tell everything.
async fn arrange(bench: &mut Bench) {
    for api in ["valt", "aipix"] {
        bench.set(
            &format!("targets.{api}.base_url"),
            leaky::start(api, LOGIN_TOKEN).await,
        );
    }
    let api_password = bench.file("api-password", API_PASSWORD);
    bench.set("targets.valt.password_file", api_password);
    for key in ["login", "password_file"] {
        bench.unset(&format!("targets.aipix.{key}"));
    }
    let token = bench.file("token", FIXED_TOKEN);
    bench.set("targets.aipix.token_file", token);
    let directory = leaky::start("scim", LOGIN_TOKEN).await;
    let client_secret = bench.file("client-secret", CLIENT_SECRET);
    for (key, value) in [
        ("api", "scim"),
        ("base_url", &directory),
        ("token_url", &format!("{directory}oauth/token")),
        ("client_id", "courier"),
        ("client_secret_file", &client_secret),
        ("retry.initial_backoff", "20ms"),
        ("retry.max_backoff", "200ms"),
    ] {
        bench.set(&format!("targets.directory.{key}"), value);
    }
    for target in ["valt", "aipix", "directory"] {
        bench.set(
            &format!("targets.{target}.delivery.request_timeout"),
            "500ms",
        );
    }
    bench.set("log.level", "trace");
}

/// Everything that the commands say, of letters and users, and of mistakes in the configuration.
fn look_around(bench: &mut Bench, letters: usize, seen: &mut Seen) {
    seen.command(bench, &["dead-letters", "list"], 0);
    seen.command(bench, &["dead-letters", "list", "--json"], 0);
    seen.command(bench, &["dead-letters", "replay", "--dry-run"], 0);
    seen.command(bench, &["dead-letters", "replay", "--dry-run", "--json"], 0);
    seen.command(bench, &["dead-letters", "export"], 0);
    // By the open listener, which is faster.
    let servers = bench.servers.clone();
    bench.set("kafka.bootstrap_servers", servers);
    bench.unset("kafka.properties");
    let places: Vec<_> = Reader::new(&bench.servers, &bench.topic(2))
        .read_all()
        .iter()
        .map(|(place, _)| place.clone())
        .collect();
    assert_eq!(places.len(), letters);
    for place in places {
        seen.command(
            bench,
            &[
                "dead-letters",
                "show",
                &format!("{}/{}/{}", place.topic, place.partition, place.offset),
            ],
            0,
        );
    }
    for user in ["2", "52"] {
        seen.command(bench, &["explain", "valt", user], 0);
        seen.command(bench, &["explain", "valt", user, "--json"], 0);
        seen.command(bench, &["explain", "directory", user], 0);
    }
    let not_text = bench.file("not-text", "");
    std::fs::write(&not_text, [FIXED_TOKEN.as_bytes(), b"\xff"].concat()).unwrap();
    let too_long = bench.file("too-long", &API_PASSWORD.repeat(10_000));
    for setting in [
        format!("targets.valt.password_file={not_text}"),
        format!("targets.valt.password_file={too_long}"),
        format!("targets.valt.password_file={API_PASSWORD}"),
        format!("targets.valt.password_env={API_PASSWORD}"),
        format!("targets.valt.password={API_PASSWORD}"),
        format!("targets.aipix.token={FIXED_TOKEN}"),
        format!("targets.directory.client_secret={CLIENT_SECRET}"),
        format!("targets.directory.client_secret_file={CLIENT_SECRET}"),
        format!("targets.directory.token_url=https://courier:{CLIENT_SECRET}@id.example.com/token"),
        format!("targets.valt.base_url=http://courier:{API_PASSWORD}@valt.example.com"),
        format!("targets.valt.tls.client_key_file={not_text}"),
        format!("kafka.properties.\"ssl.key.pem\"={API_PASSWORD}"),
        format!("kafka.properties.\"ssl.key.password\"={API_PASSWORD}"),
        format!("kafka.properties.\"sasl.password_file\"={API_PASSWORD}"),
    ] {
        let (code, said) = bench.command(&["check", "--offline", "--set", &setting]);
        assert!(
            code == Some(2) || setting.contains("ssl.key"),
            "{setting}: {said}"
        );
        seen.see(setting.split('=').next().unwrap(), said);
    }
    let broken_token = bench.file("broken-token", &format!("{FIXED_TOKEN}\n{FIXED_TOKEN}\n"));
    seen.command(
        bench,
        &[
            "check",
            "--set",
            &format!("targets.aipix.token_file={broken_token}"),
        ],
        3,
    );
    let config = std::fs::read_to_string(bench.config_file()).unwrap();
    let damaged = bench.file(
        "damaged.toml",
        &format!("{config}\n[targets.other]\npassword = {API_PASSWORD}\n"),
    );
    let output = Command::new(env!("CARGO_BIN_EXE_user-courier"))
        .args(["check", "--config", &damaged])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    seen.see(
        "a damaged configuration",
        [output.stdout, output.stderr].concat(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_seen_anywhere_whatever_fails() {
    let brokers = OwnBrokers::secured("canary");
    let mut bench = Bench::on(&brokers.servers).await;
    come_by(&mut bench, &brokers, Way::Login("courier", "SCRAM-SHA-512"));
    bench.set("kafka.properties.debug", "broker,security,cgrp,eos");
    arrange(&mut bench).await;
    let mut seen = Seen::default();
    let mut messages: Vec<_> = (1..=WAYS)
        .flat_map(|user| {
            let both = json!({ "password": PASSWORD, "card_number": CARD });
            [
                Update::new("valt", user, both).message(),
                Update::aipix(user, &[9]).message(),
                Update::new("directory", user, json!({ "password": PASSWORD })).message(),
            ]
        })
        .collect();
    messages.extend(malformed());
    let service = bench.start();
    let places = bench.writer.write(&messages);
    for count in 1..=places.len() {
        bench.outcomes(count);
        seen.see("/status", service.get("/status").1);
    }
    let outcomes = bench.outcomes_of(&places);
    let endings: Vec<_> = outcomes.iter().map(Outcome::ending).collect();
    for expected in [
        "delivered",
        "dead_lettered rejected",
        "dead_lettered undecodable",
        "dead_lettered invalid_changes",
    ] {
        assert!(
            endings.iter().any(|ending| ending == expected),
            "{expected} is missing: {endings:?}"
        );
    }
    let letters = endings
        .iter()
        .filter(|ending| *ending != "delivered")
        .count();
    for path in ["/metrics", "/status", "/readyz", "/livez"] {
        seen.see(path, service.get(path).1);
    }
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0));
    seen.see("the log", ended.errors);
    for (place, message) in Reader::of_all(&bench.servers, &bench.topic(1)).read_all() {
        seen.see(
            format!("the outcome at {place:?}"),
            format!("{:?}", message.headers),
        );
        seen.see(
            format!("the outcome at {place:?}"),
            message.value.as_deref().unwrap(),
        );
        seen.see(
            format!("the outcome at {place:?}"),
            headers(&message.headers),
        );
    }
    for letter in bench.dead_letters(letters) {
        // Its own headers are the record's; those behind are ours.
        let added = letter
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with("dlq.") || name.starts_with("__connect"))
            .cloned();
        seen.see(
            "a header of a dead letter",
            headers(&added.collect::<Vec<_>>()),
        );
    }
    let kafka_password =
        std::fs::read_to_string(format!("{}/password", brokers.env("KAFKA_TLS"))).unwrap();
    seen.check(&[&CANARIES[..], &[kafka_password.trim(), MISPLACED]].concat());

    let mut seen = Seen::default();
    look_around(&mut bench, letters, &mut seen);
    seen.check(&[&CANARIES[..], &[kafka_password.trim()]].concat());
}

fn headers(headers: &[(String, Option<Vec<u8>>)]) -> String {
    let lines = headers.iter().map(|(name, value)| {
        format!(
            "{name}: {}",
            String::from_utf8_lossy(value.as_deref().unwrap_or_default())
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_leaves_no_memory_behind() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    // As a system may be set up that keeps dumps of everything.
    let run = format!(
        "ulimit -c unlimited; exec {} run --config {}",
        env!("CARGO_BIN_EXE_user-courier"),
        bench.config_file().display()
    );
    let mut child = Command::new("bash")
        .args(["-c", &run])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut errors = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("admin endpoint listening") {
        line.clear();
        assert!(
            std::io::BufRead::read_line(&mut errors, &mut line).unwrap() > 0,
            "it ended early"
        );
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["0", "0"],
        "{core}"
    );
    assert!(
        Command::new("kill")
            .args(["-s", "ABRT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let status = child.wait().unwrap();
    assert!(
        status.signal().is_some() && !status.core_dumped(),
        "{status:?}"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing was written"
    );
}
