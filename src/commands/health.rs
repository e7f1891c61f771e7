//! `user-courier health`: asks the instance on this machine whether it is well.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::commands::{Exit, environment, fail, flags, say};
use crate::config::Config;

/// The time for the whole answer. Container engines wait for 30 s by default.
const PATIENCE: Duration = Duration::from_secs(3);
/// An answer is a few lines, in bytes.
const LONGEST: u64 = 16 * 1024;

/// Asks the admin endpoint of this machine's instance: exits 0 if it is well, else 1.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  user-courier health --config config/user-courier.toml\n  user-courier health --config config/user-courier.toml --ready"
)]
pub struct HealthArgs {
    /// The configuration file of the instance. Of it only admin.listen counts.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Asks whether every subscriber is in its group (/readyz), not whether the process is alive
    /// (/livez).
    #[arg(long)]
    ready: bool,
    /// Sets a key over file and environment (repeatable).
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the command.
pub async fn run(args: HealthArgs) -> Exit {
    let flags = match flags(&args.set) {
        Ok(flags) => flags,
        Err(exit) => return exit,
    };
    let admin = match Config::load_admin(&args.config, environment(), &flags) {
        Ok(admin) => admin,
        Err(mistakes) => return fail(Exit::Failed, mistakes),
    };
    let Some(address) = admin.local() else {
        let words = "admin.listen has port 0, so nobody knows where to ask: give it a port";
        return fail(Exit::Failed, words);
    };
    let page = if args.ready { "readyz" } else { "livez" };
    let answer = match timeout(PATIENCE, ask(address, page)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let words = format!(
                "no answer at {address} ({error}): does the service run, with this admin.listen?"
            );
            return fail(Exit::Failed, words);
        }
        Err(_) => {
            return fail(
                Exit::Failed,
                format!("no answer at {address} within {PATIENCE:?}"),
            );
        }
    };
    let (is_well, words) = judge(&answer);
    if is_well {
        say(words);
        Exit::Done
    } else {
        fail(Exit::Failed, format!("/{page} at {address}: {words}"))
    }
}

/// The whole answer of the admin endpoint, which closes the connection behind it.
async fn ask(address: SocketAddr, page: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /{page} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether that is an answer with status 200, and its words.
fn judge(answer: &str) -> (bool, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split_whitespace().next());
    match (status, body.trim_end()) {
        (Some("200"), words) => (true, words),
        (Some("503"), words) if !words.is_empty() => (false, words),
        _ => (false, "what answers there is no user-courier"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_200_is_well() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nx: y\r\n\r\nok\n", (true, "ok")),
            (
                "HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: valt has not joined its group\n",
                (false, "not ready: valt has not joined its group"),
            ),
            (
                "HTTP/1.1 404 Not Found\r\n\r\n",
                (false, "what answers there is no user-courier"),
            ),
            ("200 OK", (false, "what answers there is no user-courier")),
            ("", (false, "what answers there is no user-courier")),
        ] {
            assert_eq!(judge(answer), expected, "{answer}");
        }
    }

    /// Runs the command against something that gives this answer to a request for that page.
    async fn exit(answer: &'static str, page: &'static str, ready: bool) -> Exit {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("user-courier.toml");
        // Mistakes elsewhere do not matter, and the address is one that others see.
        let text = format!("[kafka]\nbootstrap = 1\n[admin]\nlisten = \"0.0.0.0:{port}\"\n");
        std::fs::write(&config, text).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            let wanted = format!("GET /{page} HTTP/1.1\r\n");
            if request[..length].starts_with(wanted.as_bytes()) {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let set = Vec::new();
        run(HealthArgs { config, ready, set }).await
    }

    #[tokio::test]
    async fn it_asks_where_the_configuration_says_whatever_else_is_wrong_with_it() {
        let ok = "HTTP/1.1 200 OK\r\n\r\nok\n";
        assert_eq!(exit(ok, "livez", false).await, Exit::Done);
        assert_eq!(exit(ok, "readyz", true).await, Exit::Done);
        let unready = "HTTP/1.1 503 x\r\n\r\nnot ready: valt\n";
        assert_eq!(exit(unready, "readyz", true).await, Exit::Failed);
        assert_eq!(exit("", "livez", false).await, Exit::Failed);
    }

    #[tokio::test]
    async fn nobody_who_listens_is_not_well() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("user-courier.toml");
        let (ready, set) = (false, Vec::new());
        for listen in ["127.0.0.1:1", "127.0.0.1:0", "nowhere"] {
            std::fs::write(&config, format!("[admin]\nlisten = \"{listen}\"\n")).unwrap();
            let (config, set) = (config.clone(), set.clone());
            assert_eq!(run(HealthArgs { config, ready, set }).await, Exit::Failed);
        }
        std::fs::remove_file(&config).unwrap();
        assert_eq!(run(HealthArgs { config, ready, set }).await, Exit::Failed);
    }
}
