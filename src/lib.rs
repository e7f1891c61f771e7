//! user-courier carries user updates from Apache Kafka to user-management APIs.
//!
//! The way of one event names the modules, in their order:
//! `record → event → route → lane → attempt → verdict → outcome → settle`.

pub mod api;
pub mod commands;
pub mod event;
pub mod record;
pub mod stand_in;
pub mod verdict;
