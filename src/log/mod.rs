//! Where the entries of channels are kept. One trait, one implementation per file, one contract
//! (`contract.rs`) that every implementation passes.

use std::{sync::Arc, time::Duration};

use crate::{
    core::{
        history::{Page, Query},
        message::Entry,
        replay::Past,
        serial::Mint,
    },
    ids::ChannelName,
};

#[cfg(test)]
mod contract;
pub mod memory;

/// The logs of all channels.
pub trait Log: Send + Sync {
    /// The log of `channel`, made at the first call. Whoever opens it again, after the channel's
    /// actor died, finds it as it was.
    fn open(&self, channel: &ChannelName) -> Box<dyn ChannelLog>;

    /// `channel` is no longer in use: a log that keeps nothing may be dropped.
    fn close(&self, channel: &ChannelName);

    /// Bytes held in memory for all channels.
    fn bytes(&self) -> usize;
}

/// The log of one channel, in the hands of the channel's actor.
pub trait ChannelLog: Past + Send {
    /// Mints the serials that follow the newest entry.
    fn mint(&self) -> Mint;

    /// Adds the newest entry. `now` is monotonic.
    fn append(&mut self, now: Duration, entry: Arc<Entry>);

    /// A page of the past.
    fn page(&self, query: &Query) -> Page;

    /// Drops what is too old; true when nothing is left. `now` is monotonic.
    fn expire(&mut self, now: Duration) -> bool;
}
