//! The commands: what the binary does when it is called.

pub mod schema;
