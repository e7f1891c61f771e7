//! A text that came from outside, made fit to stand in a message and to be shown on a terminal:
//! bounded, on one line, with nothing hidden in it.

use std::borrow::Cow;

/// On one line, without what a terminal would act upon: no line of a log can be forged by it.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

/// At most `max` bytes of the text, which ends in `…` if it was cut.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    const MARK: &str = "…";
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(max.saturating_sub(MARK.len()));
    Cow::Owned(format!("{}{MARK}", &text[..end]))
}

/// A name for a message: cut to `max` bytes, with line ends and other control characters written as
/// escapes.
pub fn name(text: &str, max: usize) -> String {
    // Quotes do no harm and are easier to read as they are.
    let escape = |character: char| {
        if matches!(character, '\'' | '"') {
            character.to_string()
        } else {
            character.escape_debug().to_string()
        }
    };
    let printable: String = cut(text, max).chars().map(escape).collect();
    cut(&printable, max).into_owned()
}

/// A text for a terminal: what cannot be seen there, or would be obeyed, is written out as JSON
/// does it (`\u202e`), so that JSON stays what it was. Line ends and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    written_out(text, &['\n', '\t'])
}

/// The same for a line of the log, which may be coloured. What is logged has no escape character of
/// its own any more.
pub fn printable_in_color(line: &str) -> Cow<'_, str> {
    written_out(line, &['\n', '\t', '\u{1b}'])
}

/// The same for what must stay on its line.
pub fn on_one_line(text: &str) -> Cow<'_, str> {
    written_out(text, &[])
}

fn written_out<'a>(text: &'a str, kept: &[char]) -> Cow<'a, str> {
    let is_hidden = |character: char| !kept.contains(&character) && is_hidden(character);
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hidden(character) {
            character
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Whether the character cannot be told by its looks: controls, marks of direction, what has no
/// width, blanks other than the space, what means nothing.
fn is_hidden(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    let listed = matches!(
        character,
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'
            ..='\u{180f}' | '\u{3164}' | '\u{ffa0}'
    );
    let listed = listed || matches!(character, '\u{2800}' | '\u{e0000}'..='\u{e0fff}');
    // Rust's debug form escapes the rest of them, and marks that combine with the letter before
    // them: after a letter those stay.
    listed
        || character.escape_debug().len() > 1 && format!("a{character}").escape_debug().count() > 2
}

/// The text as one segment of a URL's path: every byte encoded but letters, digits, `-`, `.`, `_`
/// and `~`.
pub fn percent_encoded(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match is_plain(byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    Cow::Owned(encoded)
}

/// The text that [`percent_encoded`] made one of; `None` if it cannot have been that.
pub fn percent_decoded(encoded: &str) -> Option<String> {
    let mut parts = encoded.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// The known name most similar to the given one, ignoring case. `None` if `known` is empty.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A name of a megabyte would cost a long comparison and is like nothing.
    let name: String = name.chars().take(64).collect::<String>().to_lowercase();
    let likeness =
        |known: &str| strsim::normalized_damerau_levenshtein(&name, &known.to_lowercase());
    known.max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}

/// The members of `changes` whose values are secret, at any API.
pub const SECRETS: &[&str] = &["password", "card_number"];

/// Whether a member of an event of this name holds a secret, or may have been meant to, before any
/// API is known.
pub fn is_secret(name: &str) -> bool {
    SECRETS.iter().any(|secret| is_like(name, secret))
}

/// Whether the name may have been meant to be that of the secret: a field whose name is misspelt is
/// no less secret.
pub fn is_like(name: &str, secret: &str) -> bool {
    let plain = |name: &str| {
        name.chars()
            .filter(|character| character.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    let (name, secret) = (plain(name), plain(secret));
    name.contains(&secret)
        || name.len() < 64 && strsim::normalized_damerau_levenshtein(&name, &secret) >= 0.7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_even_misspelt() {
        for name in [
            "password",
            "card_number",
            "Password",
            "pasword",
            "passwd",
            "cardNumber",
            "card-number",
            "new_password",
            "card_no_number",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "name",
            "display_name",
            "rooms",
            "video_access",
            "user",
            "users",
            "user_group",
            "permissions",
            "id",
            "source",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn a_cut_keeps_whole_characters_and_the_limit() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "lo…");
        assert_eq!(cut("ääää", 7), "ää…");
        assert_eq!(cut("ääää", 6), "ä…");
        assert_eq!(name("a\nb", 64), "a\\nb");
        assert!(name(&"\u{0}".repeat(500), 64).len() <= 64);
    }

    #[test]
    fn a_text_becomes_one_segment_of_a_path_and_back() {
        for (text, encoded) in [
            ("52", "52"),
            ("a-b_c.d~e", "a-b_c.d~e"),
            ("a/b?c#d%e f+g", "a%2Fb%3Fc%23d%25e%20f%2Bg"),
            ("Zoë@x", "Zo%C3%AB%40x"),
            ("\u{0}\n", "%00%0A"),
        ] {
            assert_eq!(percent_encoded(text), encoded);
            assert_eq!(percent_decoded(encoded).as_deref(), Some(text));
        }
        for broken in ["%", "%4", "%zz", "%é", "%ff"] {
            assert_eq!(percent_decoded(broken), None, "{broken}");
        }
    }

    #[test]
    fn what_cannot_be_seen_or_would_be_obeyed_is_written_out_as_json_does_it() {
        for (text, wanted) in [
            ("Zoë, Ж, 日本, ไม้, é", "Zoë, Ж, 日本, ไม้, é"),
            ("e\u{301}", "e\u{301}"),
            ("evil\u{202e}gnp.exe", "evil\\u202egnp.exe"),
            (
                "\u{2066}\u{200f}\u{61c}\u{200b}\u{feff}\u{ad}",
                "\\u2066\\u200f\\u061c\\u200b\\ufeff\\u00ad",
            ),
            (
                "\u{1b}[2J\u{9b}2J\r\u{7}\u{7f}",
                "\\u001b[2J\\u009b2J\\u000d\\u0007\\u007f",
            ),
            (
                "\u{2028}\u{a0}\u{3164}\u{e0041}",
                "\\u2028\\u00a0\\u3164\\udb40\\udc41",
            ),
            ("a\n\tb", "a\n\tb"),
        ] {
            assert_eq!(printable(text), wanted);
        }
        assert_eq!(on_one_line("a\nb\t"), "a\\u000ab\\u0009");
        assert_eq!(printable_in_color("\u{1b}[2m\u{202e}"), "\u{1b}[2m\\u202e");
        let json = serde_json::json!({ "name\u{202e}": "\u{9b}\u{e0041}\u{1b}\n" });
        let shown = json.to_string();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&printable(&shown)).unwrap(),
            json
        );
        assert!(!printable(&shown).contains(['\u{202e}', '\u{9b}', '\u{e0041}']));
    }

    #[test]
    fn the_nearest_name_is_found_in_any_case() {
        let nearest = |name: &str| nearest(name, ["rooms", "Valt", "card_number"].into_iter());
        for (name, expected) in [
            ("Room", "rooms"),
            ("vallt", "Valt"),
            ("cardnumber", "card_number"),
        ] {
            assert_eq!(nearest(name), Some(expected));
        }
        assert!(nearest(&"x".repeat(10_000_000)).is_some());
        assert_eq!(super::nearest("x", std::iter::empty()), None);
    }
}
