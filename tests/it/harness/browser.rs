//! A browser as an operator has one: Chromium, driven by its chromedriver, with a profile of its
//! own.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use fantoccini::error::CmdError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::harness::kafka::PATIENCE;

/// A browser with one page. Ended with all its processes when dropped.
pub(crate) struct Browser {
    client: Client,
    driver: Child,
    _profile: TempDir,
}

impl Browser {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A group of its own, so that the browser goes with it.
            .process_group(0)
            .spawn()
            .expect("chromedriver is there: scripts/test kafka installs it");
        let lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        let (sender, ports) = channel();
        // Read to the end, or it would write into nothing.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, port)) = line.split_once("successfully on port ") {
                    sender.send(port.trim_end_matches('.').to_owned()).ok();
                }
            }
        });
        let port = ports
            .recv_timeout(PATIENCE)
            .expect("chromedriver says on which port it listens");
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
        ];
        let arguments = arguments.map(str::to_owned).into_iter().chain([
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ]);
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments.collect::<Vec<_>>() },
            "goog:loggingPrefs": { "browser": "ALL" },
            "unhandledPromptBehavior": "ignore",
        });
        let Value::Object(capabilities) = capabilities else {
            unreachable!("written as an object above")
        };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser starts");
        Browser {
            client,
            driver,
            _profile: profile,
        }
    }

    /// Goes to a page.
    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("the page is there");
    }

    /// What a script in the page returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client
            .execute(script, Vec::new())
            .await
            .unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until the expression is true, and says how long that took.
    pub(crate) async fn until(&self, expression: &str) -> Duration {
        let began = Instant::now();
        let script = format!("try {{ return !!({expression}) }} catch {{ return false }}");
        while self.run(&script).await != true {
            let text = || self.run("return document.body.innerText");
            assert!(
                began.elapsed() < PATIENCE,
                "waited {PATIENCE:?} until {expression}; the page says:\n{}",
                text().await
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        began.elapsed()
    }

    /// Waits until an element has these words in it.
    pub(crate) async fn until_text(&self, element: &str, words: &str) -> Duration {
        self.until(&format!("[...document.querySelectorAll({element:?})].some(one => one.innerText.includes({words:?}))")).await
    }

    /// Clicks on what is there once.
    pub(crate) async fn click(&self, element: &str) {
        self.until(&format!("document.querySelector({element:?})"))
            .await;
        self.client
            .find(Locator::Css(element))
            .await
            .unwrap()
            .click()
            .await
            .unwrap_or_else(|error| panic!("{element}: {error}"));
    }

    /// Types into whatever has the focus.
    pub(crate) async fn keys(&self, keys: &str) {
        let focused = self.client.active_element().await.unwrap();
        focused.send_keys(keys).await.unwrap();
    }

    /// The size of the window, and whether its user likes the dark.
    pub(crate) async fn look(&self, width: u32, height: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    /// What the browser has complained of since it was last asked: errors in scripts, and breaches
    /// of the page's policy.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self
            .command("se/log", json!({ "type": "browser" }))
            .await
            .expect("chromedriver keeps a log");
        let lines = log.as_array().cloned().unwrap_or_default();
        lines
            .iter()
            .filter(|line| line["level"] == "SEVERE")
            .map(|line| line["message"].to_string())
            .collect()
    }

    /// Whether a dialog stands open that a script has opened.
    pub(crate) async fn has_dialog(&self) -> bool {
        self.client.get_alert_text().await.is_ok()
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        self.command(
            "goog/cdp/execute",
            json!({ "cmd": command, "params": parameters }),
        )
        .await
        .expect("the browser obeys");
    }

    async fn command(&self, path: &'static str, body: Value) -> Result<Value, CmdError> {
        self.client.issue_cmd(Extra { path, body }).await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        Command::new("kill")
            .args(["-s", "KILL", "--", &format!("-{}", self.driver.id())])
            .status()
            .ok();
        self.driver.wait().ok();
    }
}

/// A command that only chromedriver knows.
#[derive(Debug)]
struct Extra {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extra {
    fn endpoint(&self, base_url: &Url, session_id: Option<&str>) -> Result<Url, url::ParseError> {
        base_url.join(&format!(
            "session/{}/{}",
            session_id.unwrap_or_default(),
            self.path
        ))
    }

    fn method_and_body(&self, _: &Url) -> (hyper::Method, Option<String>) {
        (hyper::Method::POST, Some(self.body.to_string()))
    }
}

/// Asks until there is an answer.
pub(crate) async fn patiently<T>(what: &str, mut answer: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = answer().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} until {what}"
        );
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// A number with its thousands apart, as the page writes it.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| String::from_utf8_lossy(group).into_owned())
        .collect();
    groups.join(",")
}
