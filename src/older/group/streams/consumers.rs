//! Reading: on each instance one consumer reads everything (`every`), and one takes what a single instance of all is to
//! do (`once`).
//!
//! A page of entries is handed over, then all its receipts are awaited, then the position moves on (or the
//! entries are acknowledged). So what was not done with comes again, in order. Streams keep no order among each
//! other.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    engines::redis::{self, EntryId, RedisError},
    older::group::streams::{
        bus::{Counts, Instance, PAUSE},
        duplicates::{Duplicates, Mark},
        event::{
            Author, CHANGES, Entry, Event, MEMBERS_ADDED, MEMBERS_REMOVED, MESSAGES, Malformed, NOTIFICATIONS,
            PUSHED_NOTIFICATIONS, Receipt, Received, VERIFY_PROGRESS,
        },
    },
};

mod every;
mod once;

pub use every::Positions;

/// What every instance reads.
pub const STREAMS: [&str; 7] =
    [MESSAGES, NOTIFICATIONS, PUSHED_NOTIFICATIONS, MEMBERS_ADDED, MEMBERS_REMOVED, VERIFY_PROGRESS, CHANGES];
/// What must be done once over all instances.
const ONCE: [&str; 2] = [NOTIFICATIONS, PUSHED_NOTIFICATIONS];
/// What both consumers need. They go by the name of the instance.
#[derive(Clone)]
pub struct Consumers {
    pub instance: Arc<Instance>,
    pub inbox: mpsc::Sender<Received>,
    /// Set when both know where they begin.
    pub is_reading: watch::Sender<bool>,
}

/// Nobody takes events any more.
struct InboxGone;

/// An entry that was handed over.
struct Handed {
    stream: &'static str,
    id: EntryId,
    /// Resolves when the event is done with, fails when it is not. None: there is nothing to be done.
    event: Option<oneshot::Receiver<()>>,
    mark: Option<Mark>,
    author: Author,
}

impl Handed {
    /// Waits for what becomes of it. False: it has to come again.
    async fn is_done(&mut self) -> bool {
        match self.event.take() {
            Some(event) => event.await.is_ok(),
            None => true,
        }
    }
}

impl Consumers {
    pub fn start(self, positions: Positions, tasks: &mut JoinSet<()>) {
        let (starts, begin) = oneshot::channel();
        let other = self.clone();
        tasks.spawn(async move { drop(self.read_everything(positions, starts).await) });
        tasks.spawn(async move { drop(other.take_once(begin).await) });
    }

    /// Hands over what was read; what is not understood, or was seen before, is done. Without `duplicates` these are
    /// notifications to be stored. Messages up to `began` are not live.
    async fn hand_over(
        &self,
        read: redis::Read,
        mut duplicates: Option<&mut Duplicates>,
        began: EntryId,
    ) -> Result<Vec<Handed>, InboxGone> {
        let mut handed = Vec::new();
        for (name, entries) in read {
            let Some(stream) = STREAMS.into_iter().find(|stream| *stream == name) else {
                continue;
            };
            for entry in entries {
                let mut one = Handed { stream, id: entry.id, event: None, mark: None, author: Author::Other };
                match self.understand(stream, entry, duplicates.as_deref_mut()) {
                    Ok(Some((event, author, mark))) => {
                        let (receipt, done) = Receipt::new();
                        let is_live = one.id > began || stream != MESSAGES;
                        let received = Received { event, id: one.id, author, is_live, receipt };
                        self.inbox.send(received).await.map_err(|_| InboxGone)?;
                        one.author = author;
                        Counts::bump(&self.instance.counts.received, 1);
                        (one.event, one.mark) = (Some(done), mark);
                    }
                    Ok(None) => {}
                    // Each entry is counted once, by the consumer that reads everything.
                    Err(error) if duplicates.is_some() => self.warn_malformed(stream, one.id, &error),
                    Err(_) => {}
                }
                handed.push(one);
            }
        }
        Ok(handed)
    }

    /// None: it is our own, or a duplicate.
    fn understand(
        &self,
        stream: &str,
        entry: redis::Entry,
        duplicates: Option<&mut Duplicates>,
    ) -> Result<Option<(Event, Author, Option<Mark>)>, Malformed> {
        let written = entry.id.millis / 1_000;
        let entry = Entry::decode(entry.fields)?;
        let is_own = entry.origin() == Some(&*self.instance.name);
        let author = match (is_own, self.instance.is_shared && entry.is_kept()) {
            (true, true) => Author::Own,
            (false, true) => Author::Node,
            (true, false) => return Ok(None),
            (false, false) => Author::Other,
        };
        let event = Event::read(stream, &entry, written)?;
        Ok(match (duplicates, event) {
            (Some(duplicates), event) => duplicates.take(stream, &entry).map(|mark| (event, author, Some(mark))),
            (None, Event::Notification(it)) if author == Author::Other => {
                Some((Event::StoreNotification(it), author, None))
            }
            (None, _) => None,
        })
    }

    /// None when it failed and is worth another try now.
    async fn tried<T>(&self, outcome: Result<T, RedisError>) -> Option<T> {
        match outcome {
            Ok(done) => Some(done),
            Err(error) => {
                self.instance.until_again(&error, "the streams are not read").await;
                None
            }
        }
    }

    fn warn_malformed(&self, stream: &str, id: EntryId, error: &Malformed) {
        Counts::bump(&self.instance.counts.malformed, 1);
        if let Some(more) = self.instance.warning.allows(&self.instance.clock) {
            tracing::warn!(stream, %id, %error, more, "an entry of a stream is skipped");
        }
    }
}
