//! The operator's page: whom it answers, and what it shows, in a real browser.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::console_letters::{act, job, listed};
use crate::dead_letters::refusing;
use crate::harness::bench::Bench;
use crate::harness::browser::Browser;
use crate::harness::kafka::{OwnBrokers, PATIENCE};
use crate::harness::service::Service;
use crate::harness::update::Update;

pub(crate) const TOKEN: &str = "correct-horse-battery-staple";

/// An answer of the console: its status, its head in lower case, and its body.
pub(crate) struct Answer(pub(crate) u16, pub(crate) String, pub(crate) String);

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.2).unwrap_or_else(|error| panic!("{error}: {}", self.2))
    }
}

/// Asks with these headers and nothing else; a body makes it a POST.
pub(crate) fn ask(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    headers
        .iter()
        .for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    if let Some(body) = body {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    write!(stream, "{head}\r\n{}", body.unwrap_or_default()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    Answer(
        head[9..12].parse().unwrap(),
        head.to_lowercase(),
        body.to_owned(),
    )
}

/// A bench whose console asks this service, and takes [`TOKEN`].
pub(crate) fn console(bench: &mut Bench, service: Option<&Service>) -> Service {
    let instances: Vec<toml::Value> = service
        .iter()
        .map(|service| format!("http://{}", service.address()).into())
        .collect();
    if !instances.is_empty() {
        bench.set("console.instances", instances);
    }
    let token = bench.config_file().with_file_name("token");
    std::fs::write(&token, TOKEN).unwrap();
    bench.set("console.token_file", token.to_str().unwrap());
    Service::console(&bench.config_file())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_its_own_page_only_and_lets_nothing_else_in() {
    let mut bench = Bench::new().await;
    let console = console(&mut bench, None);
    let address = console.address();
    let host = address.to_string();
    let ask = |path: &str, headers: &[(&str, &str)]| ask(address, path, headers, None);
    for path in [
        "/",
        "/app.js",
        "/style.css",
        "/api/hello",
        "/api/now",
        "/nowhere",
    ] {
        let Answer(status, head, _) = ask(path, &[("Host", &host)]);
        assert_eq!(status, if path == "/nowhere" { 404 } else { 200 }, "{path}");
        let policy = head
            .lines()
            .find_map(|line| line.strip_prefix("content-security-policy: "))
            .unwrap_or_else(|| panic!("{path}: {head}"));
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for line in [
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(
                head.lines().any(|other| other == line),
                "{path} has no {line}: {head}"
            );
        }
    }
    for stranger in [
        "evil.example.com",
        &format!("evil.example.com:{}", address.port()),
    ] {
        assert_eq!(
            ask("/", &[("Host", stranger)]).0,
            421,
            "whoever turns a name of his to this address is not served"
        );
        assert_eq!(ask("/api/now", &[("Host", stranger)]).0, 421);
    }
    assert_eq!(
        ask(
            "/api/now",
            &[("Host", &host), ("Origin", "http://evil.example.com")]
        )
        .0,
        403
    );
    assert_eq!(
        ask(
            "/api/now",
            &[("Host", &host), ("Sec-Fetch-Site", "cross-site")]
        )
        .0,
        403
    );
    assert_eq!(console.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn away_from_loopback_it_starts_with_a_token_only_and_shows_nothing_without_it() {
    let mut bench = Bench::new().await;
    let config = bench.config_file();
    let ended = Service::spawn([
        "console",
        "--config",
        config.to_str().unwrap(),
        "--listen",
        "0.0.0.0:0",
    ])
    .wait();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.errors.contains("console.token_file"),
        "{}",
        ended.errors
    );

    let short = config.with_file_name("short");
    std::fs::write(&short, "hunter2\n").unwrap();
    bench.set("console.token_file", short.to_str().unwrap());
    let ended =
        Service::spawn(["console", "--config", bench.config_file().to_str().unwrap()]).wait();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.errors.contains("the token is too short") && !ended.errors.contains("hunter2"),
        "{}",
        ended.errors
    );

    std::fs::write(&short, TOKEN).unwrap();
    let console = Service::console_at(&bench.config_file(), "0.0.0.0:0");
    let address = SocketAddr::from(([127, 0, 0, 1], console.address().port()));
    let host = address.to_string();
    let now = |token: &str| {
        ask(
            address,
            "/api/now",
            &[
                ("Host", &host),
                ("Authorization", &format!("Bearer {token}")),
            ],
            None,
        )
    };
    assert_eq!(ask(address, "/api/now", &[("Host", &host)], None).0, 401);
    assert_eq!(
        ask(address, "/api/hello", &[("Host", &host)], None).json()["locked"],
        true
    );
    assert_eq!((now("wrong").0, now(TOKEN).0), (401, 200));
    for _ in 0..9 {
        assert_eq!(now("wrong").0, 401);
    }
    assert_eq!(
        [now("wrong").0, now(TOKEN).0],
        [429, 429],
        "after ten wrong ones nothing is looked at"
    );
    assert!(!console.log().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told step by step")]
async fn an_outage_appears_on_the_page_and_heals_without_a_reload() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let console = console(&mut bench, Some(&service));
    let browser = Browser::start().await;
    browser.open(&format!("http://{}", console.address())).await;
    let card = |name: &str| {
        format!(
            "[...document.querySelectorAll('.card')].find(card => card.querySelector('h2').innerText === '{name}')"
        )
    };
    let state = |name: &str, state: &str| format!("{}.dataset.state === '{state}'", card(name));
    browser.until(&state("valt", "flowing")).await;
    browser.run("window.first = true").await;
    bench.send(&[Update::valt(1, "Anna")]);
    browser
        .until(&format!(
            "/[1-9]/.test({}.querySelector('.plot .scale').innerText)",
            card("valt")
        ))
        .await;

    bench.valt.close_port().await;
    bench.send(&[Update::valt(2, "Berta"), Update::aipix(2, &[1])]);
    browser.until(&state("valt", "holding")).await;
    browser
        .until_text(
            ".card[data-state=holding] .state",
            "unreachable: the API cannot be reached",
        )
        .await;
    browser
        .until_text(".card[data-state=holding] .error", "connect")
        .await;
    browser.until_text("#announcer", "valt is holding").await;
    browser
        .until(&format!(
            "{}.querySelectorAll('.figures dd')[1].innerText === '1'",
            card("valt")
        ))
        .await;
    assert_eq!(
        browser
            .run(&format!("return {}", state("aipix", "flowing")))
            .await,
        true,
        "the other goes on"
    );
    bench.valt.open_port().await;
    browser.until(&state("valt", "flowing")).await;
    browser.until_text("#announcer", "valt flows again").await;
    browser
        .until("document.querySelectorAll('.band rect').length > 3")
        .await;

    // An instance that hangs is told apart from one that holds.
    service.signal("STOP");
    browser
        .until_text(".instances .failed", "does not answer since")
        .await;
    browser.until(&state("valt", "unknown")).await;
    service.signal("CONT");
    browser.until(&state("valt", "flowing")).await;
    assert_eq!(
        browser
            .run("return window.first && !document.querySelector('.instances .failed')")
            .await,
        true,
        "without a reload"
    );

    for (width, dark) in [(1280, false), (1280, true), (375, false), (320, true)] {
        browser.look(width, 800, dark).await;
        browser.until(&format!("innerWidth === {width} && matchMedia('(prefers-color-scheme: dark)').matches === {dark}")).await;
        let fits = browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth").await;
        assert_eq!(fits, true, "nothing has to be scrolled sideways at {width}");
    }
    let [light, dark] = [
        browser
            .run("return getComputedStyle(document.body).backgroundColor")
            .await,
        {
            browser.look(1280, 800, false).await;
            browser
                .run("return getComputedStyle(document.body).backgroundColor")
                .await
        },
    ];
    assert_ne!(light, dark);
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.keys("\u{e004}").await;
    browser
        .until("document.activeElement.matches('.skip')")
        .await;
    browser.click("nav a[href='#now']").await;
    browser
        .until("location.hash === '#now' && document.title === 'Now – user-courier'")
        .await;
    assert!(!browser.has_dialog().await);

    console.signal("STOP");
    browser
        .until("document.querySelector('#alarm').innerText.includes('does not answer')")
        .await;
    console.signal("CONT");
    browser
        .until("document.querySelector('#alarm').hidden")
        .await;
    assert_eq!(console.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_is_gone_is_told_of_on_every_page_and_no_replay_is_offered_until_it_is_back() {
    let brokers = OwnBrokers::start("console-gone", 1);
    let mut bench = Bench::on(&brokers.servers).await;
    let service = bench.start();
    let console = console(&mut bench, Some(&service));
    bench.send(&[
        Update::new("nobody", 7, json!({ "name": "Anna" })),
        Update::valt(1, "Anna"),
    ]);
    bench.outcomes(2);
    let browser = Browser::start().await;
    browser.open(&format!("http://{}", console.address())).await;
    let link = "document.querySelector('#link').innerText";
    let banner = "document.querySelector('#kafka')";
    let plan = "document.querySelector('.actions button.main')";
    let go = |page: &str| format!("nav a[href='#{page}']");
    browser
        .until("document.querySelectorAll('.card[data-state=flowing]').length === 3")
        .await;
    browser
        .until(&format!("{link}.startsWith('live') && {banner}.hidden"))
        .await;
    browser.click(&go("letters")).await;
    browser.until(&format!("{plan} && !{plan}.disabled")).await;

    brokers.command("freeze", 1);
    // The console itself notices within seconds, and the instances after 25 s.
    browser.until(&format!("{link}.includes('Kafka is gone') && {banner}.innerText.includes('This console gets no answer')")).await;
    browser.until(&format!("{plan}.disabled")).await;
    browser.keys("p").await;
    browser.click(&go("now")).await;
    browser
        .until("document.querySelectorAll('.card[data-state=failed]').length === 3")
        .await;
    browser.until_text(".card .state", "without Kafka").await;
    browser
        .until_text(".instances .failed", "without Kafka")
        .await;
    browser.until_text("#announcer", "is without Kafka").await;
    browser
        .until(&format!(
            "/one is without Kafka since .*: .*/.test({banner}.innerText)"
        ))
        .await;
    for page in ["letters", "user", "now"] {
        browser.click(&go(page)).await;
        browser
            .until(&format!("!{banner}.hidden && {banner}.getBoundingClientRect().height > 20 && {link}.includes('Kafka is gone')"))
            .await;
        assert_eq!(
            browser
                .run("return document.querySelectorAll('dialog').length")
                .await,
            0,
            "no plan was begun"
        );
    }
    for (width, dark) in [(1280, false), (1280, true), (375, false), (320, true)] {
        browser.look(width, 800, dark).await;
        browser.until(&format!("innerWidth === {width}")).await;
        let fits = browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth").await;
        assert_eq!(fits, true, "nothing has to be scrolled sideways at {width}");
    }
    brokers.command("thaw", 1);
    browser
        .until("document.querySelectorAll('.card[data-state=flowing]').length === 3")
        .await;
    browser
        .until(&format!("{banner}.hidden && {link}.startsWith('live')"))
        .await;
    browser.click(&go("letters")).await;
    browser.until(&format!("{plan} && !{plan}.disabled")).await;
    assert_eq!(browser.complaints().await, [""; 0]);
    assert_eq!(console.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_counts_each_dead_letter_once() {
    let mut bench = Bench::new().await;
    let service = bench.start();
    let console = console(&mut bench, Some(&service));
    crate::harness::browser::patiently("the console has asked the instance", async || {
        let now = ask(
            console.address(),
            "/api/now",
            &[("Host", &console.address().to_string())],
            None,
        )
        .json();
        now["instances"][0]["answers"]
            .as_bool()
            .filter(|answers| *answers)
    })
    .await;
    let updates =
        [1, 2, 3].map(|user| Update::new("valt", user, serde_json::json!({ "rooms": "none" })));
    let places = bench.send(&updates);
    bench.outcomes_of(&places);
    // Samples of each second: the page is opened when they tell of all three.
    let dead = "[...document.querySelectorAll('.card')].find(card => card.querySelector('h2').innerText === 'valt').querySelectorAll('.plot .value')[1].innerText";
    crate::harness::browser::patiently("the samples have them", async || {
        let now = ask(
            console.address(),
            "/api/now",
            &[("Host", &console.address().to_string())],
            None,
        )
        .json();
        let valt = now["targets"]
            .as_array()?
            .iter()
            .find(|target| target["name"] == "valt")?
            .clone();
        let sum: f64 = valt["samples"]
            .as_array()?
            .iter()
            .filter_map(|sample| sample[2].as_f64())
            .sum();
        (sum > 2.5).then_some(())
    })
    .await;
    let browser = Browser::start().await;
    for _ in 0..3 {
        browser.open(&format!("http://{}", console.address())).await;
        browser.until(&format!("{dead} !== '–'")).await;
        assert_eq!(browser.run(&format!("return {dead}")).await, "3");
        browser.open("about:blank").await;
    }
    assert_eq!(console.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_that_are_left_open_keep_nobody_out_and_wrong_tokens_are_told() {
    let mut bench = refusing([1]).await;
    let service = bench.start();
    let places = bench.send(&[Update::valt(1, "Anna")]);
    bench.outcomes_of(&places);
    let console = console(&mut bench, Some(&service));
    listed(&console, "", 1).await;
    let mut last = String::new();
    for _ in 0..8 {
        last = act(&console, "/api/plan", None, &serde_json::json!({})).json()["job"]
            .as_str()
            .unwrap()
            .to_owned();
        job(&console, &last, "planned").await;
    }
    let read = act(
        &console,
        "/api/read",
        None,
        &serde_json::json!({ "user": { "target": "valt", "user": "1", "since": "" } }),
    );
    assert_eq!(read.0, 200, "{}", read.2);
    job(&console, read.json()["job"].as_str().unwrap(), "done").await;
    let unknown = act(
        &console,
        "/api/read",
        None,
        &serde_json::json!({ "user": { "target": "unclaimed", "user": "1", "since": "" } }),
    );
    assert!(
        unknown.0 == 400 && unknown.2.contains("the configuration has aipix, valt\""),
        "{}",
        unknown.2
    );
    let path = format!("/api/jobs/{last}/yes");
    let yes = serde_json::json!({ "operator": "Olga", "rate": null });
    for _ in 0..10 {
        assert_eq!(act(&console, &path, Some("wrong"), &yes).0, 401);
    }
    assert_eq!(act(&console, &path, Some("wrong"), &yes).0, 429);
    console.wait_for_log("too many wrong tokens");
    assert_eq!(crate::dead_letters::replays(&bench).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_and_without_an_instance_it_starts_and_says_so() {
    let mut bench = Bench::new().await;
    bench.set("kafka.bootstrap_servers", "127.0.0.1:1");
    bench.set(
        "console.instances",
        vec![toml::Value::from("http://127.0.0.1:1")],
    );
    let console = Service::console(&bench.config_file());
    let browser = Browser::start().await;
    browser.open(&format!("http://{}", console.address())).await;
    browser
        .until_text(".instances .failed", "does not answer since")
        .await;
    browser
        .until_text(".card .state", "no instance answers")
        .await;
    assert_eq!(console.terminate().code, Some(0));
}
