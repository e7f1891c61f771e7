//! Any `Retry-After` is read without harm, and as a pause that can be added to a clock.
#![no_main]

use std::time::{Duration, Instant, SystemTime};

use libfuzzer_sys::fuzz_target;
use user_courier::http::retry_after;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = std::str::from_utf8(bytes) else {
        return;
    };
    // Any fixed time, so that what is found can be found again.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_338_000);
    let read = retry_after::read(value, now);
    assert_eq!(
        read,
        retry_after::read(&format!(" {value}\t"), now),
        "spaces around it mean nothing"
    );
    if let Some(pause) = read {
        assert!(Instant::now().checked_add(pause).is_some() && now.checked_add(pause).is_some());
    }
    let text = value.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse().unwrap_or(u64::MAX);
        assert!(read.is_some_and(|pause| pause.as_secs() == seconds
            || pause.as_secs() < seconds && pause.as_secs() == u64::from(u32::MAX)));
    } else {
        assert_eq!(
            read.is_some(),
            httpdate::parse_http_date(text).is_ok(),
            "seconds or a date, and nothing else"
        );
    }
});
