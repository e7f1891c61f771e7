//! user-courier carries user updates from Apache Kafka to user-management APIs.
//!
//! The path of one event, and the rooms it passes:
//!
//! ```text
//! kafka ──record──▶ subscriber ──call──▶ http ──request──▶ API
//!   ▲                 │     ▲                                │
//!   │                 ▼     └──────── verdict ◀── answer ────┘
//!   └──outcome──── engine (decides: which call, what to settle, when to pause)
//! ```

// What everything speaks of.
pub mod api;
pub mod model;

// The flow.
pub mod http;
pub mod kafka;
pub mod subscriber;

// Running it.
pub mod config;
pub mod service;
pub mod telemetry;

// Tools around it.
pub mod commands;
pub mod console;
#[cfg(feature = "demo")]
pub mod demo;
pub mod operator;
pub mod schema;

#[cfg(test)]
mod rooms;
