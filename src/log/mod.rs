//! Where the entries of channels are kept. One trait, one implementation per file, one contract
//! (`contract.rs`) that every implementation passes.

use std::{sync::Arc, task::Poll, time::Duration};

use crate::{
    core::{
        dedupe::Known,
        history::{Page, Query},
        message::Entry,
        objects::{Changes, Kept},
        operation::{Latest, MessageRef},
        replay::{Choice, Found, Past, Wanted},
        serial::Mint,
        summaries::Annotated,
    },
    ids::{AppId, ChannelName},
};

#[cfg(test)]
mod contract;
pub mod disk;
mod kept;
pub mod memory;
pub mod shared;

use shared::SharedLog;

pub use crate::{
    core::replay::Later,
    store::{Done, StoreError},
};

/// The logs of all channels.
pub trait Log: Send + Sync {
    /// The log of `channel`, made at the first call. Opened again, after the channel's
    /// actor died, it is as it was. May take as long as a disk does: see [`Log::opens_at_once`].
    fn open(&self, channel: &ChannelName) -> Box<dyn ChannelLog>;

    /// Whether `open` reads no disk just now: then it may be called on a thread that has others to serve.
    fn opens_at_once(&self, _channel: &ChannelName) -> bool {
        true
    }

    /// `channel` is no longer in use: a log that keeps nothing may be dropped.
    fn close(&self, channel: &ChannelName);

    /// Drops what is in memory of a channel. Whoever asks for it is told that it is kept no more, or gets it from the disk.
    fn forget(&self, channel: &ChannelName);

    /// Every channel of an app loses the oldest of what it has in memory beyond [`crate::limits::WINDOW_FREE`] bytes, the small
    /// ones only when no other has any; at most once a second (`now` is monotonic). Whether anything went.
    fn shrink(&self, app: AppId, now: Duration) -> bool;

    /// The same log, if other nodes write to it as well: then its channels are to be joined first.
    fn shared(&self) -> Option<SharedLog> {
        None
    }

    /// The same, if this channel is one that nodes share.
    fn shared_by(&self, _channel: &ChannelName) -> Option<SharedLog> {
        self.shared()
    }

    /// What is kept of the objects of a channel, which goes further back than its entries; nothing where there is no disk.
    fn objects(&self, _channel: &ChannelName, _later: Later<'_, ObjectsRead>) -> Poll<ObjectsRead> {
        Poll::Ready(Ok(Kept::default()))
    }

    /// Keeps changes of the objects of a channel, if what they go on from is kept.
    fn keep_objects(&self, _channel: &ChannelName, _changes: &Changes, done: Done<()>) {
        done(Ok(()));
    }

    /// Bytes of all entries on disk, as last counted.
    fn stored_bytes(&self) -> u64 {
        0
    }
}

/// A page of the past; none when nothing is kept any more of what came before the position that it was to end at.
pub type PageRead = Result<Option<Page>, StoreError>;

/// A message as it is; none: the log has it not.
pub type MessageRead = Result<Option<Latest>, StoreError>;

/// A message and what its annotations come to; none: the log has it not.
pub type AnnotatedRead = Result<Option<Annotated>, StoreError>;

/// What is kept of the objects of a channel.
pub type ObjectsRead = Result<Kept, StoreError>;

/// The log of one channel, in the hands of the channel's actor.
pub trait ChannelLog: Send {
    /// Mints the serials that follow the newest entry, those included that are not on disk yet.
    fn mint(&self) -> Mint;

    /// Adds the newest entry. `now` is monotonic. With [`StoreError::Memory`] nothing has changed, and `later` was not asked.
    ///
    /// While it is pending the entry is not to be delivered, and a log that is opened again does not have it. Entries
    /// are answered in their order.
    fn append(
        &mut self,
        now: Duration,
        entry: Arc<Entry>,
        later: Later<'_, Result<(), StoreError>>,
    ) -> Poll<Result<(), StoreError>>;

    /// What was published within [`crate::limits::IDEMPOTENCY_WINDOW`], oldest first. Asked once, after
    /// opening.
    fn remembered(&mut self) -> Vec<Known>;

    /// Everything that is in memory, oldest first.
    fn recent(&self) -> Vec<Arc<Entry>>;

    /// What is chosen of a part of the past. What cannot be read is not there: [`Gap::Expired`](crate::core::window::Gap::Expired), or less.
    fn read(&self, wanted: Wanted, choice: &Arc<Choice>, later: Later<'_, Found>) -> Poll<Found>;

    /// The same log for whoever reads a backlog.
    fn past(&self) -> Arc<dyn Past>;

    /// A page of the past.
    fn page(&self, query: &Query, later: Later<'_, PageRead>) -> Poll<PageRead>;

    /// A message as it is, with what was done to it.
    fn newest(&self, target: MessageRef, later: Later<'_, MessageRead>) -> Poll<MessageRead>;

    /// The same if all that was done to the message is in memory; asked by a channel whose log others write to.
    fn at_hand(&self, _target: MessageRef) -> Option<Latest> {
        None
    }

    /// The messages whose annotations are in memory.
    fn annotated_lately(&self) -> Vec<MessageRef>;

    /// A message and what its annotations come to; none: it is not kept.
    fn annotated(&self, target: MessageRef, later: Later<'_, AnnotatedRead>) -> Poll<AnnotatedRead>;
    /// What the annotations of a message come to is to be kept beside the newest of them: they are many, and readers need not
    /// count them from the first.
    fn keep_summary(&mut self, _target: MessageRef, _annotated: &Annotated) {}

    /// An append that the log has is to be kept with all of its message: it is long, and readers need not put it together from
    /// its beginning.
    fn keep_whole(&mut self, _append: &Arc<Entry>) {}

    /// Drops the oldest entries from memory, so many bytes of them; false when there are none.
    fn give_up(&mut self, bytes: usize) -> bool;

    /// Drops from memory what is too old; true when nothing is left and nothing is pending. `now` is
    /// monotonic.
    fn expire(&mut self, now: Duration) -> bool;
}
