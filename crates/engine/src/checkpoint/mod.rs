//! A checkpoint: what is committed for a partition, an offset and a text beside it.
//!
//! Lanes finish out of order, so the committed offset, the lowest unsettled one, does not tell
//! which of the later ones are settled. The text does: it lists the *holes*, the unsettled offsets
//! up to a horizon. What is below the horizon and no hole is settled (or was never ours). It also
//! carries the attempts already spent on waiting updates.
//!
//! The text is `uc2.` and, in unpadded URL-safe base64: the 16 bytes of the topic's id; the
//! horizon's distance from the offset; how the holes are written (0: lengths of runs, between holes
//! and of holes in turn; 1: a bitmap); the holes' bytes, their count first; then the spent
//! attempts, each as distance from the one before, calls and failures. Numbers are LEB128. If there
//! is nothing to say but the topic's id, the text ends with it.
//!
//! If the topic's id is not known, the text is `uc1.` and the same without it, as older versions
//! wrote it. Behind either text stands what is taken of a guarded target's slots, if there is
//! anything (`crates/engine/src/guard/slots.rs`). Each part is read by itself, so that damage to
//! one spoils no other.

use std::collections::BTreeMap;
use std::fmt;

use crate::guard::slots::{MAX_SLOTS_TEXT, Taken};
use crate::{TopicId, base64};

/// The broker takes this much text beside an offset (`offset.metadata.max.bytes`).
pub const MAX_TEXT: usize = 4096;
/// A text written as new stays below this: settling the lowest offset can lengthen the next text by
/// a few bytes.
const FULL_TEXT: usize = MAX_TEXT - 64;
/// The version's mark. A text without a mark of ours is somebody else's.
const MARK: &str = "uc2.";
/// The mark of a text without the topic's id.
const MARK_WITHOUT_ID: &str = "uc1.";
/// No distance in a text is longer: one that is read longer is damage.
const MAX_WINDOW: i64 = 1 << 40;
/// No text has more holes: a few bytes of damage must not fill the memory.
const MAX_HOLES: usize = 1 << 20;

/// Attempts spent on an update that still waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Calls made.
    pub calls: u32,
    /// Failures that count against the retry budget.
    pub failures: u32,
}

/// An offset and the text beside it, as committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The lowest unsettled offset.
    pub offset: i64,
    /// The rest; empty where there is nothing to say.
    pub metadata: String,
}

impl Commit {
    /// The commit of a group that has read nothing.
    pub fn none() -> Self {
        Commit {
            offset: 0,
            metadata: String::new(),
        }
    }
}

/// A commit's text, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The topic that the offsets speak of.
    pub topic: TopicId,
    /// Below this, what is no hole is settled. Equal to the offset where nothing above it is
    /// settled.
    pub horizon: i64,
    /// The unsettled offsets below the horizon, and those above it on which attempts were spent.
    pub open: BTreeMap<i64, Spent>,
    /// What is taken of the partition's slots; `None` if that cannot be read.
    pub slots: Option<Taken>,
}

/// A text that is none of ours, or damaged.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Written by something else, or by a later version.
    Foreign,
    /// Ours, but not whole.
    Damaged,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Foreign => {
                write!(f, "it does not begin with `{MARK}` or `{MARK_WITHOUT_ID}`")
            }
            Unreadable::Damaged => f.write_str("it is damaged"),
        }
    }
}

impl std::error::Error for Unreadable {}

impl Checkpoint {
    /// Nothing known above `offset`.
    pub fn at(offset: i64) -> Self {
        Checkpoint {
            topic: TopicId::UNKNOWN,
            horizon: offset,
            open: BTreeMap::new(),
            slots: Some(Taken::default()),
        }
    }

    /// Writes the commit at `offset`, the lowest unsettled one; `None` if the holes do not fit.
    /// Spent attempts that do not fit are left out.
    pub fn write(&self, offset: i64) -> Option<Commit> {
        let open: Vec<(i64, Spent)> = self
            .open
            .range(offset..)
            .map(|(at, spent)| (*at, *spent))
            .collect();
        let slots = self.slots.as_ref().map(Taken::text).unwrap_or_default();
        let mut commit = write(self.topic, offset, self.horizon, &open, slots.len())?;
        commit.metadata.push_str(&slots);
        Some(commit)
    }

    /// Reads a commit back. An empty text says nothing, and that is fine.
    pub fn read(commit: &Commit) -> Result<Self, Unreadable> {
        let (text, slots) = Taken::split(&commit.metadata);
        let slots = slots.map_or_else(|| Some(Taken::default()), Taken::read);
        Ok(Checkpoint {
            slots,
            ..Checkpoint::read_text(commit.offset, text)?
        })
    }

    fn read_text(offset: i64, text: &str) -> Result<Self, Unreadable> {
        if text.is_empty() {
            return Ok(Checkpoint::at(offset));
        }
        let decode = |text| base64::decode(text).ok_or(Unreadable::Damaged);
        if let Some(text) = text.strip_prefix(MARK_WITHOUT_ID) {
            return parse(offset, &decode(text)?).ok_or(Unreadable::Damaged);
        }
        let bytes = decode(text.strip_prefix(MARK).ok_or(Unreadable::Foreign)?)?;
        let (id, rest) = bytes.split_first_chunk().ok_or(Unreadable::Damaged)?;
        let checkpoint = if rest.is_empty() {
            Some(Checkpoint::at(offset))
        } else {
            parse(offset, rest)
        };
        checkpoint
            .map(|checkpoint| Checkpoint {
                topic: TopicId(*id),
                ..checkpoint
            })
            .ok_or(Unreadable::Damaged)
    }
}

