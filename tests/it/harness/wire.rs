//! Kafka's protocol by hand, for records that no client library here can write or read: those with
//! header names that are not text.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::kafka::{PATIENCE, bootstrap};

/// A record whose header names are any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawRecord {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Writes one record to a partition, and returns its offset.
pub(crate) fn write(topic: &str, partition: i32, record: &RawRecord) -> i64 {
    let batch = encode(record);
    let mut body = Vec::new();
    put_text(&mut body, None); // no transaction
    body.extend((-1_i16).to_be_bytes()); // acknowledged by all replicas
    body.extend(10_000_i32.to_be_bytes());
    put_partition(&mut body, topic, partition);
    body.extend(length(&batch).to_be_bytes());
    body.extend(&batch);
    for server in bootstrap().split(',') {
        let answer = ask(server, 0, 3, &body);
        let mut answer = &answer[..];
        skip_to_partition(&mut answer, topic);
        match take_i16(&mut answer) {
            0 => return take_i64(&mut answer),
            6 => {} // another broker leads the partition
            error => panic!("the broker refused the record with error {error}"),
        }
    }
    panic!("none of the bootstrap servers leads {topic}/{partition}")
}

/// Reads the records of a partition from its beginning, as far as one answer goes. They must not be
/// compressed.
pub(crate) fn read(topic: &str, partition: i32) -> Vec<RawRecord> {
    let mut body = Vec::new();
    body.extend((-1_i32).to_be_bytes()); // not a replica
    for number in [0_i32, 0, 10_000_000] {
        body.extend(number.to_be_bytes()); // wait, fewest and most bytes
    }
    body.push(1); // committed records only
    put_partition(&mut body, topic, partition);
    body.extend(0_i64.to_be_bytes());
    body.extend(10_000_000_i32.to_be_bytes());
    for server in bootstrap().split(',') {
        let answer = ask(server, 1, 4, &body);
        let mut answer = &answer[4..];
        skip_to_partition(&mut answer, topic);
        match take_i16(&mut answer) {
            0 => {}
            6 => continue,
            error => panic!("the broker refused to be read from with error {error}"),
        }
        take(&mut answer, 16);
        let aborted = take_i32(&mut answer).max(0);
        assert_eq!(
            aborted, 0,
            "this reader knows nothing of aborted transactions"
        );
        let batches = usize::try_from(take_i32(&mut answer)).unwrap_or(0);
        return decode(take(&mut answer, batches));
    }
    panic!("none of the bootstrap servers leads {topic}/{partition}")
}

/// Sends a request, and returns its answer without the correlation number.
fn ask(server: &str, api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    put_text(&mut request, Some("tests"));
    request.extend(body);
    let mut stream = TcpStream::connect(server).expect("the broker accepts");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&length(&request).to_be_bytes()).unwrap();
    stream.write_all(&request).unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("the broker answers");
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer.split_off(4)
}

fn encode(record: &RawRecord) -> Vec<u8> {
    let mut inner = vec![0, 0, 0]; // attributes, and no distance from the batch's time and offset
    put_bytes(&mut inner, record.key.as_deref());
    put_bytes(&mut inner, record.value.as_deref());
    put_varint(&mut inner, i64::from(length(&record.headers)));
    for (name, value) in &record.headers {
        put_bytes(&mut inner, Some(name));
        put_bytes(&mut inner, value.as_deref());
    }
    let mut checked = vec![0; 6]; // attributes, and the last offset's distance from the first
    checked.extend(record.timestamp.to_be_bytes());
    checked.extend(record.timestamp.to_be_bytes());
    checked.extend([0xff; 14]); // no idempotent producer
    checked.extend(1_i32.to_be_bytes());
    put_varint(&mut checked, i64::from(length(&inner)));
    checked.extend(inner);
    let mut batch = vec![0; 8];
    batch.extend((length(&checked) + 9).to_be_bytes());
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

fn decode(mut batches: &[u8]) -> Vec<RawRecord> {
    let mut records = Vec::new();
    while !batches.is_empty() {
        take(&mut batches, 8);
        let size = usize::try_from(take_i32(&mut batches)).unwrap();
        let mut batch = take(&mut batches, size);
        take(&mut batch, 9);
        let attributes = take_i16(&mut batch);
        assert_eq!(attributes & 0b111, 0, "the batch is compressed");
        take(&mut batch, 4);
        let base_timestamp = take_i64(&mut batch);
        take(&mut batch, 22);
        let count = take_i32(&mut batch);
        // Bit 5: a marker of a transaction instead of records.
        if attributes & 0b10_0000 != 0 {
            continue;
        }
        for _ in 0..count {
            take_varint(&mut batch);
            take(&mut batch, 1);
            let timestamp = base_timestamp + take_varint(&mut batch);
            take_varint(&mut batch);
            let (key, value) = (take_bytes(&mut batch), take_bytes(&mut batch));
            let headers = (0..take_varint(&mut batch))
                .map(|_| (take_bytes(&mut batch).unwrap(), take_bytes(&mut batch)));
            records.push(RawRecord {
                timestamp,
                key,
                value,
                headers: headers.collect(),
            });
        }
    }
    records
}

fn length<T>(items: &[T]) -> i32 {
    i32::try_from(items.len()).unwrap()
}

/// A list of one topic with a list of one partition.
fn put_partition(out: &mut Vec<u8>, topic: &str, partition: i32) {
    out.extend(1_i32.to_be_bytes());
    put_text(out, Some(topic));
    out.extend(1_i32.to_be_bytes());
    out.extend(partition.to_be_bytes());
}

/// The same in an answer.
fn skip_to_partition(from: &mut &[u8], topic: &str) {
    take(from, 4 + 2 + topic.len() + 4 + 4);
}

fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    let size = text.map_or(-1, |text| i16::try_from(text.len()).unwrap());
    out.extend(size.to_be_bytes());
    out.extend(text.unwrap_or_default().as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |bytes| i64::from(length(bytes))));
    out.extend(bytes.unwrap_or_default());
}

fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = from.split_at(count);
    *from = rest;
    taken
}

fn take_i16(from: &mut &[u8]) -> i16 {
    i16::from_be_bytes(take(from, 2).try_into().unwrap())
}

fn take_i32(from: &mut &[u8]) -> i32 {
    i32::from_be_bytes(take(from, 4).try_into().unwrap())
}

fn take_i64(from: &mut &[u8]) -> i64 {
    i64::from_be_bytes(take(from, 8).try_into().unwrap())
}

fn take_varint(from: &mut &[u8]) -> i64 {
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let byte = take(from, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
        }
    }
}

fn take_bytes(from: &mut &[u8]) -> Option<Vec<u8>> {
    let size = usize::try_from(take_varint(from)).ok()?;
    Some(take(from, size).to_vec())
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn a_record_is_read_as_it_was_encoded() {
    let record = RawRecord {
        timestamp: 1_700_000_000_123,
        key: None,
        value: Some(vec![7; 300]),
        headers: vec![(b"\xff\xfe".to_vec(), None), (Vec::new(), Some(Vec::new()))],
    };
    assert_eq!(decode(&encode(&record)), [record]);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
