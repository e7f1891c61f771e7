//! `[admin]` and `[shutdown]`: where a running service is watched, and how it ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::config::section::{Section, default_of};
use crate::config::timing::Timing;

/// The admin endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address and port; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// The end of the service, and of its work on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long calls in flight may take to finish before they are given up; zero gives them up at
    /// once.
    pub drain_timeout: Duration,
}

impl Admin {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let advice = "is not an address: write an IP address and a port, such as \"127.0.0.1:9464\" or \"[::1]:9464\"";
        let listen = section.parsed("listen", |text| text.parse().map_err(|_| advice));
        let listen: SocketAddr = listen.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
        if !listen.ip().is_loopback() {
            section.warn(
                "listen",
                "is not loopback: whoever reaches this address can read metrics and status",
            );
        }
        Admin { listen }
    }

    /// The endpoint as it is reached from the same machine. None with port 0: nobody can know where
    /// that is.
    pub fn local(&self) -> Option<SocketAddr> {
        let ip = match self.listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let port = self.listen.port();
        (port > 0).then_some(SocketAddr::new(ip, port))
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        default_of("shutdown", |section| Shutdown::read(section, None))
    }
}

impl Shutdown {
    pub(super) fn read(section: &Section<'_>, timing: Option<&Timing>) -> Self {
        let drain_timeout = section.duration("drain_timeout");
        if let Some(timing) = timing {
            let reason = "or the group moves on before a partition is handed over";
            timing
                .max_poll_interval
                .must_be_above(section, "drain_timeout", drain_timeout, reason);
        }
        Shutdown { drain_timeout }
    }
}
