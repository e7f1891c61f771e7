//! `user-courier check`: whether the configuration is in order, and whether everything that it
//! names can be reached.
//!
//! It changes nothing. A login opens a session and no more. A fixed token is tried with a GET at
//! the path of an update, for the highest possible user id: no API changes anything on a GET, and
//! nobody's data comes back.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::future::join_all;
use hyper::header::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;

use crate::api::Answer;
use crate::commands::{Exit, load, say};
use crate::config::{Config, Credentials, Target};
use crate::http::client::Http;
use crate::http::session::Session;
use crate::kafka::topics::{TopicSettings, near_retention, remarks, topic_settings, unequal};
use crate::kafka::{Found, create_them, find_topics, missing};
use crate::model::outcome::timestamp;
use crate::operator::{Desk, Filter};
use crate::subscriber::try_out_tls;

/// How long one question to an API may take.
const LONGEST: Duration = Duration::from_secs(10);

/// Validates the configuration, then looks whether the broker, the topics and the APIs are there
/// and let the service in.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  user-courier check --config config/user-courier.toml\n  \
    user-courier check --config config/user-courier.toml \\\n      --offline --set log.level=debug\n\n\
    Exits 0 if all is in order, 2 for a mistake in the configuration, 3 for something that cannot be reached or used."
)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Looks at the configuration only and leaves the network alone.
    #[arg(long)]
    pub offline: bool,
    /// Sets a key over file and environment (repeatable).
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// The result of one check: in order, or a fault and what to do.
type Finding = Result<String, String>;

/// A result in order that begins with this is marked as a warning.
const BUT: &str = "! ";

/// Runs the check.
pub async fn run(args: CheckArgs) -> Exit {
    let config = match load(&args.config, &args.set) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    for warning in &config.warnings {
        say(format_args!("warning: {warning}"));
    }
    let unusable = unusable(&config);
    if !unusable.is_empty() {
        unusable
            .iter()
            .for_each(|words| say(format_args!("✗ {words}")));
        return crate::commands::fail(
            Exit::Usage,
            "`run` could not begin with these files: see ✗ above",
        );
    }
    say("configuration: in order");
    if args.offline {
        return Exit::Done;
    }
    let findings = look(&config).await;
    for finding in &findings {
        match finding {
            Ok(words) if words.starts_with(BUT) => say(words),
            Ok(words) => say(format_args!("✓ {words}")),
            Err(words) => say(format_args!("✗ {words}")),
        }
    }
    say(
        "Nothing was changed. Not tried: whether the accounts may change users, and whether Kafka lets the service write and commit.",
    );
    match findings.iter().filter(|finding| finding.is_err()).count() {
        0 => Exit::Done,
        wrong => crate::commands::fail(
            Exit::Unreachable,
            format!(
                "{wrong} of {} looks found something wrong: see ✗ above",
                findings.len()
            ),
        ),
    }
}

/// Targets that `run` could not begin with, though each file by itself is in order: a key may be
/// another certificate's. Asks nobody.
fn unusable(config: &Config) -> Vec<String> {
    let why = |target: &Target| {
        Some(format!(
            "{} at {}: {:#}",
            target.name,
            target.base_url,
            try_out_tls(target).err()?
        ))
    };
    config.targets.iter().filter_map(why).collect()
}

/// All looks, side by side; the findings in the order of the configuration.
async fn look(config: &Config) -> Vec<Finding> {
    let targets = join_all(config.targets.iter().map(async |target| {
        let place = format!("{} at {}", target.name, target.base_url);
        let finding = look_at_target(target).await;
        finding
            .map(|words| format!("{place}: {words}"))
            .map_err(|words| format!("{place}: {words}"))
    }));
    let (mut findings, targets) = tokio::join!(look_at_kafka(config), targets);
    findings.extend(targets);
    findings
}

async fn look_at_kafka(config: &Config) -> Vec<Finding> {
    let kafka = config.kafka.clone();
    let place = format!("Kafka at {}", kafka.bootstrap_servers);
    let found = match tokio::task::spawn_blocking(move || find_topics(&kafka))
        .await
        .map_err(anyhow::Error::from)
    {
        Ok(Ok(found)) => found,
        Ok(Err(error)) | Err(error) => {
            return vec![Err(format!("{place}: {error:#}"))];
        }
    };
    let mut findings = vec![Ok(format!("{place}: answers"))];
    findings.extend(look_at_topics(config, &found));
    if missing(&found).is_empty() {
        findings.extend(look_at_settings(config, &found).await);
    }
    findings
}

