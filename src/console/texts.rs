//! Texts: each kept once, whoever has it, and only so many.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::text;

/// Number of different texts kept. Errors and names of fields recur; if they do not, opening a row
/// shows the text that is missing in it.
const MOST: usize = 20_000;
/// The number of a text that is not kept.
const NONE: u32 = u32::MAX;

/// Texts by number.
#[derive(Default)]
pub(super) struct Texts {
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
}

impl Texts {
    /// The number of a text, cut to so many bytes.
    pub(super) fn number(&mut self, text: &str, longest: usize) -> u32 {
        let text = text::cut(text, longest);
        if let Some(number) = self.numbers.get(&*text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(NONE);
        if self.texts.len() >= MOST {
            return NONE;
        }
        let text: Arc<str> = text.into();
        self.texts.push(text.clone());
        self.numbers.insert(text, number);
        number
    }

    /// The text of that number.
    pub(super) fn get(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("…", |text| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_kept_once_and_only_so_many() {
        let mut texts = Texts::default();
        let numbers = ["a", "b", "a", "abcdefgh"].map(|text| texts.number(text, 6));
        assert_eq!(numbers, [0, 1, 0, 2]);
        assert_eq!(
            [0, 1, 2, NONE].map(|number| texts.get(number)),
            ["a", "b", "abc…", "…"]
        );
        for number in 0..2 * MOST {
            texts.number(&number.to_string(), 6);
        }
        assert_eq!((texts.texts.len(), texts.number("new", 6)), (MOST, NONE));
    }
}
