//! Events in a file: one, which may span lines, or one a line.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

/// No producer of this service sends more, in bytes.
const LONGEST: usize = 20_000_000;

/// Reads events one after the other. Each is kept no longer than it is looked at.
pub struct Events<R> {
    input: R,
    /// The number of the line that was read last.
    line: u64,
    /// Read ahead.
    next: Option<Found>,
    form: Option<Form>,
    /// How many bytes were read.
    pub bytes: u64,
}

/// An event's text, and the line on which it begins.
pub struct Found {
    /// The line, from 1.
    pub line: u64,
    /// The text, whatever it is.
    pub text: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each line is an event.
    Lines,
    /// An event ends with its last bracket.
    Documents,
}

impl<R: BufRead> Events<R> {
    /// Reads from there.
    pub fn new(input: R) -> Self {
        Events {
            input,
            line: 0,
            next: None,
            form: None,
            bytes: 0,
        }
    }

    /// The next line that is not empty.
    fn line(&mut self) -> Result<Option<Found>> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        loop {
            let mut text = Vec::new();
            let longest = LONGEST as u64 + 1;
            let length = (&mut self.input)
                .take(longest)
                .read_until(b'\n', &mut text)?;
            if length == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.bytes += length as u64;
            if length > LONGEST {
                return Err(self.too_long(self.line));
            }
            if !text.trim_ascii().is_empty() {
                let line = self.line;
                return Ok(Some(Found { line, text }));
            }
        }
    }

    fn too_long(&self, line: u64) -> Error {
        let words = format!("the event on line {line} is longer than {LONGEST} bytes");
        Error::new(ErrorKind::InvalidData, words)
    }

    /// Whether the first event ends on its line. One that is cut off there does, if the next line
    /// is one by itself.
    fn form(&mut self, first: &Found) -> Result<Form> {
        let is_whole = |text: &[u8]| {
            let mut brackets = Brackets::default();
            brackets.read(text);
            brackets.are_closed()
        };
        if is_whole(&first.text) {
            return Ok(Form::Lines);
        }
        self.next = self.line()?;
        let next = self.next.as_ref().map_or(&b""[..], |next| &next.text);
        let is_event = next.trim_ascii_start().starts_with(b"{") && is_whole(next);
        Ok(if is_event {
            Form::Lines
        } else {
            Form::Documents
        })
    }

    fn read(&mut self) -> Result<Option<Found>> {
        let Some(mut found) = self.line()? else {
            return Ok(None);
        };
        let form = match self.form {
            Some(form) => form,
            None if found.text.trim_ascii_start().starts_with(b"[") => {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    "is a list, and should be one event, or one a line: `jq -c '.[]' FILE` makes that of it",
                ));
            }
            None => self.form(&found)?,
        };
        self.form = Some(form);
        if form == Form::Documents {
            let mut brackets = Brackets::default();
            brackets.read(&found.text);
            while !brackets.are_closed() {
                let Some(more) = self.line()? else { break };
                brackets.read(&more.text);
                found.text.extend(more.text);
                if found.text.len() > LONGEST {
                    return Err(self.too_long(found.line));
                }
            }
        }
        let end = found.text.trim_ascii_end().len();
        found.text.truncate(end);
        Ok(Some(found))
    }
}

impl<R: BufRead> Iterator for Events<R> {
    type Item = Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// How deep a text is inside brackets.
#[derive(Default)]
struct Brackets {
    depth: i64,
    in_string: bool,
    escaped: bool,
}

impl Brackets {
    fn read(&mut self, text: &[u8]) {
        for byte in text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => self.depth -= 1,
                _ => {}
            }
        }
    }

    fn are_closed(&self) -> bool {
        self.depth <= 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(u64, String)> {
        Events::new(text.as_bytes())
            .map(|found| found.unwrap())
            .map(|found| (found.line, String::from_utf8(found.text).unwrap()))
            .collect()
    }

    #[test]
    fn a_file_holds_one_event_or_one_a_line_or_several_that_span_lines() {
        let pretty = "{\n  \"a\": \"}\\\"\",\n  \"b\": [\n    1\n  ]\n}";
        for (text, wanted) in [
            ("", vec![]),
            ("\n \n", vec![]),
            ("{\"a\":1}", vec![(1, "{\"a\":1}")]),
            (
                "\n{\"a\":1}\r\n\n{\"b\":2}\n",
                vec![(2, "{\"a\":1}"), (4, "{\"b\":2}")],
            ),
            (pretty, vec![(1, pretty)]),
            (
                &format!("{pretty}\n{pretty}\n"),
                vec![(1, pretty), (7, pretty)],
            ),
            (
                "{\n\"cut\": 1,\n\"off\": 2",
                vec![(1, "{\n\"cut\": 1,\n\"off\": 2")],
            ),
        ] {
            let wanted: Vec<_> = wanted
                .into_iter()
                .map(|(line, text)| (line, text.to_owned()))
                .collect();
            assert_eq!(found(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_broken_line_takes_no_other_with_it() {
        let lines = |text: &str| {
            found(text)
                .iter()
                .map(|(line, _)| *line)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines("{\"a\":1}\n{\"cut\n{\"b\":2}\n"), [1, 2, 3]);
        assert_eq!(lines("{\"cut\":\n{\"b\":2}\n{\"c\":3}\n"), [1, 2, 3]);
        assert_eq!(lines("no json\n{\"b\":2}\n"), [1, 2]);
    }

    #[test]
    fn a_list_is_told_how_to_become_lines_and_what_is_too_long_is_refused() {
        let error = |text: &[u8]| Events::new(text).next().unwrap().err().unwrap().to_string();
        assert!(error(b" [ {} ]").contains("jq -c"));
        assert!(error(&vec![b'x'; LONGEST + 1]).contains("on line 1 is longer than"));
        assert!(error(&b"{\n".repeat(LONGEST / 2 + 1)).contains("on line 1 is longer than"));
    }
}
