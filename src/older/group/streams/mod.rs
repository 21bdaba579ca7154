//! What instances of the group protocol and other services share through Redis (`docs/protocols/group.md §7`).
//!
//! * [`bus`] is the door: start it, publish through its handle, take [`Received`] events from the inbox.
//! * `entry` reads and writes entries as Watermill does, [`event`] what is in them.
//! * `queue` keeps what is not yet published, `lanes` reads, `position` remembers up to where.
//! * [`presence`] counts who is online over all instances.

pub mod bus;
mod entry;
pub mod event;
mod lanes;
mod position;
pub mod presence;
pub mod queue;
mod seen;

pub use bus::{Bus, Counts, Settings};
pub use event::{Event, Member, NewMessage, Notification, Receipt, Received, VerifyProgress};
pub use presence::Status;
pub use queue::{Outgoing, QueueFull};
