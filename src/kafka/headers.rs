//! Headers between rdkafka's form and ours. rdkafka panics on a header name that is not UTF-8: here
//! such a name is survived.

use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message, OwnedHeaders};

use crate::model::record::{Header, Place, Record};
use crate::telemetry::panics::quietly;

/// Copies a message out of the client's buffers.
pub fn record(topic: &std::sync::Arc<str>, message: &BorrowedMessage<'_>) -> Record {
    let (headers, verbatim_headers) = message.headers().map(read).unwrap_or_default();
    Record {
        place: Place {
            topic: topic.clone(),
            partition: message.partition(),
            offset: message.offset(),
        },
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        timestamp_ms: message.timestamp().to_millis(),
        headers,
        verbatim_headers,
    }
}

/// The header of a message as text, without copying the others.
pub fn text<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a str> {
    let all = message.headers()?;
    // A name that is not UTF-8 makes rdkafka panic.
    let found = quietly(|| {
        all.iter()
            .find(|header| header.key == name)
            .and_then(|header| header.value)
    });
    std::str::from_utf8(found.flatten()?).ok()
}

fn read(headers: &BorrowedHeaders) -> (Vec<Header>, Option<OwnedHeaders>) {
    let count = headers.count();
    let mut readable = Vec::with_capacity(count);
    for index in 0..count {
        let header = quietly(|| {
            headers
                .try_get(index)
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
        });
        readable.extend(header.flatten().map(|(name, value)| Header {
            name: name.into(),
            value,
        }));
    }
    let verbatim = (readable.len() < count).then(|| headers.detach());
    (readable, verbatim)
}

/// Headers for a message to be sent: ours, or, if a name was not UTF-8, the record's own followed
/// by `added`.
pub fn to_send(headers: &[Header], verbatim: Option<&OwnedHeaders>) -> OwnedHeaders {
    let start = verbatim
        .cloned()
        .unwrap_or_else(|| OwnedHeaders::new_with_capacity(headers.len()));
    headers.iter().fold(start, |sent, header| {
        sent.insert(rdkafka::message::Header {
            key: &header.name,
            value: header.value.as_deref(),
        })
    })
}
