//! Where the entries of channels are kept. One trait, one implementation per file, one contract
//! (`contract.rs`) that every implementation passes.

use std::{sync::Arc, time::Duration};

use crate::{
    core::{
        message::Entry,
        serial::{Mint, Serial},
        window::Gap,
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
pub trait ChannelLog: Send {
    /// Mints the serials that follow the newest entry.
    fn mint(&self) -> Mint;

    /// Adds the newest entry. `now` is monotonic.
    fn append(&mut self, now: Duration, entry: Arc<Entry>);

    /// Every entry after `position`, in order.
    ///
    /// # Errors
    /// A [`Gap`] when the log cannot promise that none is missing.
    fn after(&self, position: Serial) -> Result<Vec<Arc<Entry>>, Gap>;

    /// Drops what is too old; true when nothing is left. `now` is monotonic.
    fn expire(&mut self, now: Duration) -> bool;
}
