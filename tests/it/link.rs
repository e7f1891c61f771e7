//! A link between a client and the brokers that carries only so much: a proxy that speaks just
//! enough of Kafka's protocol to stay in between.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So much is passed on at a time.
const CHUNK: usize = 4096;

/// A slow way to a broker on loopback. It ends with the process.
pub(crate) struct Link {
    /// Where clients connect.
    pub(crate) servers: String,
    pace: Arc<Pace>,
}

/// What all connections share.
struct Pace {
    bytes_per_second: f64,
    /// When the next byte may be sent, and how many were.
    sent: Mutex<(Instant, u64)>,
}

impl Pace {
    /// Waits until so many bytes have been carried.
    fn carry(&self, bytes: usize) {
        let until = {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.0 = sent.0.max(Instant::now())
                + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
            sent.1 += bytes as u64;
            sent.0
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

impl Link {
    /// To the only broker at this address, with so many bytes a second towards it. What comes from
    /// it is not held back.
    pub(crate) fn to(server: &str, bytes_per_second: u32) -> Self {
        let broker: SocketAddr = server.parse().expect("one broker, by its address");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let pace = Arc::new(Pace {
            bytes_per_second: f64::from(bytes_per_second),
            sent: Mutex::new((Instant::now(), 0)),
        });
        let shared = pace.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(broker)) else {
                    continue;
                };
                let (up, down) = (
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                );
                let pace = shared.clone();
                std::thread::spawn(move || slowly(up.0, up.1, &pace));
                std::thread::spawn(move || readdressed(down.0, down.1, broker, own));
            }
        });
        Link {
            servers: own.to_string(),
            pace,
        }
    }

    /// How many bytes went to the broker.
    pub(crate) fn carried(&self) -> u64 {
        self.pace
            .sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
    }
}

fn slowly(mut from: TcpStream, mut to: TcpStream, pace: &Pace) {
    let mut chunk = [0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        pace.carry(count);
        if to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    to.shutdown(std::net::Shutdown::Both).ok();
    from.shutdown(std::net::Shutdown::Both).ok();
}

/// Passes on answers, in which the broker's own address gives way to the link's: clients would go
/// past it otherwise.
fn readdressed(mut from: TcpStream, mut to: TcpStream, broker: SocketAddr, own: SocketAddr) {
    let written = |address: SocketAddr| {
        [
            address.ip().to_string().as_bytes(),
            &u32::from(address.port()).to_be_bytes(),
        ]
        .concat()
    };
    let (theirs, ours) = (written(broker), written(own));
    loop {
        let mut size = [0; 4];
        let read = from.read_exact(&mut size);
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        if read.and_then(|()| from.read_exact(&mut answer)).is_err() {
            break;
        }
        let found: Vec<_> = answer
            .windows(theirs.len())
            .enumerate()
            .filter(|(_, window)| *window == theirs)
            .map(|(at, _)| at)
            .collect();
        for at in found {
            answer[at..at + ours.len()].copy_from_slice(&ours);
        }
        if to.write_all(&[&size[..], &answer].concat()).is_err() {
            break;
        }
    }
    to.shutdown(std::net::Shutdown::Both).ok();
    from.shutdown(std::net::Shutdown::Both).ok();
}
