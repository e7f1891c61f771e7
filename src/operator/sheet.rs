//! A sheet: a report in sections. For a terminal as text, for the operator's page as JSON.

use std::fmt;

use serde::Serialize;

use crate::operator::table::table;

/// A title, and sections below it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Sheet {
    /// Its subject.
    pub(crate) title: String,
    /// A line that explains it.
    pub(crate) meaning: Option<String>,
    /// Its parts.
    pub(crate) sections: Vec<SheetSection>,
}

/// A part of a sheet.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SheetSection {
    /// Its heading.
    pub(crate) name: String,
    /// Its text.
    pub(crate) lines: Vec<String>,
    /// Whether the lines are one text whose spaces count.
    pub(crate) verbatim: bool,
    /// Its table.
    pub(crate) table: Option<Table>,
    /// The text below the table.
    pub(crate) after: Vec<String>,
}

/// Rows below a head. A column whose name begins with `>` is one of numbers.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Sheet {
    /// A section to be filled, at the end.
    pub(crate) fn section(&mut self, name: impl Into<String>) -> &mut SheetSection {
        self.sections.push(SheetSection {
            name: name.into(),
            ..SheetSection::default()
        });
        let last = self.sections.len() - 1;
        &mut self.sections[last]
    }
}

impl SheetSection {
    /// Says a line more.
    pub(crate) fn line(&mut self, words: impl Into<String>) -> &mut Self {
        let lines = if self.table.is_some() {
            &mut self.after
        } else {
            &mut self.lines
        };
        lines.push(words.into());
        self
    }

    /// Lists rows below its lines.
    pub(crate) fn rows(&mut self, head: &[&'static str], rows: Vec<Vec<String>>) -> &mut Self {
        self.table = Some(Table {
            head: head.to_vec(),
            rows,
        });
        self
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        if let Some(meaning) = &self.meaning {
            writeln!(f, "  {meaning}")?;
        }
        for section in &self.sections {
            writeln!(f, "\n{}", section.name)?;
            section
                .lines
                .iter()
                .try_for_each(|line| writeln!(f, "  {line}"))?;
            if let Some(Table { head, rows }) = &section.table {
                f.write_str(&table(head, rows))?;
            }
            section
                .after
                .iter()
                .try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_is_text_in_sections() {
        let mut sheet = Sheet {
            title: "user 52".to_owned(),
            meaning: Some("of valt".to_owned()),
            ..Sheet::default()
        };
        sheet.section("waiting").line("nothing");
        sheet
            .section("dead")
            .line("one")
            .rows(
                &[">n", "why"],
                vec![vec!["7".to_owned(), "rejected".to_owned()]],
            )
            .line("that is all");
        assert_eq!(
            sheet.to_string(),
            "user 52\n  of valt\n\nwaiting\n  nothing\n\ndead\n  one\n  n  why\n  7  rejected\n  that is all\n"
        );
        let json = serde_json::to_value(&sheet).unwrap();
        assert_eq!(json["sections"][1]["table"]["rows"][0][1], "rejected");
    }
}
