//! The service's vocabulary: records, events, users, routes, outcomes and dead letters.

pub mod altered;
pub mod dead_letter;
pub mod error;
pub mod event;
pub mod json;
pub mod outcome;
mod reason;
pub mod record;
pub mod route;
pub mod text;
pub mod user;
