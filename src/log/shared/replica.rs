//! The copy that a node has of a channel: its newest minutes in memory, the rest in Redis.

use std::{collections::HashMap, convert::Infallible, fmt, sync::Arc, task::Poll, time::Duration};

use parking_lot::Mutex;

use super::{Found, SharedLog, Slice, Touched, keys, messages::Listed};
use crate::{
    core::{
        dedupe::Known,
        history::{self, Direction, Kind, Page, Query},
        message::Entry,
        operation::{Latest, MessageRef},
        replay::{self, Choice, Past, Portion, Read, Wanted},
        serial::{Epoch, Mint, Serial},
        summaries::Annotated,
        window::{Bounds, Gap},
    },
    ids::ChannelName,
    limits,
    log::{AnnotatedRead, ChannelLog, Later, MessageRead, PageRead, disk::encoding, kept::KeptWindow},
    store::StoreError,
};

pub(super) struct Replica {
    log: SharedLog,
    channel: ChannelName,
    window: Arc<Mutex<KeptWindow>>,
    bounds: Bounds,
}

impl Replica {
    /// The one that was made when the channel was joined.
    pub fn new(log: &SharedLog, channel: &ChannelName) -> Self {
        let memory = &log.0.memory;
        Self { log: log.clone(), channel: channel.clone(), window: memory.window(channel), bounds: memory.bounds() }
    }

    fn last(&self) -> Option<Serial> {
        self.window.lock().last()
    }

    fn read_message(&self, target: MessageRef, done: impl FnOnce(Result<Touched, StoreError>) + Send + 'static) {
        let one = move |read: Result<HashMap<MessageRef, Touched>, _>| {
            done(read.map(|mut read| read.remove(&target).unwrap_or_default()));
        };
        self.log.messages(&self.channel, vec![target], Box::new(one));
    }
}

impl ChannelLog for Replica {
    fn mint(&self) -> Mint {
        let window = self.window.lock();
        window.last().map_or_else(|| Mint::new(window.epoch()), Mint::resume)
    }

    /// Takes an entry that the log has.
    fn append(
        &mut self,
        now: Duration,
        entry: Arc<Entry>,
        _: Later<'_, Result<(), StoreError>>,
    ) -> Poll<Result<(), StoreError>> {
        self.window.lock().append_copy(now, entry, self.bounds);
        Poll::Ready(Ok(()))
    }

    fn remembered(&mut self) -> Vec<Known> {
        self.window.lock().entries().filter_map(|entry| Known::of(entry)).collect()
    }

    fn recent(&self) -> Vec<Arc<Entry>> {
        self.window.lock().entries().cloned().collect()
    }

    fn read(&self, wanted: Wanted, choice: &Arc<Choice>, later: Later<'_, replay::Found>) -> Poll<replay::Found> {
        let slice = match wanted {
            Wanted::After(position) => match self.window.lock().after(position, choice) {
                Err(Gap::Expired) => Slice::after(position, limits::REPLICA_BYTES),
                found => return Poll::Ready(found),
            },
            Wanted::Last(now, rewind) => {
                let window = self.window.lock();
                let (found, is_enough) = window.rewind(now, rewind);
                let is_all = window.dropped().is_none_or(|dropped| dropped.place() == (0, 0));
                if is_enough || is_all {
                    return Poll::Ready(Ok(choice.of_all(&found)));
                }
                Slice::newest(rewind.messages)
            }
        };
        let (done, choice) = (later(), Arc::clone(choice));
        let (log, channel) = (self.log.clone(), self.channel.clone());
        let read = move |found: Result<Found, StoreError>| match (found, wanted) {
            (Err(_), _) => Err(Gap::Expired),
            (Ok(found), Wanted::After(position)) => {
                found.is_whole_after(position)?;
                if found.has_more { Err(Gap::TooLong) } else { Ok(found.entries()) }
            }
            (Ok(found), Wanted::Last(now, rewind)) => Ok(history::rewind(found.entries().iter(), now, rewind).0),
        };
        let read = move |found| match read(found) {
            Ok(entries) => log.complete(&channel, entries, move |entries| done(Ok(choice.of_all(&entries)))),
            Err(gap) => done(Err(gap)),
        };
        self.log.read(&self.channel, self.last(), slice, Box::new(read));
        Poll::Pending
    }

