//! The commands, each as thin as it can be.

pub mod stand_in;
