//! A lost exchange: what may go wrong with a call before the API has a say, and how that is judged.

use std::error::Error;
use std::time::Duration;

use crate::http::names::NoAddress;
use engine::verdict::Verdict;

const TOO_LATE: &str = "no connection came about in time";

/// How a call was answered: the label `status` in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// With this HTTP status.
    Http(u16),
    /// Not in time.
    Timeout,
    /// Not at all, since no connection came about.
    Connect,
    /// Not at all, since TLS failed.
    Tls,
    /// Not with HTTP, or not with all of it.
    Protocol,
}

impl Status {
    /// The answer's status, if there was an answer.
    pub fn code(self) -> Option<u16> {
        match self {
            Status::Http(code) => Some(code),
            Status::Timeout | Status::Connect | Status::Tls | Status::Protocol => None,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Status::Http(status) => status.fmt(f),
            Status::Timeout => f.write_str("timeout"),
            Status::Connect => f.write_str("connect"),
            Status::Tls => f.write_str("tls"),
            Status::Protocol => f.write_str("protocol"),
        }
    }
}

/// An exchange that brought no whole answer.
#[derive(Clone, Debug)]
pub struct Lost {
    /// How that is judged.
    pub verdict: Verdict,
    /// Its name in metrics.
    pub status: Status,
    /// Whether the request may have been sent and acted upon nevertheless.
    pub ambiguous: bool,
    /// The error in our own words: an HTTP client's errors show the URL, which may hold the token.
    pub message: String,
}

impl Lost {
    /// Nothing, or not everything, was answered in time. `sent`: there was a connection, so the
    /// request may have gone out.
    pub(super) fn too_late(timeout: Duration, sent: bool) -> Self {
        let (status, message) = match sent {
            true => (Status::Timeout, format!("no answer within {timeout:?}")),
            false => (Status::Connect, TOO_LATE.to_owned()),
        };
        Lost {
            verdict: Verdict::Retry { unreachable: !sent },
            status,
            ambiguous: sent,
            message,
        }
    }

    /// The user's id cannot stand in an address, as `..` cannot.
    pub(super) fn without_address() -> Self {
        Lost {
            verdict: Verdict::Rejected {
                user_not_found: false,
            },
            status: Status::Protocol,
            ambiguous: false,
            message: "the user's id cannot be part of an address".to_owned(),
        }
    }

    /// The token makes the address longer than 64 KiB.
    fn unsendable() -> Self {
        Lost {
            verdict: Verdict::Unauthorized,
            status: Status::Protocol,
            ambiguous: false,
            message: "the token is too long to be sent".to_owned(),
        }
    }

    /// The proxy does not accept the account.
    pub(super) fn refused_by_proxy() -> Self {
        Lost {
            verdict: Verdict::Fault,
            status: Status::Connect,
            ambiguous: false,
            message: "the proxy refused the account (407): check proxy_user and its password"
                .to_owned(),
        }
    }

    /// Classifies the error of a call through a proxy. The proxy's answers to CONNECT can be
    /// recognised only by their texts.
    pub(super) fn through_proxy(error: &reqwest::Error) -> Self {
        let causes = causes(error);
        let answered = |text| causes.iter().any(|cause| cause.to_string() == text);
        if answered("tunnel error: proxy authorization required") {
            return Self::refused_by_proxy();
        }
        let mut lost = Self::new(error);
        if answered("tunnel error: unsuccessful") {
            lost.message = "it does not connect to the target: check base_url".to_owned();
        }
        if lost.status == Status::Connect {
            lost.message = format!("at the proxy: {}", lost.message);
        }
        lost
    }

