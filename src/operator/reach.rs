//! How far the topics reach back, and how far they were read.

use jiff::Timestamp;

use crate::kafka::reader::Span;
use crate::operator::plan::First;

/// Why it cannot be known what became of a letter, if outcomes before the horizon may be gone.
pub(super) fn beyond(horizon: Option<Timestamp>, since: Timestamp) -> Option<String> {
    let horizon = horizon.filter(|horizon| since < *horizon)?;
    Some(format!(
        "whether it was replayed already cannot be told: the outcome topic only reaches back to {horizon:.0}"
    ))
}

/// Lets a partition whose first offset is `low` be read from behind that place. Returns why not all
/// can be seen that came after it.
pub(super) fn reach_back(first: First, low: i64, from: &mut i64) -> Option<String> {
    let First {
        partition, offset, ..
    } = first;
    *from = (*from).min(offset + 1).max(low);
    (low > offset + 1).then(|| {
        format!(
            "the update topic no longer reaches back to {partition}/{offset}: newer updates of this user may be gone from it"
        )
    })
}

/// Moves each span on: from the position up to which it was read, to these ends.
pub(super) fn read_on(spans: &mut [Span], ends: &[Span]) {
    for span in spans {
        span.from = span.to;
        let end = ends.iter().find(|end| end.partition == span.partition);
        span.to = end.map_or(span.to, |end| end.to.max(span.to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_from_before_the_horizon_may_have_been_replayed() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(beyond(None, at(0)), None);
        assert_eq!(beyond(Some(at(10)), at(10)), None);
        let words = beyond(Some(at(10)), at(9)).unwrap();
        assert!(
            words.contains("reaches back to 1970-01-01T00:00:10Z"),
            "{words}"
        );
    }

    #[test]
    fn a_partition_is_read_from_behind_the_letter_and_what_is_gone_there_is_told() {
        let first = |offset| First {
            partition: 2,
            offset,
            written_ms: None,
        };
        let reach = |offset, low, mut from| {
            let blind = reach_back(first(offset), low, &mut from);
            (from, blind.is_some())
        };
        assert_eq!(reach(7, 0, 20), (8, false));
        assert_eq!(reach(7, 0, 3), (3, false), "for another letter");
        assert_eq!(reach(7, 8, 20), (8, false), "the letter itself is gone");
        assert_eq!(reach(7, 9, 20), (9, true), "so is what followed it");
    }

    #[test]
    fn reading_goes_on_where_it_stopped_and_never_back() {
        let span = |partition, from, to| Span {
            partition,
            from,
            to,
        };
        let mut spans = [span(0, 0, 10), span(1, 5, 5), span(2, 1, 4)];
        read_on(&mut spans, &[span(1, 0, 9), span(0, 0, 8), span(3, 0, 7)]);
        assert_eq!(spans, [span(0, 10, 10), span(1, 5, 9), span(2, 4, 4)]);
    }
}
