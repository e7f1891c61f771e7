//! A body, piece by piece, unpacked if it comes packed though nobody asked for it.

use std::io::Write;

use bytes::{Buf, Bytes};
use flate2::write::GzDecoder;
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;

use crate::http::lost::Lost;

const NO_GZIP: &str = "its Content-Encoding is gzip, and it cannot be unpacked";
const UNKNOWN: &str =
    "its Content-Encoding is none that can be read (gzip is): none was asked for, so switch it off";

/// A body that comes in.
pub(super) struct IncomingBody {
    response: Response,
    packing: Packing,
}

enum Packing {
    None,
    Gzip {
        decoder: Box<GzDecoder<Vec<u8>>>,
        /// Bytes that came and are not unpacked yet.
        packed: Bytes,
    },
    /// Why nothing more of it can be read.
    Unreadable(&'static str),
}

impl IncomingBody {
    pub(super) fn of(response: Response) -> Self {
        let encodings = response.headers().get_all(CONTENT_ENCODING);
        let mut packing = Packing::None;
        for encoding in encodings
            .iter()
            .map(|value| value.as_bytes().to_ascii_lowercase())
        {
            packing = match (packing, &*encoding) {
                (packing, b"" | b"identity") => packing,
                (Packing::None, b"gzip" | b"x-gzip") => Packing::Gzip {
                    decoder: Box::new(GzDecoder::new(Vec::new())),
                    packed: Bytes::new(),
                },
                _ => Packing::Unreadable(UNKNOWN),
            };
        }
        IncomingBody { response, packing }
    }

    /// Why nothing, or nothing more, of it could be read.
    pub(super) fn unreadable(&self) -> Option<&'static str> {
        match self.packing {
            Packing::Unreadable(why) => Some(why),
            Packing::None | Packing::Gzip { .. } => None,
        }
    }

    /// The next piece, if there is one: of a packed body some 32 KiB at the most, however much that
    /// is packed into.
    ///
    /// # Errors
    /// If the connection breaks off.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Lost> {
        loop {
            match &mut self.packing {
                Packing::Unreadable(_) => return Ok(None),
                Packing::None => return self.received().await,
                Packing::Gzip { decoder, packed } if packed.has_remaining() => {
                    match decoder.write(packed) {
                        // Bytes behind the end.
                        Ok(0) => packed.clear(),
                        Ok(taken) => packed.advance(taken),
                        Err(_) => self.packing = Packing::Unreadable(NO_GZIP),
                    }
                }
                Packing::Gzip { .. } => match self.received().await? {
                    Some(piece) => self.feed(piece),
                    None => return Ok(self.rest()),
                },
            }
            if let Some(unpacked) = self.unpacked() {
                return Ok(Some(unpacked));
            }
        }
    }

    async fn received(&mut self) -> Result<Option<Bytes>, Lost> {
        let piece = self.response.chunk().await;
        piece.map_err(|error| Lost::new(&error))
    }

    fn feed(&mut self, piece: Bytes) {
        if let Packing::Gzip { packed, .. } = &mut self.packing {
            *packed = piece;
        }
    }

    /// The bytes unpacked since the last call.
    fn unpacked(&mut self) -> Option<Bytes> {
        let Packing::Gzip { decoder, .. } = &mut self.packing else {
            return None;
        };
        let unpacked = std::mem::take(decoder.get_mut());
        (!unpacked.is_empty()).then(|| unpacked.into())
    }

    /// The last of what was unpacked, also of a body that was cut off.
    fn rest(&mut self) -> Option<Bytes> {
        if let Packing::Gzip { decoder, .. } = &mut self.packing {
            let finished = decoder.try_finish();
            let rest = self.unpacked();
            // The unpacked part is judged by what it says, even so.
            self.packing = finished.map_or(Packing::Unreadable(NO_GZIP), |()| Packing::None);
            return rest;
        }
        None
    }
}
