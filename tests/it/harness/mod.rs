//! What the suites stand on: a real Kafka, the service as a process, stand-ins for the APIs, and
//! readers of what comes out.

pub(crate) mod api;
pub(crate) mod bench;
pub(crate) mod browser;
pub(crate) mod directory;
pub(crate) mod kafka;
pub(crate) mod leaky;
pub(crate) mod load;
pub(crate) mod outcome;
pub(crate) mod recording;
pub(crate) mod schema;
pub(crate) mod service;
pub(crate) mod update;
pub(crate) mod wire;
