//! The wire: answers and endings of a connection that no well-behaved HTTP server would produce.

use std::io::{self, Write};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// How much padding an oversized answer has, in bytes.
const PADDING: usize = 1 << 20;
/// The time between two bytes of a slow answer.
const DRIP: Duration = Duration::from_millis(50);

/// Done to a connection byte by byte, past HTTP. After all but the first it is over.
#[derive(Clone)]
pub enum Reply {
    /// Writes this and waits for the next request.
    Bytes(Vec<u8>),
    /// Writes this and closes, without TLS's own end: as if the process was killed.
    Last(Vec<u8>),
    /// Writes this and ends its sending side, but goes on reading.
    HalfClose(Vec<u8>),
    /// Resets the connection.
    Reset,
    /// Says nothing, for as long as the client waits.
    Silence,
    /// Writes the first, then the second again and again until the client has had enough.
    Endless(Vec<u8>, Vec<u8>),
    /// Writes the first, then the second a byte every 50 ms, and closes.
    Drip(Vec<u8>, Vec<u8>),
}

impl Reply {
    /// Plays it; whether the connection goes on. An error means that the client went first, which
    /// is fine.
    pub(super) async fn play(self, stream: &mut impl Socket) -> io::Result<bool> {
        match self {
            Reply::Bytes(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                return Ok(true);
            }
            Reply::Last(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
            }
            Reply::HalfClose(bytes) => {
                stream.write_all(&bytes).await?;
                stream.shutdown().await?;
                until_gone(stream).await?;
            }
            // Closing a socket that does not linger sends RST instead of FIN.
            Reply::Reset => stream.tcp().set_zero_linger()?,
            Reply::Silence => until_gone(stream).await?,
            Reply::Endless(first, again) => {
                stream.write_all(&first).await?;
                loop {
                    stream.write_all(&again).await?;
                }
            }
            Reply::Drip(first, rest) => {
                stream.write_all(&first).await?;
                let (mut reader, mut writer) = tokio::io::split(stream);
                let drip = async {
                    for byte in &rest {
                        tokio::time::sleep(DRIP).await;
                        writer.write_all(&[*byte]).await?;
                        writer.flush().await?;
                    }
                    writer.shutdown().await
                };
                tokio::select! {
                    end = drip => end?,
                    gone = reader.read_u8() => drop(gone?),
                }
            }
        }
        Ok(false)
    }
}

/// The answer's body, packed.
pub(super) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Into memory, which does not fail.
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .unwrap_or_default()
}

/// A connection, with or without TLS.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    /// The bare one below.
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// The body with a megabyte more: JSON stays JSON if it is to be ended.
pub(super) fn padded(body: &[u8], ended: bool) -> Vec<u8> {
    let padding = "x".repeat(PADDING);
    let object = body.strip_suffix(b"}");
    let comma: &[u8] = if object == Some(b"{") { b"" } else { b"," };
    let mut padded = match object {
        Some(object) => [object, comma, b"\"padding\":\"", padding.as_bytes()].concat(),
        None => [body, padding.as_bytes()].concat(),
    };
    if ended && object.is_some() {
        padded.extend(b"\"}");
    }
    padded
}

/// Reads and drops until the client closes its side.
async fn until_gone(stream: &mut impl Socket) -> io::Result<()> {
    let mut scratch = [0; 1024];
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}
