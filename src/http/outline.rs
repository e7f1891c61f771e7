//! An outline: the short members of a long JSON object, picked out while it streams by.
//!
//! An API may answer with megabytes and put the one member that matters first or last. The outline
//! of such a body is a small JSON object: long members are `null` in it, or, if they are objects,
//! reduced to their own short members. Nothing is checked here; an invalid body stays invalid.

/// A member longer than this is not kept, in bytes.
const LONGEST_MEMBER: usize = 4 * 1024;
/// No more than this is kept of one level, in bytes.
const LONGEST_OUTLINE: usize = 64 * 1024;

/// Takes a body in pieces and keeps its outline.
#[derive(Default)]
pub(super) struct Outline {
    outer: Level,
    /// The members of the object that the current outer member holds.
    inner: Level,
    /// Whether the current outer member holds an object.
    holds_object: bool,
    depth: usize,
    in_string: bool,
    escaped: bool,
    end: OutlineEnd,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum OutlineEnd {
    #[default]
    Open,
    Closed,
    NotAnObject,
}

/// One level of nesting: the members kept so far, and the one being read.
#[derive(Default)]
struct Level {
    kept: Vec<u8>,
    member: Vec<u8>,
    long: bool,
}

impl Level {
    fn read(&mut self, byte: u8) {
        if self.member.len() < LONGEST_MEMBER {
            self.member.push(byte);
        } else {
            self.long = true;
        }
    }

    fn clear(&mut self) {
        *self = Level::default();
    }

    /// Ends the member being read. One that is not whole is kept under its name with `instead`.
    fn end_member(&mut self, instead: &[u8]) {
        let member = std::mem::take(&mut self.member);
        let kept = match (std::mem::take(&mut self.long), name(&member)) {
            (false, Some(_)) => member,
            (true, Some(name)) => [name, b":", instead].concat(),
            (_, None) => return,
        };
        if self.kept.len() + kept.len() < LONGEST_OUTLINE {
            if !self.kept.is_empty() {
                self.kept.push(b',');
            }
            self.kept.extend_from_slice(&kept);
        }
    }
}

impl Outline {
    /// Reads the next piece of the body.
    pub(super) fn read(&mut self, piece: &[u8]) {
        for &byte in piece {
            if self.end != OutlineEnd::Open {
                return;
            }
            self.step(byte);
        }
    }

    /// Whether more of the body could still change the outline.
    pub(super) fn is_open(&self) -> bool {
        self.end == OutlineEnd::Open
    }

