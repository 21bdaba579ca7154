//! One actor per active channel, and what finds and feeds it. What the other rooms of `actors` may name stands here.

mod asleep;
pub mod channel;
mod commit_queue;
pub mod directory;
mod effects;
pub mod listening;
pub mod meta;
mod names;
mod objects;
mod operations;
pub mod questions;
mod reaper;
mod shared;
pub mod undone;

pub use channel::{Channel, Leave};
pub use directory::Directory;
pub use questions::Listed;
pub use reaper::Reaper;
pub use undone::{Command, Order, Undone};
