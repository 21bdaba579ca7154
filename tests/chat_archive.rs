//! The archive of the chat protocol (`docs/protocols/chat.md §7, §9`): the same promises in the data file and in MongoDB,
//! for which SecantusDB stands in, a server of its wire protocol.

mod contract;
mod embedded;
#[cfg(feature = "mongo")]
mod mongo;