/// Checks the topics' settings, and the dead letters that will soon be deleted.
async fn look_at_settings(config: &Config, found: &[Found]) -> Vec<Finding> {
    let topics = match topic_settings(&config.kafka, found).await {
        Ok(topics) => topics,
        Err(why) => {
            return vec![Ok(format!(
                "{BUT}the settings of the topics cannot be looked at ({why}); nothing else needs them"
            ))];
        }
    };
    let remarks = remarks(&config.kafka, &topics).into_iter();
    let mut findings: Vec<_> = remarks
        .map(|remark| {
            if remark.harms {
                Err(remark.words)
            } else {
                Ok(format!("{BUT}{}", remark.words))
            }
        })
        .collect();
    if findings.is_empty() {
        findings.push(Ok("the settings of the topics go well together".to_owned()));
    }
    let Some(letters) = topics.into_iter().next_back() else {
        return findings;
    };
    let config = config.clone();
    match tokio::task::spawn_blocking(move || near_their_end(&config, &letters)).await {
        Ok(Ok(words)) => findings.extend(words.map(|words| Ok(format!("{BUT}{words}")))),
        Ok(Err(error)) => findings.push(Ok(format!(
            "{BUT}the dead letters cannot be looked at: {error}"
        ))),
        Err(error) => findings.push(Err(error.to_string())),
    }
    findings
}

/// Open dead letters that the retention of their topic takes soon.
fn near_their_end(
    config: &Config,
    letters: &TopicSettings,
) -> Result<Option<String>, crate::operator::ReadFailure> {
    let near = near_retention(letters, Timestamp::now().as_millisecond())
        .and_then(|time| Timestamp::from_millisecond(time).ok());
    let Some(near) = near else { return Ok(None) };
    let desk = Desk::open(config)?;
    let spans = desk.letters.spans()?;
    if desk.letters.since(near, spans.clone())? == spans {
        return Ok(None);
    }
    let (mut count, mut oldest) = (0, near);
    let filter = Filter {
        until: Some(near),
        ..Filter::default()
    };
    desk.letters(&filter, &mut (), |letter, _| {
        count += 1;
        oldest = oldest.min(letter.facts.failed_at);
        Ok(())
    })?;
    Ok((count > 0).then(|| {
        format!(
            "{count} open dead letter(s) will soon be gone: {} keeps them for {} h, and the oldest is of {}. Replay them, or raise its retention.ms",
            letters.name,
            letters.retention_ms / 3_600_000,
            timestamp(oldest)
        )
    }))
}

/// Checks the topics' numbers of partitions, 0 if one is missing.
fn look_at_topics(config: &Config, topics: &[Found]) -> Vec<Finding> {
    let missing = missing(topics);
    let found: Vec<_> = topics
        .iter()
        .filter(|topic| topic.partitions > 0)
        .map(|topic| (&topic.name, topic.partitions))
        .collect();
    let mut findings: Vec<Finding> = found
        .iter()
        .map(|(topic, partitions)| Ok(format!("topic {topic}: exists, partitions: {partitions}")))
        .collect();
    if !missing.is_empty() {
        findings.push(Err(create_them(&config.kafka, &missing)));
    }
    findings.extend(unequal(&config.kafka, topics).map(Err));
    findings
}

async fn look_at_target(target: &Target) -> Finding {
    let http = Http::new(
        &target.base_url,
        &target.tls,
        target.proxy.as_ref(),
        LONGEST,
    )
    .map_err(|error| format!("{error:#}"))?;
    let session = Session::new(
        &http,
        &target.tls,
        target.proxy.as_ref(),
        LONGEST,
        target.credentials.clone(),
        Box::new(|_| {}),
    );
    let session = session.map_err(|error| format!("{error:#}"))?;
    let token = session
        .token(LONGEST)
        .await
        .map_err(|why| why.error.message)?;
    if let Credentials::Login { username, .. } = &target.credentials {
        return Ok(format!("reached, and `{username}` is logged in"));
    }
    let answer = http
        .exchange(
            (target.api.check.request)(),
            Some(&token.secret),
            HeaderMap::new(),
            tokio::time::Instant::now(),
            LONGEST,
            |_| true,
        )
        .await
        .map_err(|lost| lost.message)?;
    (target.api.check.judge)(&answer).unwrap_or_else(|| judge(&answer, target))
}

