//! user-courier carries user updates from Apache Kafka to user-management APIs.
//!
//! The path of one event:
//!
//! ```text
//!            record        event, route        call          request
//!   Kafka ──────────▶ kafka ──────────▶ subscriber ──────▶ http ──────▶ API
//!     ▲                 ▲                 │  ▲  ▲            │           │
//!     │                 │          inputs │  │  │ verdict    │   answer  │
//!     │                 │        and time ▼  │  └────────────┴───────────┘
//!     │                 │          engine (a crate): decides which call starts,
//!     │                 │                 │  what is settled, when reading pauses
//!     └── transaction ──┴──── outcomes ◀──┘
//! ```
//!
//! The rooms below stand in the order of that path. Each imports only those before it, which a test
//! holds (`rooms.rs`).

// What everything speaks of: records, events, outcomes, and what an API is.
pub mod model;

pub mod api;

// What is told to the process, and what it tells.
pub mod config;
pub mod telemetry;

// The path of an event.
pub mod http;
pub mod kafka;

pub mod subscriber;

// Building, supervising and draining it.
pub mod service;

// Tools around it: they import the service, and never the other way.
pub mod operator;
pub mod schema;

pub mod console;
#[cfg(feature = "demo")]
pub mod demo;

pub mod commands;

#[cfg(test)]
mod rooms;
