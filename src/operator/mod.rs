//! Dead letters as an operator sees them: which are open, what a replay of them would do, and the
//! replay itself.
//!
//! Nothing here prints. `desk → letter → choice → history → plan → replay`: the desk has the three
//! topics, a letter is one record of the dead-letter topic, a choice is some of them, the history
//! is what came after it on the update topic, the plan says what is left to send, and the replay
//! sends it.

mod ancestry;
pub mod changes;
pub mod choice;
mod chosen;
pub mod desk;
pub mod explain;
pub mod export;
pub mod filter;
pub mod history;
pub mod input;
pub mod judge;
mod lanes;
pub mod letter;
pub mod letter_sheet;
pub mod mask;
pub mod mend;
pub mod plan;
pub mod plan_line;
pub mod preview;
mod progress;
mod reach;
pub mod replay;
pub mod send;
mod sender;
pub mod sheet;
pub mod spots;
pub mod story;
pub mod table;
pub mod tally;
pub mod user_sheet;

pub use desk::Desk;
pub use filter::Filter;
pub use letter::Letter;

pub use crate::kafka::reader::{ReadFailure, Watch};