    /// The outline so far; `None` if the body is no object.
    pub(super) fn text(&self) -> Option<Vec<u8>> {
        if self.end == OutlineEnd::NotAnObject || self.depth == 0 && self.end == OutlineEnd::Open {
            return None;
        }
        let mut level = Level {
            kept: self.outer.kept.clone(),
            member: self.outer.member.clone(),
            long: true,
        };
        level.end_member(&self.instead());
        Some([b"{".as_slice(), &level.kept, b"}"].concat())
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            self.keep(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' | b'[' => self.open(byte),
            // Those of a byte order mark.
            0xEF | 0xBB | 0xBF if self.depth == 0 => {}
            _ if self.depth == 0 => self.end = OutlineEnd::NotAnObject,
            b'}' | b']' => self.close(byte),
            b',' if self.depth == 1 => self.end_outer(),
            b',' if self.depth == 2 && self.holds_object => {
                self.outer.read(byte);
                self.inner.end_member(b"null");
            }
            _ => {
                self.in_string = byte == b'"';
                self.keep(byte);
            }
        }
    }

    fn open(&mut self, byte: u8) {
        match self.depth {
            0 if byte == b'[' => self.end = OutlineEnd::NotAnObject,
            0 => self.depth = 1,
            1 => {
                self.outer.read(byte);
                self.holds_object = byte == b'{';
                self.inner.clear();
                self.depth = 2;
            }
            _ => {
                self.keep(byte);
                self.depth += 1;
            }
        }
    }

    fn close(&mut self, byte: u8) {
        self.depth -= 1;
        match self.depth {
            0 => {
                self.end_outer();
                self.end = OutlineEnd::Closed;
            }
            1 => {
                self.inner.end_member(b"null");
                self.outer.read(byte);
            }
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        self.outer.read(byte);
        if self.depth > 1 && self.holds_object {
            self.inner.read(byte);
        }
    }

    fn end_outer(&mut self) {
        let instead = self.instead();
        self.outer.end_member(&instead);
        self.holds_object = false;
        self.inner.clear();
    }

    /// The replacement for the current outer member if it is incomplete or too long.
    fn instead(&self) -> Vec<u8> {
        match self.holds_object {
            true => [b"{".as_slice(), &self.inner.kept, b"}"].concat(),
            false => b"null".to_vec(),
        }
    }
}

/// The name of a member with its quotes, if it is complete.
fn name(member: &[u8]) -> Option<&[u8]> {
    let mut escaped = false;
    let end = member.iter().skip(1).position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    (member.get(end + 2) == Some(&b':')).then_some(&member[..end + 2])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn outline(body: &str) -> Option<Value> {
        // In pieces of every small size, since a piece may end anywhere.
        let whole = read(body.as_bytes(), body.len().max(1));
        for size in 1..8 {
            assert_eq!(read(body.as_bytes(), size), whole, "in pieces of {size}");
        }
        whole.map(|text| serde_json::from_slice(&text).unwrap())
    }

    fn read(body: &[u8], size: usize) -> Option<Vec<u8>> {
        let mut outline = Outline::default();
        body.chunks(size).for_each(|piece| outline.read(piece));
        outline.text()
    }

    #[test]
    fn a_short_object_is_its_own_outline() {
        for body in [
            r#"{}"#,
            r#" { "id" : 5 , "a":"x,}\"]", "b":[1,{"id":9}], "c":{"d":{"id":1},"e":[]} } "#,
            r#"{"a\"b":1,"":2,"error":null,"x":-1.5e3,"y":true}"#,
        ] {
            let value: Value = serde_json::from_str(body).unwrap();
            assert_eq!(outline(body), Some(value), "{body}");
        }
    }

    #[test]
    fn long_members_leave_the_short_ones_standing() {
        let long = "x".repeat(10_000);
        let body = json!({ "text": long, "list": [long, 1], "data": { "id": 48, "long": long, "last": [1] }, "id": 5 });
        let expected = json!({ "text": null, "list": null, "data": { "id": 48, "long": null, "last": [1] }, "id": 5 });
        assert_eq!(outline(&body.to_string()), Some(expected));
    }

    #[test]
    fn a_body_cut_anywhere_shows_whole_members_only() {
        let body = r#"{"a":"b\"","id":52,"data":{"id":48,"x":[1,2]},"z":7}"#;
        let whole: Value = serde_json::from_str(body).unwrap();
        for cut in 1..body.len() {
            let part = outline(&body[..cut]).unwrap();
            for (name, value) in part.as_object().unwrap() {
                let partial_object = value.as_object().is_some_and(|members| {
                    members.iter().all(|(name, value)| {
                        value.is_null() || *value == whole["data"][name.as_str()]
                    })
                });
                assert!(
                    value.is_null() || partial_object || *value == whole[name.as_str()],
                    "cut at {cut}: {part}"
                );
            }
        }
        // A number may go on after the cut.
        assert_eq!(outline(r#"{"id":5"#), Some(json!({ "id": null })));
        assert_eq!(outline(r#"{"data":{"id":4"#), Some(json!({ "data": {} })));
        assert_eq!(
            outline(r#"{"data":{"id":48,"x":"#),
            Some(json!({ "data": { "id": 48 } }))
        );
    }

    #[test]
    fn what_is_no_object_has_no_outline() {
        assert_eq!(
            outline("\u{feff}{\"id\":5}"),
            Some(json!({ "id": 5 })),
            "a byte order mark is skipped"
        );
        for body in [
            "",
            "  ",
            "<html>{\"id\":5}</html>",
            "[{\"id\":5}]",
            "\"{\"",
            "5",
            "]",
        ] {
            assert_eq!(outline(body), None, "{body:?}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut outline = Outline::default();
        outline.read(b"{\"id\":5,");
        for number in 0..200_000 {
            outline.read(format!("\"member {number}\":{{\"a\":1,\"b\":[{number}]}},").as_bytes());
        }
        outline.read("\"deep\":".as_bytes());
        outline.read("[".repeat(1_000_000).as_bytes());
        assert!(outline.is_open());
        let text = outline.text().unwrap();
        assert!(text.starts_with(b"{\"id\":5,"));
        assert!(text.len() <= LONGEST_OUTLINE + 2 * LONGEST_MEMBER);
    }
}
