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
    let printable: String = cut(text, max).escape_debug().collect();
    cut(&printable, max).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_whole_characters_and_the_limit() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "lo…");
        assert_eq!(cut("ääää", 7), "ää…");
        assert_eq!(cut("ääää", 6), "ä…");
        assert_eq!(name("a\nb", 64), "a\\nb");
        assert!(name(&"\u{0}".repeat(500), 64).len() <= 64);
    }
}