    fn past(&self) -> Arc<dyn Past> {
        let (log, channel, window) = (self.log.clone(), self.channel.clone(), Arc::clone(&self.window));
        Arc::new(ReplicaPast { log, channel, window })
    }

    /// From Redis: whatever was acknowledged at any node is on it.
    fn page(&self, query: &Query, later: Later<'_, PageRead>) -> Poll<PageRead> {
        let asked = Asked {
            log: self.log.clone(),
            channel: self.channel.clone(),
            query: query.clone(),
            seen: self.last(),
            epoch: self.window.lock().epoch(),
        };
        // A serial never differs from the time of its entry.
        let (first, last) = query.places(0);
        asked.read_on(Page::default(), [keys::id(first), keys::id(last)], later());
        Poll::Pending
    }

    /// What is not here is read from Redis.
    fn newest(&self, target: MessageRef, later: Later<'_, MessageRead>) -> Poll<MessageRead> {
        let window = self.window.lock();
        if target.serial.epoch() != window.epoch() {
            return Poll::Ready(Ok(None));
        }
        if let Some(latest) = window.settled(target) {
            return Poll::Ready(Ok(Some(latest)));
        }
        let done = later();
        self.read_message(target, move |read| done(read.map(|touched| touched.latest(target, None))));
        Poll::Pending
    }

    fn at_hand(&self, target: MessageRef) -> Option<Latest> {
        self.window.lock().settled(target)
    }

    fn annotated_lately(&self) -> Vec<MessageRef> {
        self.window.lock().annotated_lately()
    }

    fn annotated(&self, target: MessageRef, later: Later<'_, AnnotatedRead>) -> Poll<AnnotatedRead> {
        let window = self.window.lock();
        if target.serial.epoch() != window.epoch() {
            return Poll::Ready(Ok(None));
        }
        if let Some(annotated) = window.annotated(target) {
            return Poll::Ready(Ok(Some(annotated)));
        }
        let done = later();
        self.read_message(target, move |read| done(read.map(|touched| touched.annotated(target))));
        Poll::Pending
    }

    fn keep_summary(&mut self, target: MessageRef, annotated: &Annotated) {
        let body = encoding::encode_summary(&annotated.summary);
        self.log.keep(&self.channel, Listed::Annotations, target, annotated.upto, body);
    }

    fn keep_whole(&mut self, append: &Arc<Entry>) {
        if let (Some(operation), Some(body)) = (append.operation(), encoding::encode_whole(append)) {
            self.log.keep(&self.channel, Listed::Versions, operation.target, append.serial.place(), body);
        }
    }

    fn give_up(&mut self, bytes: usize) -> bool {
        self.window.lock().give_up(bytes)
    }

    fn expire(&mut self, now: Duration) -> bool {
        let mut window = self.window.lock();
        window.trim(now, self.bounds);
        window.is_empty()
    }
}

impl Slice {
    fn newest(entries: usize) -> Self {
        let entries = entries.min(limits::REPLICA_ENTRIES);
        Self {
            from: "-".into(),
            to: "+".into(),
            is_forwards: false,
            entries,
            bytes: limits::REPLICA_BYTES,
            joins: false,
        }
    }
}

impl Found {
    fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.iter().map(|linked| Arc::clone(&linked.entry)).collect()
    }

    /// # Errors
    /// A [`Gap`]: entries behind the position are missing.
    fn is_whole_after(&self, position: Serial) -> Result<(), Gap> {
        if position.epoch() != self.head.epoch() {
            return Err(Gap::OtherLog);
        }
        if position.place() < self.floor { Err(Gap::Expired) } else { Ok(()) }
    }
}

/// A page that is being read.
struct Asked {
    log: SharedLog,
    channel: ChannelName,
    query: Query,
    seen: Option<Serial>,
    epoch: Epoch,
}

