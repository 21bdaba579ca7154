//! PostOffice (`docs/protocols/postoffice.md`): every connection is a mailbox, and letters name the mailboxes they go to.
//!
//! `door` turns a request into a connection, `access` says who may; `letter` reads frames, `validation` judges
//! them, `reply` writes them; `desk` is the protocol handler, `counter` the part of it that takes letters in. `office` knows all
//! mailboxes, `mailbox` is the state of one, `shelf` its rows on disk,
//! `thread` reads letters of the past. A mailbox is the channel `po:<name>`.

mod access;
mod counter;
mod desk;
mod door;
mod letter;
mod mailbox;
mod office;
mod reply;
mod shelf;
mod thread;
mod validation;

pub use door::{PostOffice, Shared, routes};
pub use office::Office;
