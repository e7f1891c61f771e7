//! One call of an API: the attempt, its connection and its token, and what may be lost on the way.

pub mod attempt;
mod body;
pub mod client;
pub mod lost;
pub mod mask;
mod names;
mod outline;
mod pool;
pub mod retry_after;
mod sent;
pub mod session;
mod tls;
