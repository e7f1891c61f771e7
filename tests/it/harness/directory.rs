//! A directory: a server of SCIM 2.0 that is not ours, `scim2-server` from PyPI, as a process.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::kafka::PATIENCE;

/// Fetches it, once.
static FETCHED: LazyLock<()> = LazyLock::new(|| {
    let status = Command::new("scripts/test.d/scim")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    let fetched = status.expect("it can be run").success();
    assert!(fetched, "scim2-server cannot be had from PyPI");
});

const TOKEN: &str = "a-token-of-the-tests";

/// A running directory. Killed when dropped.
pub(crate) struct Directory {
    process: Child,
    /// Where its users are.
    pub(crate) base_url: String,
    client: reqwest::Client,
}

impl Directory {
    /// Starts one, and waits until it answers.
    pub(crate) async fn start() -> Self {
        LazyLock::force(&FETCHED);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = port.expect("a port is free").port();
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/scim/bin/scim2-server");
        let process = Command::new(program)
            .args(["--port", &port.to_string(), "--bearer-token", TOKEN])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be started");
        // The client asks for one, though it calls nothing over TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build();
        let directory = Directory {
            process,
            base_url: format!("http://127.0.0.1:{port}/v2"),
            client: client.expect("a client"),
        };
        let deadline = Instant::now() + PATIENCE;
        while directory.ask(Method::GET, "/Users", None).await.is_err() {
            assert!(Instant::now() < deadline, "scim2-server does not answer");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        directory
    }

    /// The token that it takes.
    pub(crate) fn token(&self) -> &'static str {
        TOKEN
    }

    /// Makes a user, and says its id.
    pub(crate) async fn create(&self, name: &str) -> String {
        let user = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name,
        });
        let made = self.ask(Method::POST, "/Users", Some(&user)).await.unwrap();
        made["id"].as_str().expect("a user has an id").to_owned()
    }

    /// What it holds of a user, apart from what the server adds.
    pub(crate) async fn user(&self, id: &str) -> Value {
        let path = format!("/Users/{id}");
        let mut user = self.ask(Method::GET, &path, None).await.unwrap();
        let members = user.as_object_mut().expect("a user is an object");
        members.retain(|name, _| !["id", "meta", "schemas"].contains(&name.as_str()));
        user
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, reqwest::Error> {
        let url = format!("{}{path}", self.base_url);
        let mut request = self
            .client
            .request(method, url)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/scim+json");
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await?.error_for_status()?.text().await?;
        Ok(serde_json::from_str(&answer).expect("JSON"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
