//! Standing: topics that refused something lately, remembered so that transactions need not find it
//! out again.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::kafka::message::{Message, MessageRefusal};

/// For so long it is believed that a topic refuses what it refused. Short, as somebody may mend it.
const BELIEVED: Duration = Duration::from_secs(5);
/// A topic that refuses everything is tried again after this time, doubling…
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// …up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Everything else waits as well, so messages are waited for no longer than this,
const PATIENCE: Duration = Duration::from_secs(2);
/// or than this if a partition of their topics took nothing in time
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// within so long,
const DOUBTED: Duration = Duration::from_secs(60);
/// and as much longer as so many bytes a second take.
const SLOW_LINK: f64 = 50_000.0;

/// The progress of all topics, by name.
#[derive(Debug, Default)]
pub(super) struct TopicsProgress(HashMap<String, TopicProgress>);

#[derive(Debug, Default)]
struct TopicProgress {
    /// The size that was too large, and when.
    too_large: Option<(usize, Instant)>,
    /// When it refused a message without a key.
    wants_keys: Option<Instant>,
    /// It takes nothing until then, after this pause.
    suspended: Option<(Instant, Duration)>,
    doubted: Option<Instant>,
}

impl TopicsProgress {
    fn topic(&mut self, message: &Message) -> &mut TopicProgress {
        // Three topics at the most.
        self.0.entry(message.topic.clone()).or_default()
    }

    /// A message was refused for itself. If batches are compressed, its size says nothing of
    /// others.
    pub(super) fn refused(
        &mut self,
        message: &Message,
        refusal: MessageRefusal,
        is_compressed: bool,
        now: Instant,
    ) {
        let topic = self.topic(message);
        match refusal {
            MessageRefusal::Size if !is_compressed => topic.too_large = Some((message.size(), now)),
            MessageRefusal::Form if message.key.is_none() && message.timestamp_ms.is_none() => {
                topic.wants_keys = Some(now)
            }
            _ => {}
        }
    }

    /// Changes what is certainly refused, before it is sent.
    pub(super) fn prepare(&mut self, message: &mut Message, now: Instant) {
        let Some(topic) = self.0.get(&message.topic) else {
            return;
        };
        let is_believed = |at: &Instant| now.saturating_duration_since(*at) < BELIEVED;
        if topic.wants_keys.as_ref().is_some_and(is_believed) && message.key.is_none() {
            message.timestamp_ms = None;
            message.alter(MessageRefusal::Form);
        }
        if let Some((size, _)) = topic.too_large.filter(|(_, at)| is_believed(at)) {
            while message.size() >= size && message.alter(MessageRefusal::Size) {}
        }
    }

    /// A topic takes nothing. Returns when it is tried again.
    pub(super) fn suspend(&mut self, name: &str, now: Instant) -> Duration {
        let topic = self.0.entry(name.to_owned()).or_default();
        let pause = topic
            .suspended
            .map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
        topic.suspended = Some((now + pause, pause));
        pause
    }

    /// A partition of a topic took nothing in time.
    pub(super) fn doubt(&mut self, message: &Message, now: Instant) {
        self.topic(message).doubted = Some(now);
    }

    /// Everything went through.
    pub(super) fn went_through<'a>(&mut self, messages: impl Iterator<Item = &'a Message>) {
        if self.0.values().all(|topic| topic.suspended.is_none()) {
            return;
        }
        for message in messages {
            self.topic(message).suspended = None;
        }
    }

    /// The endings that have a message for a topic which takes nothing now.
    pub(super) fn suspended(&self, messages: &[Message], now: Instant) -> BTreeSet<usize> {
        let is_suspended = |message: &&Message| {
            self.0
                .get(&message.topic)
                .and_then(|topic| topic.suspended)
                .is_some_and(|(until, _)| until > now)
        };
        messages
            .iter()
            .filter(is_suspended)
            .map(|message| message.ending)
            .collect()
    }

    /// How long these may take. The client gives messages up after 5 s.
    pub(super) fn patience(&self, messages: &[Message], now: Instant) -> Duration {
        let is_doubted = |topic: &TopicProgress| {
            topic.suspended.is_some()
                || topic
                    .doubted
                    .is_some_and(|at| now.saturating_duration_since(at) < DOUBTED)
        };
        let some_doubted = messages
            .iter()
            .any(|message| self.0.get(&message.topic).is_some_and(is_doubted));
        let bytes: usize = messages.iter().map(Message::size).sum();
        let carrying = Duration::from_secs_f64(bytes as f64 / SLOW_LINK);
        carrying
            + if some_doubted {
                SHORT_PATIENCE
            } else {
                PATIENCE
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::message::MessageKind;

    fn letter(key: Option<&[u8]>, size: usize) -> Message {
        let new = Message::new(
            MessageKind::DeadLetter,
            "updates/0/1".parse().unwrap(),
            "letters".to_owned(),
        );
        Message {
            key: key.map(<[u8]>::to_vec),
            value: Some(vec![b'x'; size]),
            ..new
        }
    }

    #[test]
    fn what_was_refused_is_changed_beforehand_for_a_while() {
        let start = Instant::now();
        let later = start + BELIEVED;
        let mut standing = TopicsProgress::default();
        let altered = |standing: &mut TopicsProgress, mut message: Message, now| {
            standing.prepare(&mut message, now);
            message.altered.to_string()
        };
        assert_eq!(altered(&mut standing, letter(None, 1000), start), "");
        standing.refused(
            &letter(Some(b"key"), 1000),
            MessageRefusal::Size,
            true,
            start,
        );
        assert_eq!(
            altered(&mut standing, letter(Some(b"key"), 1000), start),
            "",
            "compressed"
        );
        standing.refused(
            &letter(Some(b"key"), 1000),
            MessageRefusal::Size,
            false,
            start,
        );
        assert_eq!(
            altered(&mut standing, letter(Some(b"key"), 1000), start),
            "value"
        );
        assert_eq!(altered(&mut standing, letter(Some(b"key"), 999), start), "");
        assert_eq!(
            altered(&mut standing, letter(Some(b"key"), 1000), later),
            ""
        );
        standing.refused(&letter(None, 10), MessageRefusal::Form, false, start);
        assert_eq!(altered(&mut standing, letter(None, 10), start), "key");
        assert_eq!(altered(&mut standing, letter(Some(b"key"), 10), start), "");
        assert_eq!(altered(&mut standing, letter(None, 10), later), "");
    }

    #[test]
    fn a_topic_that_takes_nothing_is_tried_ever_more_seldom_until_it_takes_something() {
        let start = Instant::now();
        let (messages, mut standing) = ([letter(None, 10)], TopicsProgress::default());
        let pauses: Vec<_> = (0..7)
            .map(|_| standing.suspend("letters", start).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(standing.suspended(&messages, start).len(), 1);
        assert!(
            standing
                .suspended(&messages, start + LONGEST_PAUSE)
                .is_empty()
        );
        let patience = |standing: &TopicsProgress, size, now| {
            standing.patience(&[letter(None, size)], now).as_secs()
        };
        assert_eq!(
            [
                patience(&standing, 10, start),
                patience(&standing, 200_000, start)
            ],
            [1, 5]
        );
        standing.went_through(messages.iter());
        assert_eq!(patience(&standing, 10, start), 2);
        standing.doubt(&messages[0], start);
        assert_eq!(
            [
                patience(&standing, 10, start),
                patience(&standing, 10, start + DOUBTED)
            ],
            [1, 2]
        );
        assert_eq!(standing.suspend("letters", start), FIRST_PAUSE);
    }
}
