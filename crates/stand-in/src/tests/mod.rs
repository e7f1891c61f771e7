//! The stand-ins as a real client sees them.

mod aipix;
mod control;
mod faults;
mod port;
mod scim;
mod scripted;
mod valt;

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::StandIn;

/// A token that every stand-in of these tests accepts.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Any answer.
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// A client that does nothing by itself: no redirects, no retries, no proxy.
fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

async fn stand_in(api: &str) -> StandIn {
    let stand_in = StandIn::on_loopback(api).await.unwrap();
    stand_in.accept_token(TOKEN);
    stand_in
}

/// One call with a JSON body and the headers that aipix wants.
async fn call(
    stand_in: &StandIn,
    method: Method,
    path: &str,
    body: &str,
) -> Result<Seen, reqwest::Error> {
    let url = format!("{}{path}", stand_in.base_url());
    let request = client()
        .request(method, url)
        .header("accept", "application/json")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {TOKEN}"));
    let response = request.body(body.to_owned()).send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Seen {
        status,
        headers,
        body: response.bytes().await?.to_vec(),
    })
}

/// An update of that user with a body that each API takes.
async fn update(stand_in: &StandIn, user: u64) -> Result<Seen, reqwest::Error> {
    let body = r#"{"permissions":[9,12],"rooms":[37]}"#;
    let api = stand_in.shared.lock().api.name();
    match api {
        "aipix" => {
            call(
                stand_in,
                Method::PUT,
                &format!("/api/admin/v1/users/{user}"),
                body,
            )
            .await
        }
        _ => {
            let path = format!("/api/v3/admin/users/{user}/edit?access_token={TOKEN}");
            call(stand_in, Method::POST, &path, body).await
        }
    }
}

/// The control page's answer.
async fn control(stand_in: &StandIn, method: Method, path: &str, body: &str) -> Seen {
    call(stand_in, method, &format!("/_stand-in{path}"), body)
        .await
        .unwrap()
}

/// A bare connection with an update of user 52 of VALT already sent.
async fn bare(stand_in: &StandIn) -> TcpStream {
    let mut stream = TcpStream::connect(stand_in.addr()).await.unwrap();
    let body = r#"{"rooms":[37]}"#;
    let path = format!("/api/v3/admin/users/52/edit?access_token={TOKEN}");
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the server's side ends.
async fn rest(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.map(|_| rest)
}
