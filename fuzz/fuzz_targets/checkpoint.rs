//! Any text beside an offset is read without harm, and what is written is read back.
#![no_main]

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use engine::checkpoint::{Checkpoint, MAX_TEXT};
use engine::{Commit, Spent, TopicId};
use libfuzzer_sys::fuzz_target;

/// No distance in a text is longer.
const LONGEST: i64 = 1 << 40;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind {
        // The text as it is.
        b't' => read(5, String::from_utf8_lossy(rest).into_owned()),
        // An offset and the bytes within a text of ours, with the topic's id and without.
        b'b' => {
            let Some((offset, bytes)) = rest.split_first_chunk() else {
                return;
            };
            for mark in ["uc1", "uc2"] {
                read(
                    i64::from_le_bytes(*offset).max(0),
                    format!("{mark}.{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)),
                );
            }
        }
        _ => written(rest),
    }
});

/// A text from anywhere: what is read of it is written, and read again, as the same.
fn read(offset: i64, metadata: String) {
    let Ok(read) = Checkpoint::read(&Commit { offset, metadata }) else {
        return;
    };
    assert!(read.horizon >= offset && read.open.keys().all(|at| *at >= offset));
    // A million holes in one run are no other case than a few, and take long.
    if read.open.len() < 10_000 {
        check(&read, offset);
    }
}

/// A checkpoint put together from the bytes, three for each offset.
fn written(bytes: &[u8]) {
    let Some(([window, scale, at @ ..], rest)) = bytes.split_first_chunk::<10>() else {
        return;
    };
    let offset = i64::from_le_bytes(*at).rem_euclid(1 << 48);
    let scale = u32::from(*scale % 36);
    let horizon = offset + (i64::from(*window) << scale);
    let (mut position, mut open) = (offset, BTreeMap::new());
    for [step, calls, failures] in rest.as_chunks().0 {
        let calls = calls.saturating_sub(100);
        let spent = Spent {
            calls: calls.into(),
            failures: if calls == 0 { 0 } else { (*failures).into() },
        };
        position += i64::from(*step) << scale;
        if position < horizon || spent.calls > 0 {
            open.insert(position, spent);
        }
        position += 1;
    }
    check(
        &Checkpoint {
            topic: TopicId([7; 16]),
            horizon,
            open,
            ..Checkpoint::at(offset)
        },
        offset,
    );
}

fn check(written: &Checkpoint, offset: i64) {
    let Some(commit) = written.write(offset) else {
        return;
    };
    assert!(
        commit.offset == offset && commit.metadata.len() <= MAX_TEXT,
        "{commit:?}"
    );
    let read = match Checkpoint::read(&commit) {
        Ok(read) => read,
        Err(unreadable) => panic!("{written:?} is written as {commit:?}: {unreadable}"),
    };
    assert_eq!((read.topic, read.horizon), (written.topic, written.horizon));
    if let Some(slots) = &written.slots {
        assert_eq!(read.slots.as_ref(), Some(slots), "{commit:?}");
    }
    // The offsets that are settled must be the same; attempts may be left out from some offset on,
    // for want of room or because it is too far away.
    let holes = |checkpoint: &Checkpoint| {
        checkpoint
            .open
            .range(..checkpoint.horizon)
            .map(|(at, _)| *at)
            .collect::<Vec<_>>()
    };
    assert_eq!(holes(&read), holes(written));
    let spent = |checkpoint: &Checkpoint| -> Vec<(i64, Spent)> {
        checkpoint
            .open
            .iter()
            .filter(|(_, spent)| spent.calls > 0)
            .map(|(at, spent)| (*at, *spent))
            .collect()
    };
    assert!(
        spent(written).starts_with(&spent(&read)),
        "{written:?} is read back as {read:?}"
    );
    let far = written
        .open
        .keys()
        .next_back()
        .is_some_and(|last| last - offset > LONGEST);
    assert!(
        spent(written).len() == spent(&read).len() || commit.metadata.len() > MAX_TEXT - 100 || far
    );
}
