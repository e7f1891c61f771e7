//! The commands: each file is one, and thin.

pub mod schema;
pub mod stand_in;
