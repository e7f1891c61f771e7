//! `[admin]`: where metrics, health and status are served.

use std::net::{Ipv4Addr, SocketAddr};

use super::mistake::Reading;
use super::section::Section;

/// The admin endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address and port; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Admin { listen: (Ipv4Addr::LOCALHOST, 9464).into() }
    }
}

impl Admin {
    pub(super) fn read(mut section: Section<'_>, reading: &mut Reading) -> Self {
        let mut admin = Admin::default();
        if let Some(text) = section.text("listen", reading) {
            match text.parse() {
                Ok(address) => admin.listen = address,
                Err(_) => section.wrong(
                    "listen",
                    "is not an address: write an IP address and a port, such as \"127.0.0.1:9464\" or \"[::1]:9464\"",
                    reading,
                ),
            }
        }
        if !admin.listen.ip().is_loopback() {
            let message = "is not loopback: whoever reaches this address can read metrics and status";
            reading.warn(&section.origin_of("listen"), &section.key("listen"), message);
        }
        section.finish(reading);
        admin
    }
}
