//! One actor per active channel, and what finds and feeds it.

pub mod channel;
mod commit_queue;
pub mod directory;
mod effects;
pub mod questions;
pub mod undone;
