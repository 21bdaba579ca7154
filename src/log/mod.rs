//! Where the entries of channels are kept. One trait, one implementation per file, one contract
//! (`contract.rs`) that every implementation passes.

use std::{sync::Arc, time::Duration};

use crate::{
    core::{
        dedupe::Known,
        history::{Page, Query},
        message::Entry,
        replay::Past,
        serial::Mint,
    },
    ids::ChannelName,
};

#[cfg(test)]
mod contract;
pub mod disk;
pub mod memory;

pub use crate::store::{Done, StoreError};

/// The logs of all channels.
pub trait Log: Send + Sync {
    /// The log of `channel`, made at the first call. Whoever opens it again, after the channel's
    /// actor died, finds it as it was. May take as long as a disk does: see [`Log::opens_at_once`].
    fn open(&self, channel: &ChannelName) -> Box<dyn ChannelLog>;

    /// Whether `open` reads no disk just now: then it may be called on a thread that has others to serve.
    fn opens_at_once(&self, _channel: &ChannelName) -> bool {
        true
    }

    /// `channel` is no longer in use: a log that keeps nothing may be dropped.
    fn close(&self, channel: &ChannelName);

    /// Bytes held in memory for all channels.
    fn bytes(&self) -> usize;

    /// Bytes of all entries on disk, as last counted.
    fn stored_bytes(&self) -> u64 {
        0
    }
}

/// What became of an entry that was handed to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the log.
    Kept,
    /// It will be told. Until then nobody is to see the entry, and who opens the log again does not find it.
    Later,
}

/// The log of one channel, in the hands of the channel's actor.
pub trait ChannelLog: Past + Send {
    /// Mints the serials that follow the newest entry, those included that are not told yet.
    fn mint(&self) -> Mint;

    /// Adds the newest entry. `now` is monotonic.
    ///
    /// A log that says [`Appended::Later`] has asked `whom` to tell, once, and tells when the entry is on
    /// disk: from then on it is in the log. Or that it is not and will not be. Entries are told in their
    /// order, on another thread, perhaps before this returns.
    fn append(&mut self, now: Duration, entry: Arc<Entry>, whom: &mut dyn FnMut() -> Done<()>) -> Appended;

    /// What was published within [`crate::limits::IDEMPOTENCY_WINDOW`], oldest first. Told once, after
    /// opening.
    fn remembered(&mut self) -> Vec<Known>;

    /// A page of the past.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn page(&self, query: &Query) -> Result<Page, StoreError>;

    /// Drops from memory what is too old; true when nothing is left and nothing is to be told. `now` is
    /// monotonic.
    fn expire(&mut self, now: Duration) -> bool;
}
