//! Facts that librdkafka has about a topic but rdkafka 0.39 exposes through no safe function: its
//! id, and the bounds of a partition's log in its leader's last answer. This is all the `unsafe`
//! code of the service.
//!
//! A topic that is deleted and created again under its name gets another id, and nothing else tells
//! the two apart for sure: offsets, leader epochs and the number of partitions of the new one may
//! be those of the old one.

use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaErrorCode;
use rdkafka_sys::types::RDKafkaRespErr;

/// The 16 bytes of a topic's id. All zero: the broker tells none (before Kafka 2.8).
pub type Id = [u8; 16];

/// What a broker tells of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its id.
    pub id: Id,
    /// How many partitions it has.
    pub partitions: usize,
}

/// How long librdkafka itself looks for an answer.
const REQUEST_TIMEOUT_MS: i32 = 5000;

/// The bounds of a partition's log, from this client's last fetch. Asks no broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// The first offset that is there; the records below it were deleted.
    pub start: i64,
    /// One past the last offset that was replicated: the high watermark.
    pub end: i64,
}

impl LogBounds {
    /// `None`: nothing was fetched of the partition, or the last fetch failed.
    pub fn last_seen<C: ClientContext>(
        client: &Client<C>,
        topic: &str,
        partition: i32,
    ) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        let (mut start, mut end) = (-1, -1);
        // SAFETY: the client lives as long as it is borrowed. The name is copied, and the numbers
        // are written, during the call.
        let code = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                client.native_ptr(),
                name.as_ptr(),
                partition,
                &mut start,
                &mut end,
            )
        };
        (code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && start >= 0 && end >= start)
            .then_some(LogBounds { start, end })
    }
}

/// A question that was sent. Its answer is waited for as long, and as often, as one likes.
pub struct Question<'c> {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// The queue must not outlive its client.
    client: PhantomData<&'c ()>,
}

impl<'c> Question<'c> {
    /// Asks for the id of the topic of that name. Needs the right to describe it, which whoever
    /// reads it has. Returns at once. `None`: the name has a zero byte, so there is no such topic.
    pub fn ask<C: ClientContext>(client: &'c Client<C>, topic: &str) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        let rk = client.native_ptr();
        // SAFETY: `rk` is a live client as long as `client` is borrowed. All pointers handed over
        // are valid during the calls, which copy what they keep: the name and the options. What was
        // made here is destroyed here, but for the queue, which `Drop` destroys.
        unsafe {
            let queue = NonNull::new(sys::rd_kafka_queue_new(rk))?;
            let mut names = [name.as_ptr()];
            let topics =
                sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            let options = sys::rd_kafka_AdminOptions_new(
                rk,
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            );
            // It cannot fail for a timeout within the documented range; failing, it would leave the
            // default.
            let _ = sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                REQUEST_TIMEOUT_MS,
                ptr::null_mut(),
                0,
            );
            sys::rd_kafka_DescribeTopics(rk, topics, options, queue.as_ptr());
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_TopicCollection_destroy(topics);
            Some(Question {
                queue,
                client: PhantomData,
            })
        }
    }

    /// Waits for the answer: what the topic is, or why there is none (`UnknownTopicOrPartition`: there is no
    /// such topic). `None`: not yet.
    pub fn answer(&self, wait: Duration) -> Option<Result<Description, RDKafkaErrorCode>> {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue lives until `self` is dropped. The event is ours until it is destroyed,
        // which happens after everything in it was read.
        unsafe {
            let event = NonNull::new(sys::rd_kafka_queue_poll(self.queue.as_ptr(), wait_ms))?;
            let answer = read(event.as_ptr());
            sys::rd_kafka_event_destroy(event.as_ptr());
            answer
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        // SAFETY: made in `ask`, destroyed only here. An answer that is still to come finds the
        // queue disabled.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// The answer in an event of the queue.
///
/// # Safety
/// `event` must be a live event.
unsafe fn read(event: *mut sys::rd_kafka_event_t) -> Option<Result<Description, RDKafkaErrorCode>> {
    // SAFETY: the event is live, and so is all that is reached through it. A result's topics are as
    // many as it says.
    unsafe {
        if sys::rd_kafka_event_type(event) != sys::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT {
            return None;
        }
        let code = sys::rd_kafka_event_error(event);
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Some(Err(code.into()));
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(
            sys::rd_kafka_event_DescribeTopics_result(event),
            &mut count,
        );
        if count == 0 || topics.is_null() {
            return Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition));
        }
        let topic = *topics;
        // An error object says nothing if its code is 0.
        let error = sys::rd_kafka_TopicDescription_error(topic);
        let code = if error.is_null() {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        } else {
            sys::rd_kafka_error_code(error)
        };
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Some(Err(code.into()));
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        let mut bytes = Id::default();
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        if !id.is_null() {
            let high = sys::rd_kafka_Uuid_most_significant_bits(id).to_be_bytes();
            let low = sys::rd_kafka_Uuid_least_significant_bits(id).to_be_bytes();
            bytes[..8].copy_from_slice(&high);
            bytes[8..].copy_from_slice(&low);
        }
        Some(Ok(Description {
            id: bytes,
            partitions,
        }))
    }
}
