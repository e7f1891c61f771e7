//! Tables and numbers for people.

use std::fmt::Write;

use crate::model::text;

/// A table: columns as wide as they need to be, numbers to the right. In `head`, a column that
/// begins with `>` is one of numbers.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| text::on_one_line(cell)).collect())
        .collect();
    let names: Vec<&str> = head
        .iter()
        .map(|name| name.trim_start_matches('>'))
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .chain([names[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut row = String::new();
        for (column, cell) in cells.enumerate() {
            let width = widths[column];
            let _ = if head[column].starts_with('>') {
                write!(row, "  {cell:>width$}")
            } else {
                write!(row, "  {cell:<width$}")
            };
        }
        text.push_str(row.trim_end());
        text.push('\n');
    };
    line(&mut names.iter().copied());
    for row in &rows {
        line(&mut row.iter().map(|cell| &**cell));
    }
    text
}

/// A number with its thousands apart.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The same for what is counted here.
pub(crate) fn count(count: usize) -> String {
    number(count as u64)
}

/// An amount with its noun in the singular or plural.
pub(crate) fn of(amount: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(amount), if amount == 1 { one } else { many })
}

/// How often.
pub(crate) fn times(count: u32) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        more => format!("{more} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [
            vec!["valt".to_owned(), "7".to_owned(), "a".to_owned()],
            vec!["unclaimed".to_owned(), "1,000".to_owned(), "bcd".to_owned()],
        ];
        let wanted = "  target     count  x\n  valt           7  a\n  unclaimed  1,000  bcd\n";
        assert_eq!(table(&["target", ">count", "x"], &rows), wanted);
    }

    #[test]
    fn a_cell_cannot_look_like_rows_of_its_own() {
        assert_eq!(
            table(&["target"], &[vec!["a\n  b\u{202e}".to_owned()]]),
            "  target\n  a\\u000a  b\\u202e\n"
        );
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(number),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(of(1, "letter", "letters"), "1 letter");
    }
}
