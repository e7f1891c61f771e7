//! An HTTP proxy that leads all connections to one address, whatever they ask for.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// The proxy.
pub struct ProxyServer {
    address: SocketAddr,
    state: Arc<Mutex<ProxyState>>,
}

struct ProxyState {
    leads_to: Option<SocketAddr>,
    asks_for: String,
    heads: Vec<String>,
}

impl ProxyServer {
    /// Starts one that lets in who shows this `ProxyServer-Authorization`. Without an address to lead to
    /// it answers with 502.
    ///
    /// # Errors
    /// If there is no port to listen on.
    pub async fn start(leads_to: Option<SocketAddr>, asks_for: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(ProxyState {
            leads_to,
            asks_for: asks_for.to_owned(),
            heads: Vec::new(),
        }));
        let proxy = ProxyServer { address, state };
        let state = proxy.state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(lead(client, state.clone()));
            }
        });
        Ok(proxy)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first head of each connection.
    pub fn heads(&self) -> Vec<String> {
        lock(&self.state).heads.clone()
    }

    /// From now on new connections must show this `ProxyServer-Authorization`.
    pub fn ask_for(&self, authorization: &str) {
        authorization.clone_into(&mut lock(&self.state).asks_for);
    }
}

async fn lead(mut client: TcpStream, state: Arc<Mutex<ProxyState>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let (is_let_in, leads_to) = {
        let mut state = lock(&state);
        state.heads.push(text.clone());
        let shown = text.lines().filter_map(|line| line.split_once(": "));
        let is_it = |(name, value): (&str, &str)| {
            name.eq_ignore_ascii_case("proxy-authorization") && value == state.asks_for
        };
        (shown.into_iter().any(is_it), state.leads_to)
    };
    let status = match (is_let_in, leads_to) {
        (false, _) => 407,
        (true, None) => 502,
        (true, Some(address)) => {
            let mut server = TcpStream::connect(address).await?;
            match text.starts_with("CONNECT ") {
                true => client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?,
                false => server.write_all(&head).await?,
            }
            copy_bidirectional(&mut client, &mut server).await?;
            return Ok(());
        }
    };
    let refusal = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n");
    client.write_all(refusal.as_bytes()).await
}

fn lock(state: &Mutex<ProxyState>) -> MutexGuard<'_, ProxyState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
