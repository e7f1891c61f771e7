//! The wire: endings of a connection that no well-behaved HTTP server would produce.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::call::Answer;
use super::port::Command;

/// How much padding an oversized answer has, in bytes.
const PADDING: usize = 1 << 20;
/// How much longer than the body a wrong `Content-Length` is, in bytes.
const MISSING: usize = 1000;
/// The time between two bytes of a slow answer.
const DRIP: Duration = Duration::from_millis(50);

/// What happens to the bare connection once HTTP has let go of it.
pub(super) enum Ending {
    /// It is reset.
    Reset,
    /// Half of the answer is sent, then the sending side ends.
    HalfClose(Answer),
    /// The answer is shorter than it claims.
    WrongLength(Answer),
    /// The answer's body never ends.
    Endless(Answer),
    /// The answer comes a byte at a time.
    SlowDrip(Answer),
    /// It closes, and so does the port, for that long.
    ClosePort(Duration),
}

impl Ending {
    /// Plays it. An error means that the client went first, which is fine.
    pub(super) async fn play(self, mut stream: TcpStream, port: &mpsc::Sender<Command>) -> io::Result<()> {
        match self {
            // Closing a socket that does not linger sends RST where others send FIN.
            Ending::Reset => stream.set_zero_linger(),
            Ending::HalfClose(answer) => {
                let whole = [head(&answer, Some(answer.body.len())), answer.body.to_vec()].concat();
                stream.write_all(&whole[..whole.len() - answer.body.len().div_ceil(2)]).await?;
                stream.shutdown().await?;
                until_gone(&mut stream).await
            }
            Ending::WrongLength(answer) => {
                stream.write_all(&head(&answer, Some(answer.body.len() + MISSING))).await?;
                stream.write_all(&answer.body).await?;
                stream.shutdown().await
            }
            Ending::Endless(answer) => {
                stream.write_all(&head(&answer, None)).await?;
                stream.write_all(&padded(&answer.body, PADDING, false)).await?;
                let more = [b'x'; 16 * 1024];
                loop {
                    stream.write_all(&more).await?;
                }
            }
            Ending::SlowDrip(answer) => {
                stream.write_all(&head(&answer, Some(answer.body.len()))).await?;
                let (mut reader, mut writer) = stream.split();
                let drip = async {
                    for byte in &answer.body {
                        tokio::time::sleep(DRIP).await;
                        writer.write_all(&[*byte]).await?;
                    }
                    writer.shutdown().await
                };
                tokio::select! {
                    end = drip => end,
                    gone = reader.read_u8() => gone.map(drop),
                }
            }
            Ending::ClosePort(time) => {
                stream.shutdown().await?;
                // The port outlives its connections; if not, there is nothing left to close.
                port.send(Command::Close { reopen_after: Some(time), done: None }).await.map_err(io::Error::other)
            }
        }
    }
}

/// The answer's body, packed.
pub(super) fn gzip(body: &Bytes) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Into memory, which does not fail.
    encoder.write_all(body).and_then(|()| encoder.finish()).unwrap_or_default().into()
}

/// The answer's body with a megabyte more: JSON stays JSON.
pub(super) fn oversized(body: &Bytes) -> Bytes {
    padded(body, PADDING, true)
}

fn padded(body: &Bytes, padding: usize, ended: bool) -> Bytes {
    let padding = "x".repeat(padding);
    let object = body.strip_suffix(b"}");
    let comma: &[u8] = if object == Some(b"{") { b"" } else { b"," };
    let mut padded = match object {
        Some(object) => [object, comma, b"\"padding\":\"", padding.as_bytes()].concat(),
        None => [body, padding.as_bytes()].concat(),
    };
    if ended && object.is_some() {
        padded.extend(b"\"}");
    }
    padded.into()
}

/// The head of an answer; without a length the body goes on until the connection ends.
fn head(answer: &Answer, length: Option<usize>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {}\r\nconnection: close\r\n", answer.status).into_bytes();
    for (name, value) in &answer.headers {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    if let Some(length) = length {
        head.extend(format!("content-length: {length}\r\n").into_bytes());
    }
    head.extend(b"\r\n");
    head
}

/// Reads and drops until the client closes its side.
async fn until_gone(stream: &mut TcpStream) -> io::Result<()> {
    let mut scratch = [0; 1024];
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}
