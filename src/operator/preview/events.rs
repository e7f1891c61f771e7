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
    next: Option<EventText>,
    /// How many bytes were read.
    pub bytes: u64,
}

/// An event's text, and the line on which it begins.
pub struct EventText {
    /// The line, from 1.
    pub line: u64,
    /// The text, whatever it is.
    pub text: Vec<u8>,
}

impl<R: BufRead> Events<R> {
    /// Reads from there.
    pub fn new(input: R) -> Self {
        Events {
            input,
            line: 0,
            next: None,
            bytes: 0,
        }
    }

    /// The next line that is not empty.
    fn line(&mut self) -> Result<Option<EventText>> {
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
                return Ok(Some(EventText { line, text }));
            }
        }
    }

    fn too_long(&self, line: u64) -> Error {
        let words = format!("the event on line {line} is longer than {LONGEST} bytes");
        Error::new(ErrorKind::InvalidData, words)
    }

    /// The next event: up to where its brackets close. One that is cut off ends before a line that
    /// is an event by itself.
    fn read(&mut self) -> Result<Option<EventText>> {
        let is_first = self.line == 0;
        let Some(mut found) = self.line()? else {
            return Ok(None);
        };
        if is_first && found.text.trim_ascii_start().starts_with(b"[") {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "is a list, and should be one event, or one a line: \
                 `jq -c '.[]' FILE` makes that of it",
            ));
        }
        let (mut brackets, mut looked_at) = (Brackets::default(), 0);
        loop {
            let closed = brackets.read(&found.text[looked_at..]);
            if let Some(end) = closed.map(|end| looked_at + end) {
                self.split(&mut found, end);
                break;
            }
            if brackets.are_closed() {
                break;
            }
            let Some(more) = self.line()? else { break };
            if more.text.starts_with(b"{") && is_whole(&more.text) {
                self.next = Some(more);
                break;
            }
            looked_at = found.text.len();
            found.text.extend(more.text);
            if found.text.len() > LONGEST {
                return Err(self.too_long(found.line));
            }
        }
        let end = found.text.trim_ascii_end().len();
        found.text.truncate(end);
        Ok(Some(found))
    }

    /// Keeps what begins another event behind the first, as in files that were put together and
    /// have no line ends.
    fn split(&mut self, found: &mut EventText, end: usize) {
        let rest = found.text[end..].trim_ascii_start();
        if rest.starts_with(b"{") {
            self.next = Some(EventText {
                line: self.line,
                text: rest.to_vec(),
            });
            found.text.truncate(end);
        }
    }
}

/// Whether the text is closed as an event by itself.
fn is_whole(text: &[u8]) -> bool {
    let mut brackets = Brackets::default();
    brackets.read(text).is_some() && brackets.are_closed()
}

impl<R: BufRead> Iterator for Events<R> {
    type Item = Result<EventText>;

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
    /// Reads on, up to where the last bracket is closed, if that is in the text: one past it.
    fn read(&mut self, text: &[u8]) -> Option<usize> {
        for (at, byte) in text.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
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
                "{\"a\":1}{\"b\":2} {\"c\":3}",
                vec![(1, "{\"a\":1}"), (1, "{\"b\":2}"), (1, "{\"c\":3}")],
            ),
            (&format!("{pretty}{pretty}"), vec![(1, pretty), (6, pretty)]),
            ("{\"a\":1} x", vec![(1, "{\"a\":1} x")]),
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
