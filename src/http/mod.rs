//! One call of an API: the attempt, its connection and its token, and what may be lost on the way.

pub mod attempt;
mod body;
pub mod client;
pub(crate) mod connect;
mod connection;
pub mod lost;
pub mod mask;
mod outline;
pub mod retry_after;
pub mod session;