    /// Classifies the HTTP client's error. The only texts used are those of TLS, which contain no
    /// URL.
    pub(super) fn new(error: &reqwest::Error) -> Self {
        if error.is_builder() {
            return Self::unsendable();
        }
        let nothing_sent = error.is_connect();
        let causes = causes(error);
        let unreachable = Verdict::Retry {
            unreachable: nothing_sent,
        };
        let (verdict, status, message) = if let Some(error) = find::<rustls::Error>(&causes) {
            tls_failure(error, unreachable)
        } else if nothing_sent && error.is_timeout() {
            (unreachable, Status::Connect, TOO_LATE.to_owned())
        } else if nothing_sent && find::<NoAddress>(&causes).is_some() {
            (
                unreachable,
                Status::Connect,
                "the host's name was not found: check base_url and the name service".to_owned(),
            )
        } else if nothing_sent && is_within_tls(&causes) {
            (
                unreachable,
                Status::Tls,
                "the connection was cut off while TLS was being set up".to_owned(),
            )
        } else if nothing_sent {
            (
                unreachable,
                Status::Connect,
                format!("could not connect: {}", io_kind(&causes)),
            )
        } else if find::<hyper::Error>(&causes).is_some_and(hyper::Error::is_parse_too_large) {
            let message = "the answer has more headers than can be read, in number or in length: check what stands before the API";
            (Verdict::Fault, Status::Protocol, message.to_owned())
        } else if find::<hyper::Error>(&causes).is_some_and(hyper::Error::is_parse) {
            // Whatever speaks something else than HTTP is not the API, and would say the same to
            // every update.
            (
                Verdict::Fault,
                Status::Protocol,
                "the answer was not HTTP: check base_url, its port, and http or https".to_owned(),
            )
        } else {
            (
                unreachable,
                Status::Protocol,
                format!(
                    "the connection was lost before the answer was complete: {}",
                    io_kind(&causes)
                ),
            )
        };
        Lost {
            verdict,
            status,
            ambiguous: !nothing_sent && verdict != Verdict::Fault,
            message,
        }
    }
}

/// A certificate that is not accepted, on either side, and anything that is no TLS stay as they are
/// until somebody acts; a peer's own trouble does not.
fn tls_failure(error: &rustls::Error, unreachable: Verdict) -> (Verdict, Status, String) {
    use rustls::{AlertDescription as Alert, Error as Tls};
    match error {
        Tls::AlertReceived(Alert::InternalError | Alert::UserCanceled | Alert::CloseNotify) => (
            unreachable,
            Status::Tls,
            format!("TLS was broken off: {error}"),
        ),
        Tls::InvalidCertificate(_) => {
            let message = format!(
                "the server's certificate is not accepted ({error}): check base_url, or set tls.ca_file to its authority"
            );
            (Verdict::Fault, Status::Tls, message)
        }
        _ => (
            Verdict::Fault,
            Status::Tls,
            format!("TLS failed ({error}): check base_url, its port and the target's tls files"),
        ),
    }
}

/// The error and all that caused it. An `io::Error` hides what it wraps from `source`.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut causes: Vec<&(dyn Error + 'static)> = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        causes.push(cause);
        let wrapped = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = wrapped
            .map(|cause| cause as &(dyn Error + 'static))
            .or_else(|| cause.source());
    }
    causes
}

fn find<'a, E: Error + 'static>(causes: &[&'a (dyn Error + 'static)]) -> Option<&'a E> {
    causes.iter().find_map(|cause| cause.downcast_ref())
}

/// The first of its kind among the error and all that caused it.
pub(super) fn find_cause<'a, E: Error + 'static>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a E> {
    find(&causes(error))
}

/// Whether there was a connection, and only TLS failed.
pub(super) fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let causes = causes(error);
    find::<rustls::Error>(&causes).is_some() || is_within_tls(&causes)
}

/// An error of the socket below TLS comes wrapped into another `io::Error`.
fn is_within_tls(causes: &[&(dyn Error + 'static)]) -> bool {
    causes
        .iter()
        .filter(|cause| cause.is::<std::io::Error>())
        .count()
        > 1
}

fn io_kind(causes: &[&(dyn Error + 'static)]) -> String {
    let last = causes
        .iter()
        .rev()
        .find_map(|cause| cause.downcast_ref::<std::io::Error>());
    last.map_or_else(
        || "closed by the other side".to_owned(),
        |error| error.kind().to_string(),
    )
}