impl Asked {
    /// Reads what is between two ids into the page until it is full.
    fn read_on(self, mut page: Page, [from, to]: [String; 2], done: Box<dyn FnOnce(PageRead) + Send>) {
        let is_forwards = self.query.direction == Direction::Forwards;
        let (entries, bytes) = (limits::REPLICA_ENTRIES, limits::BACKLOG_PORTION);
        let slice = Slice { from: from.clone(), to: to.clone(), is_forwards, entries, bytes, joins: false };
        let (log, channel, seen) = (self.log.clone(), self.channel.clone(), self.seen);
        let found = move |found: Result<Found, StoreError>| {
            let found = match found {
                Ok(found) => found,
                Err(error) => return done(Err(error)),
            };
            let is_kept = |until: Serial| until.epoch() == found.head.epoch() && until.place() >= found.floor;
            if !self.query.until.is_none_or(is_kept) {
                return done(Ok(None));
            }
            for linked in &found.entries {
                if self.query.take(&mut page, &linked.entry, |_| None).is_break() {
                    return self.renew(page, found.is_touched, done);
                }
            }
            match found.entries.last().filter(|_| found.has_more) {
                None => self.renew(page, found.is_touched, done),
                Some(last) => {
                    let next = format!("({}", keys::id(last.entry.serial.place()));
                    let range = if is_forwards { [next, to] } else { [from, next] };
                    self.read_on(page, range, done);
                }
            }
        };
        log.read(&channel, seen, slice, Box::new(found));
    }
}

impl Asked {
    /// Shows the messages of a page as they are now, with what their annotations come to.
    fn renew(self, mut page: Page, is_touched: bool, done: Box<dyn FnOnce(PageRead) + Send>) {
        if !is_touched || self.query.kind != Kind::Messages {
            return done(Ok(Some(page)));
        }
        let target = |(entry, index): &(Arc<Entry>, usize)| Latest { entry: Arc::clone(entry), index: *index }.target();
        let is_own = |target: &MessageRef| target.serial.epoch() == self.epoch;
        let targets = page.items.iter().map(target).filter(is_own).collect();
        let renew = move |known: Result<HashMap<MessageRef, Touched>, StoreError>| {
            let known = match known {
                Ok(known) => known,
                Err(error) => return done(Err(error)),
            };
            page.renew(|target| known.get(&target)?.latest(target, None));
            let digest = |target| known.get(&target).and_then(|touched: &Touched| touched.annotated(target));
            let Ok(()) = page.summarise(|target| -> Result<_, Infallible> {
                Ok(digest(target).map(|annotated| annotated.summary.digest()).filter(|digest| !digest.is_empty()))
            });
            done(Ok(Some(page)));
        };
        self.log.messages(&self.channel, targets, Box::new(renew));
    }
}

/// The same channel for whoever reads a backlog.
struct ReplicaPast {
    log: SharedLog,
    channel: ChannelName,
    window: Arc<Mutex<KeptWindow>>,
}

impl fmt::Debug for ReplicaPast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplicaPast").field(&self.channel).finish()
    }
}

impl Past for ReplicaPast {
    fn portion(
        self: Arc<Self>,
        after: Serial,
        upto: Serial,
        choice: &Arc<Choice>,
        later: Later<'_, Read>,
    ) -> Poll<Read> {
        let (found, seen) = {
            let window = self.window.lock();
            (window.portion(after, upto, choice), window.last())
        };
        if !matches!(found, Err(Gap::Expired)) {
            return Poll::Ready(found);
        }
        let (done, choice) = (later(), Arc::clone(choice));
        let slice = Slice { to: keys::id(upto.place()), ..Slice::after(after, limits::BACKLOG_PORTION) };
        let (log, channel) = (self.log.clone(), self.channel.clone());
        let read = move |found: Result<Found, StoreError>| {
            let found = match found.map_err(|_| Gap::Expired) {
                Ok(found) => found,
                Err(gap) => return done(Err(gap)),
            };
            if let Err(gap) = found.is_whole_after(after) {
                return done(Err(gap));
            }
            let upto = (!found.has_more).then_some(upto);
            log.complete(&channel, found.entries(), move |entries| {
                let mut portion = Portion::after(after);
                if !entries.iter().any(|entry| portion.take(entry, &choice).is_break()) {
                    portion.upto = upto.unwrap_or(portion.upto);
                }
                done(Ok(portion));
            });
        };
        self.log.read(&self.channel, seen, slice, Box::new(read));
        Poll::Pending
    }
}
