//! user-courier carries user updates from Apache Kafka to user-management APIs.
//!
//! The way of one event names the modules, in their order:
//! `record → event → route → lane → attempt → verdict → outcome → settle`.

pub mod admin;
pub mod api;
pub mod attempt;
pub mod commands;
pub mod config;
pub mod console;
pub mod dead_letter;
pub mod dead_letters;
#[cfg(feature = "demo")]
pub mod demo;
pub mod ending;
pub mod engine;
pub mod event;
pub mod explain;
pub mod json;
pub mod kafka;
pub mod logging;
pub mod metrics;
pub mod outcome;
pub mod process;
pub mod record;
pub mod reload;
pub mod renewal;
pub mod retry_after;
pub mod route;
pub mod schema;
pub mod secret;
pub mod service;
pub mod settle;
pub mod status;
pub mod stop;
pub mod subscriber;
pub mod text;
pub mod topic_watch;
pub mod traces;
pub mod update;
pub mod verdict;
