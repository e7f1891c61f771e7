//! A text that came from outside, made fit to stand in a message: bounded, on one line.

use std::borrow::Cow;

/// At most `max` bytes of the text, which ends in `…` where it was cut.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    const MARK: &str = "…";
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(max.saturating_sub(MARK.len()));
    Cow::Owned(format!("{}{MARK}", &text[..end]))
}

/// A name for a message: cut to `max` bytes, with line ends and other control characters written as escapes.
pub fn name(text: &str, max: usize) -> String {
    // Quotes do no harm and are easier to read as they are.
    let escape =
        |character: char| if matches!(character, '\'' | '"') { character.to_string() } else { character.escape_debug().to_string() };
    let printable: String = cut(text, max).chars().map(escape).collect();
    cut(&printable, max).into_owned()
}

/// The known name that the given one is most like, whatever their case. `None` where nothing is known.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A name of a megabyte would cost a long comparison and is like nothing.
    let name: String = name.chars().take(64).collect::<String>().to_lowercase();
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(&name, &known.to_lowercase());
    known.max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}

/// The members of `changes` whose values are secret, at any API.
pub const SECRETS: [&str; 2] = ["password", "card_number"];

/// Whether a member of an event of this name holds a secret, or may have been meant to: a field
/// whose name is misspelt is no less secret.
pub fn is_secret(name: &str) -> bool {
    let plain = |name: &str| name.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    let name = plain(name);
    SECRETS
        .into_iter()
        .map(plain)
        .any(|secret| name.contains(&secret) || name.len() < 64 && strsim::normalized_damerau_levenshtein(&name, &secret) >= 0.7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_even_misspelt() {
        for name in
            ["password", "card_number", "Password", "pasword", "passwd", "cardNumber", "card-number", "new_password", "card_no_number"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["name", "display_name", "rooms", "video_access", "user", "users", "user_group", "permissions", "id", "source"] {
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
    fn the_nearest_name_is_found_in_any_case() {
        let nearest = |name: &str| nearest(name, ["rooms", "Valt", "card_number"].into_iter());
        for (name, expected) in [("Room", "rooms"), ("vallt", "Valt"), ("cardnumber", "card_number")] {
            assert_eq!(nearest(name), Some(expected));
        }
        assert!(nearest(&"x".repeat(10_000_000)).is_some());
        assert_eq!(super::nearest("x", std::iter::empty()), None);
    }
}