/// As [`Checkpoint::write`], without the slots, for which room is left; `open` goes up, and begins
/// at `offset` or above.
pub(super) fn write(
    topic: TopicId,
    offset: i64,
    horizon: i64,
    open: &[(i64, Spent)],
    room: usize,
) -> Option<Commit> {
    let full = FULL_TEXT - room.min(MAX_SLOTS_TEXT);
    let holes = &open[..open.partition_point(|(at, _)| *at < horizon)];
    if horizon.saturating_sub(offset) > MAX_WINDOW || holes.len() > MAX_HOLES {
        return None;
    }
    let (mark, mut bytes) = if topic.is_known() {
        (MARK, topic.0.to_vec())
    } else {
        (MARK_WITHOUT_ID, Vec::new())
    };
    let id_length = bytes.len();
    put(&mut bytes, (horizon - offset).max(0) as u64);
    if horizon > offset {
        put_holes(&mut bytes, offset, horizon, holes);
    }
    if text_length(bytes.len()) > full {
        return None;
    }
    let bare = bytes.len();
    let mut before = offset;
    for (at, spent) in open.iter().filter(|(_, spent)| spent.calls > 0) {
        let fits = bytes.len();
        put(&mut bytes, (at - before) as u64);
        put(&mut bytes, spent.calls.into());
        put(&mut bytes, spent.failures.into());
        if text_length(bytes.len()) > full || at - before > MAX_WINDOW {
            bytes.truncate(fits);
            break;
        }
        before = *at;
    }
    if horizon <= offset && bytes.len() == bare {
        bytes.truncate(id_length);
    }
    let mut metadata = String::new();
    if !bytes.is_empty() {
        metadata.push_str(mark);
        base64::encode(&bytes, &mut metadata);
    }
    Some(Commit { offset, metadata })
}

fn text_length(bytes: usize) -> usize {
    MARK.len() + (bytes * 4).div_ceil(3)
}

/// Appends a number in LEB128.
pub(crate) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn put_holes(bytes: &mut Vec<u8>, offset: i64, horizon: i64, holes: &[(i64, Spent)]) {
    let bitmap_length = ((horizon - offset) as u64).div_ceil(8);
    let mut runs = Vec::new();
    let mut at = offset;
    let mut rest = holes;
    while let Some((first, _)) = rest.first()
        && runs.len() as u64 <= bitmap_length
    {
        let length = rest
            .iter()
            .zip(*first..)
            .take_while(|((hole, _), expected)| hole == expected)
            .count();
        put(&mut runs, (first - at) as u64);
        put(&mut runs, length as u64);
        at = first + length as i64;
        rest = &rest[length..];
    }
    if runs.len() as u64 <= bitmap_length {
        bytes.push(0);
        put(bytes, runs.len() as u64);
        bytes.append(&mut runs);
    } else {
        let mut bitmap = vec![0u8; bitmap_length as usize];
        for (hole, _) in holes {
            let bit = (hole - offset) as usize;
            bitmap[bit / 8] |= 1 << (bit % 8);
        }
        bytes.push(1);
        put(bytes, bitmap_length);
        bytes.append(&mut bitmap);
    }
}

/// The bytes not yet read.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return None;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn distance(&mut self) -> Option<i64> {
        i64::try_from(self.number()?)
            .ok()
            .filter(|distance| *distance <= MAX_WINDOW)
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

fn parse(offset: i64, bytes: &[u8]) -> Option<Checkpoint> {
    let mut reader = Reader(bytes);
    let horizon = offset.checked_add(reader.distance()?)?;
    let mut checkpoint = Checkpoint::at(horizon);
    if horizon > offset {
        let (kind, rest) = reader.0.split_first()?;
        reader.0 = rest;
        let length = reader.number()?;
        let holes = reader.take(length)?;
        let holes = match kind {
            0 => read_runs(offset, horizon, holes)?,
            1 => read_bitmap(offset, horizon, holes)?,
            _ => return None,
        };
        // In one go: one by one would take as long as all the rest together, for each of perhaps a
        // thousand partitions.
        checkpoint.open = holes
            .into_iter()
            .map(|hole| (hole, Spent::default()))
            .collect();
    }
    let mut at = offset;
    while !reader.0.is_empty() {
        at = at.checked_add(reader.distance()?)?;
        let calls = u32::try_from(reader.number()?).ok()?;
        let failures = u32::try_from(reader.number()?).ok()?;
        checkpoint.open.insert(at, Spent { calls, failures });
    }
    Some(checkpoint)
}

fn read_runs(offset: i64, horizon: i64, bytes: &[u8]) -> Option<Vec<i64>> {
    let mut holes = Vec::new();
    let mut reader = Reader(bytes);
    let mut at = offset;
    while !reader.0.is_empty() {
        at = at.checked_add(reader.distance()?)?;
        let end = at.checked_add(reader.distance()?)?;
        if end > horizon || holes.len() + (end - at) as usize > MAX_HOLES {
            return None;
        }
        holes.extend(at..end);
        at = end;
    }
    Some(holes)
}

fn read_bitmap(offset: i64, horizon: i64, bitmap: &[u8]) -> Option<Vec<i64>> {
    if bitmap.len() as u64 != ((horizon - offset) as u64).div_ceil(8) {
        return None;
    }
    let mut holes = Vec::new();
    for (index, byte) in bitmap.iter().enumerate() {
        for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
            let hole = offset.checked_add((index * 8 + bit) as i64)?;
            if hole >= horizon {
                return None;
            }
            holes.push(hole);
        }
    }
    Some(holes)
}

#[cfg(test)]
mod tests;
