//! Unpadded URL-safe base64 (RFC 4648, section 5): commit metadata is text. Own code, since this
//! crate depends on nothing; its tests compare it with the `base64` crate.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Appends the bytes in base64 to `text`.
pub(crate) fn encode(bytes: &[u8], text: &mut String) {
    let letter = |bits: u32| char::from(ALPHABET[(bits & 63) as usize]);
    text.reserve(bytes.len().div_ceil(3) * 4);
    let mut groups = bytes.chunks_exact(3);
    for group in &mut groups {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        text.extend([
            letter(bits >> 18),
            letter(bits >> 12),
            letter(bits >> 6),
            letter(bits),
        ]);
    }
    match *groups.remainder() {
        [one] => text.extend([letter(u32::from(one) >> 2), letter(u32::from(one) << 4)]),
        [one, two] => {
            let bits = u32::from_be_bytes([0, one, two, 0]);
            text.extend([letter(bits >> 18), letter(bits >> 12), letter(bits >> 6)]);
        }
        _ => {}
    }
}

/// The bytes, unless the text is anything but their one encoding.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for at in 0..4 {
            bits = bits << 6 | group.get(at).map_or(Some(0), |letter| value(*letter))?;
        }
        let whole = group.len() * 6 / 8;
        // A lone letter holds no byte, and the bits that no byte needs must be 0.
        if whole == 0 || bits.trailing_zeros() < 24 - 8 * whole as u32 {
            return None;
        }
        bytes.extend(&bits.to_be_bytes()[1..=whole]);
    }
    Some(bytes)
}

fn value(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_are_written_as_others_do_and_read_back(bytes: Vec<u8>) {
            let mut text = String::new();
            encode(&bytes, &mut text);
            prop_assert_eq!(&text, &URL_SAFE_NO_PAD.encode(&bytes));
            prop_assert_eq!(decode(&text), Some(bytes));
        }

        #[test]
        fn any_text_is_taken_or_refused_as_others_do(text in "[A-Za-z0-9_=+-]{0,9}|.{0,5}") {
            prop_assert_eq!(decode(&text), URL_SAFE_NO_PAD.decode(&text).ok());
        }
    }
}
