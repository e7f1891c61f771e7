//! A gzip bomb: 67 MB of zeros in 420 KB, written by hand.

use std::sync::LazyLock;

use bytes::Bytes;

/// How often the longest match that deflate knows (258 bytes) follows the first zero.
const MATCHES: usize = 260_000;
/// Its unpacked size, in bytes.
pub(super) const UNPACKED: u32 = 1 + 258 * 260_000;
/// CRC-32 of that many zeros.
const CHECKSUM: u32 = 0x173b_0fba;

/// The bomb as a body with `Content-Encoding: gzip`.
pub(super) fn gzip_bomb() -> Bytes {
    static BOMB: LazyLock<Bytes> = LazyLock::new(build);
    BOMB.clone()
}

fn build() -> Bytes {
    let mut bits = Bits::default();
    // RFC 1951: the only block, with the fixed codes; a zero; "258 bytes from 1 byte back" many
    // times; the end.
    bits.push(0b110, 3);
    bits.push(0b0011_0000, 8);
    for _ in 0..MATCHES {
        bits.push(0b1100_0101, 8);
        bits.push(0, 5);
    }
    bits.push(0, 7);
    // RFC 1952: magic, deflate, no name, no time, unknown system.
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.extend(bits.bytes);
    gzip.extend(CHECKSUM.to_le_bytes());
    gzip.extend(UNPACKED.to_le_bytes());
    gzip.into()
}

/// Bits packed as deflate wants them: into each byte from its low end.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    /// Adds the low `count` bits, the highest of them first.
    fn push(&mut self, code: u16, count: usize) {
        for at in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::from(code >> at & 1 == 1) << (self.used % 8);
            }
            self.used += 1;
        }
    }
}