/// Judges a token by the answer to a GET. The API need not support that method there: it is enough
/// that it answers as itself.
fn judge(answer: &Answer, target: &Target) -> Finding {
    let status = answer.status;
    let is_object =
        serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| body.is_object());
    let secret = target.credentials.secret();
    match status {
        401 | 403 => Err(format!("reached, but the token is refused ({status}): put a valid one into {secret}")),
        429 => Err("reached, but it asks for a pause (429): look again later".to_owned()),
        500.. => Err(format!("reached, but it answers {status}: look at the API itself, or at what stands before it")),
        // The web server knows the path, and so stands before the right API.
        405 => Ok("reached, and the token is not refused; that it is accepted is shown only by a first update (405)".to_owned()),
        _ if is_object && !(300..400).contains(&status) => Ok(format!("reached, and the token is not refused ({status})")),
        _ => Err(format!("reached, but what answers there is not this API (status {status}): check base_url")),
    }
}

#[cfg(test)]
mod tests {
    use stand_in::StandIn;
    use stand_in::scripted::{Reply, Server};

    use super::*;
    use crate::config::secret_file::Secret;
    use crate::config::{Delivery, Protected, Retry, Tls};

    const PASSWORD: &str = "p4ssw0rd-never-shown";

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("secret"), PASSWORD).unwrap();
            Fixture(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.path().join("config.toml")
        }

        fn config(&self, broker: &str, valt: &str) -> Config {
            let secret = self.0.path().join("secret");
            let text = format!(
                "[kafka]\nbootstrap_servers = \"{broker}\"\n[targets.valt]\napi = \"valt\"\nbase_url = \"{valt}\"\n\
                 username = \"courier\"\npassword_file = \"{}\"\n",
                secret.display()
            );
            std::fs::write(self.file(), text).unwrap();
            Config::load(&self.file(), std::iter::empty(), &[]).unwrap()
        }

        fn target(&self, api: &str, base_url: &str, login: bool) -> Target {
            let secret = Secret::File(self.0.path().join("secret"));
            let api = crate::api::by_name(api).unwrap();
            Target {
                name: api.name.to_owned(),
                paused: false,
                protected: Protected::default(),
                guard: None,
                api,
                base_url: base_url.parse().unwrap(),
                credentials: if login {
                    Credentials::login(api, "courier", secret).unwrap()
                } else {
                    Credentials::Token(secret)
                },
                delivery: Delivery::default(),
                retry: Retry::default(),
                tls: Tls::default(),
                proxy: None,
            }
        }
    }

    #[tokio::test]
    async fn a_login_is_tried_and_changes_no_user() {
        let fixture = Fixture::new();
        for api in ["aipix", "valt"] {
            let stand_in = StandIn::on_loopback(api).await.unwrap();
            let target = fixture.target(api, &stand_in.base_url(), true);
            let refused = look_at_target(&target).await.unwrap_err();
            assert!(
                refused.contains("refused the login of `courier`") && !refused.contains(PASSWORD),
                "{refused}"
            );
            stand_in.set(|settings| settings.password = PASSWORD.into());
            assert_eq!(
                look_at_target(&target).await.unwrap(),
                "reached, and `courier` is logged in"
            );
            assert_eq!(
                (
                    stand_in.stats().logins,
                    stand_in.stats().updates,
                    stand_in.stats().others
                ),
                (2, 0, 0)
            );
        }
    }

    #[tokio::test]
    async fn a_fixed_token_is_tried_with_a_request_that_changes_nothing() {
        let fixture = Fixture::new();
        for (api, status, body, accepted) in [
            (
                "aipix",
                "401 Unauthorized",
                r#"{"message":"Unauthenticated."}"#,
                false,
            ),
            ("aipix", "403 Forbidden", "<html>", false),
            (
                "aipix",
                "404 Not Found",
                r#"{"message":"No query results for model [App\\Models\\User] 9"}"#,
                true,
            ),
            ("aipix", "404 Not Found", "<html>", false),
            (
                "aipix",
                "405 Method Not Allowed",
                r#"{"message":"The GET method is not supported"}"#,
                true,
            ),
            ("aipix", "302 Found", "{}", false),
            ("aipix", "200 OK", "<html>", false),
            ("valt", "405 Method Not Allowed", "<html>", true),
            (
                "valt",
                "401 Unauthorized",
                r#"{"error":{"code":401}}"#,
                false,
            ),
            ("valt", "200 OK", r#"{"data":{"id":9}}"#, true),
            ("valt", "429 Too Many Requests", "{}", false),
            ("valt", "503 Service Unavailable", "<html>", false),
        ] {
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let server = Server::start(move |_| Reply::Bytes(answer.clone().into_bytes())).await;
            let finding = look_at_target(&fixture.target(api, server.url.as_str(), false)).await;
            assert_eq!(
                finding.is_ok(),
                accepted,
                "{api} {status} {body}: {finding:?}"
            );
            assert!(!format!("{finding:?}").contains(PASSWORD), "{finding:?}");
        }
    }

    #[tokio::test]
    async fn an_api_that_is_not_there_is_a_finding() {
        let stand_in = StandIn::on_loopback("valt").await.unwrap();
        stand_in.close_port().await;
        let fixture = Fixture::new();
        for login in [true, false] {
            let finding = look_at_target(&fixture.target("valt", &stand_in.base_url(), login))
                .await
                .unwrap_err();
            assert!(finding.contains("could not connect"), "{finding}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_topics_is_said_with_the_command_that_mends_it() {
        let fixture = Fixture::new();
        let config = fixture.config("127.0.0.1:9", "http://127.0.0.1:9");
        let counts = |counts: [usize; 3]| -> Vec<Found> {
            let names = [
                "user-updates",
                "user-update-outcomes",
                "user-update-dead-letters",
            ];
            names
                .into_iter()
                .zip(counts)
                .map(|(name, partitions)| Found {
                    name: name.to_owned(),
                    partitions,
                    replicas: 1,
                })
                .collect()
        };
        assert!(
            look_at_topics(&config, &counts([8, 8, 8]))
                .iter()
                .all(Result::is_ok)
        );
        let wrong = |given| -> Vec<String> {
            look_at_topics(&config, &counts(given))
                .into_iter()
                .filter_map(Result::err)
                .collect()
        };
        let unequal = wrong([8, 4, 8]);
        assert!(
            unequal.len() == 1
                && unequal[0].contains("--alter --topic user-update-outcomes --partitions 8"),
            "{unequal:?}"
        );
        let missing = wrong([8, 8, 0]);
        assert!(
            missing.len() == 1 && missing[0].contains("--create --topic user-update-dead-letters"),
            "{missing:?}"
        );
    }

    #[cfg(feature = "demo")]
    #[tokio::test(flavor = "multi_thread")]
    async fn the_exit_code_tells_configuration_from_connectivity() {
        use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
        use rdkafka::client::DefaultClientContext;

        let fixture = Fixture::new();
        let broker = noida::kafka::spawn("127.0.0.1:0").unwrap().to_string();
        let stand_in = StandIn::on_loopback("valt").await.unwrap();
        stand_in.set(|settings| settings.password = PASSWORD.into());
        let check = |offline, set: &str| {
            let set = (!set.is_empty())
                .then(|| set.to_owned())
                .into_iter()
                .collect();
            run(CheckArgs {
                config: fixture.file(),
                offline,
                set,
            })
        };
        let config = fixture.config(&broker, &stand_in.base_url());
        assert_eq!(check(true, "").await, Exit::Done);
        assert_eq!(check(false, "").await, Exit::Unreachable, "no topics");
        let admin: AdminClient<DefaultClientContext> =
            crate::kafka::client::inspector(&config.kafka)
                .unwrap()
                .create()
                .unwrap();
        let topics = &config.kafka.topics;
        let new = [&topics.updates, &topics.outcomes, &topics.dead_letters]
            .map(|name| NewTopic::new(name, 2, TopicReplication::Fixed(1)));
        admin
            .create_topics(&new, &AdminOptions::new())
            .await
            .unwrap();
        assert_eq!(check(false, "").await, Exit::Done);
        assert_eq!(
            check(false, "targets.valt.username=somebody").await,
            Exit::Unreachable,
            "credentials"
        );
        assert_eq!(check(false, "targets.valt.colour=blue").await, Exit::Usage);
        assert_eq!(
            check(true, "targets.valt.password_file=/nowhere").await,
            Exit::Usage
        );
    }
}
