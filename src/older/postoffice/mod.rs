//! PostOffice (`docs/protocols/postoffice.md`): every connection is a mailbox, and letters name the mailboxes they go to.
//!
//! A mailbox is the channel `po:<name>`, which carries letters to whoever is connected, and a queue of the letters that
//! were not read ([`store::mailbox`](crate::store::mailbox)).
//!
//! * `endpoint`: the way in, and the pages beside it; `access`: which token opens which mailbox; `thread`: letters of the past
//! * `connection`: the protocol handler, which sends the letters of its mailbox; `submit`: a letter of its client, which
//!   `letter` reads and `validation` judges; `refusal`: what a sender is told; `format`: letters as they are sent
//! * `elsewhere`: letters where nodes share the mailboxes; `readers`: who reads one, and what these nodes ask and tell each other
//! * `shared`: what all worker threads share; `owner`: who reads a mailbox; `delivery`: letters in and out of mailboxes

mod access;
mod connection;
mod delivery;
mod elsewhere;
mod endpoint;
mod format;
mod letter;
mod owner;
mod readers;
mod refusal;
mod shared;
mod submit;
mod thread;
mod validation;

pub use endpoint::routes;
pub use shared::Shared;
