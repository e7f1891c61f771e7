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
//! The rooms below are in the order of that path. Each imports only those before it, which a test
//! checks (`rooms.rs`).

// The vocabulary: records, events, outcomes, and the description of an API.
pub mod model;

pub mod api;

// Input from the operator, and output to the operator.
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
