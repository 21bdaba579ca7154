//! What instances of the group protocol and other services share through Redis (`docs/protocols/group.md §7`).
//!
//! * [`Bus`] starts it all, publishes, and puts [`Received`] events into the inbox.
//! * `event` reads and writes entries as Watermill does, [`Event`] is what is in them.
//! * `queue` keeps what is not yet published; nodes of a cluster publish with the rows, in one script of their store. `consumers` reads: from remembered positions (`every`), what comes twice
//!   once (`duplicates`).
//! * [`presence`] counts who is online over all instances.

mod bus;
mod consumers;
mod duplicates;
mod event;
mod presence;
mod queue;

pub use bus::{Bus, Counts, Settings};
pub use event::{Author, Change, Event, Marked, Member, Receipt, Received, VerifyProgress};
pub use presence::Status;
pub use queue::{Outgoing, QueueFull};

pub use crate::older::group::message::{GroupMessage, Notification};
