//! What an attachment gets before what is published next: what it missed, or the last messages.
//!
//! A backlog is no list but the place where one stands in the log: its entries are read as the socket drains, portion by
//! portion ([`Past`]), so a client that reads nothing keeps none of them.

use std::{
    collections::HashSet,
    fmt::Debug,
    ops::ControlFlow,
    sync::{Arc, LazyLock, Weak},
    task::Poll,
};

use crate::{
    core::{
        command::{Attached, Rewind, Start, Subscription},
        delta,
        filter::Filter,
        message::{Body, Entry},
        operation::MessageRef,
        presence::{Member, PresenceAction},
        serial::{Place, Serial},
        summaries::summarised,
        summary::Digest,
        window::Gap,
    },
    ids::{ClientId, ConnectionId, Timestamp},
    limits,
};

/// What is to be read of a channel's past, for an attachment or for a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Every entry after a position, in order.
    After(Serial),
    /// The newest entries with messages, oldest first, as seen from a moment.
    Last(Timestamp, Rewind),
}

/// What was read; a [`Gap`] when it cannot be promised that none is missing.
pub type Found = Result<Vec<Arc<Entry>>, Gap>;

/// Makes what a log calls when it has an answer: asked for at most once, and only by a log that has to wait for a disk. It
/// then returns [`Poll::Pending`], and calls from another thread, perhaps before it returns.
pub type Later<'a, T> = &'a mut dyn FnMut() -> Box<dyn FnOnce(T) + Send>;

/// The log of one channel, to be read by anybody, on any thread.
pub trait Past: Debug + Send + Sync {
    /// What `choice` takes of the next entries after a position, up to another one.
    fn portion(
        self: Arc<Self>,
        after: Serial,
        upto: Serial,
        choice: &Arc<Choice>,
        later: Later<'_, Read>,
    ) -> Poll<Read>;
}

/// A [`Gap`] when it cannot be promised that none is missing.
pub type Read = Result<Portion, Gap>;

/// Some entries of a log, in order.
#[derive(Debug)]
pub struct Portion {
    pub entries: Vec<Arc<Entry>>,
    /// The position up to which these are all.
    pub upto: Serial,
    /// What they cost.
    bytes: usize,
}

impl Portion {
    pub const fn after(position: Serial) -> Self {
        Self { entries: Vec::new(), upto: position, bytes: 0 }
    }

    /// Adds what the annotations of messages come to; it ends where that is enough.
    pub fn summarise<E>(
        &mut self,
        mut digest_of: impl FnMut(MessageRef) -> Result<Option<Digest>, E>,
    ) -> Result<(), E> {
        let (mut fitting, mut bytes) = (0, 0);
        for entry in &mut self.entries {
            if let Some((summarised, added)) = summarised(entry, &mut digest_of)? {
                *entry = summarised;
                bytes += added;
            }
            fitting += 1;
            if bytes > limits::BACKLOG_PORTION {
                break;
            }
        }
        if fitting < self.entries.len() {
            self.entries.truncate(fitting);
            self.upto = self.entries.last().map_or(self.upto, |last| last.serial);
        }
        Ok(())
    }

    /// Takes what `choice` wants of the next entry; breaks when there is enough.
    pub fn take(&mut self, entry: &Arc<Entry>, choice: &Choice) -> ControlFlow<()> {
        self.upto = entry.serial;
        if let Some(chosen) = choice.of(entry) {
            self.bytes += chosen.cost();
            self.entries.push(chosen);
        }
        if self.bytes < limits::BACKLOG_PORTION { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Which entries of a log are meant; none = all of them.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    reader: Option<(Filter, ConnectionId)>,
    only_messages: bool,
    ghosts: Ghosts,
    /// No others than these items, each by its entry and its place in it; none = all.
    only: Option<HashSet<(Place, usize)>>,
    /// Messages come with what their annotations come to.
    with_summaries: bool,
    /// Where the attachment begins; none: appends are to be seen as they are.
    since: Option<Serial>,
}

impl Choice {
    /// All entries.
    pub fn all() -> Arc<Self> {
        static ALL: LazyLock<Arc<Choice>> = LazyLock::new(Arc::default);
        Arc::clone(&ALL)
    }

    /// What an attachment wants.
    pub fn for_reader(subscription: &Subscription) -> Arc<Self> {
        let reader = Some((subscription.filter.clone(), subscription.connection));
        Arc::new(Self { reader, ..Self::default() })
    }

    /// The entry, or what is to be seen of it.
    pub fn of(&self, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let reader = self.reader.as_ref();
        let is_wanted =
            reader.is_none_or(|(filter, connection)| filter.accepts(entry, entry.publisher == Some(*connection)));
        // Between nodes an entry may tell an owner, and show nothing.
        let is_wanted = is_wanted && !(self.only_messages && entry.subjects().is_empty()) && !entry.is_empty();
        if !is_wanted {
            return None;
        }
        let part = reader.and_then(|(filter, _)| filter.part_of(entry)).map(Arc::new);
        let entry = part.as_ref().unwrap_or(entry);
        if entry.operation().is_some() || self.only.is_some() {
            return self.version_of(entry);
        }
        self.ghosts.leave_out_of(entry)
    }

    fn version_of(&self, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let is_wanted = |index: &usize| {
            let item = (entry.serial.place(), entry.original_index(*index));
            self.only.as_ref().is_none_or(|only| only.contains(&item))
        };
        match (0..entry.len()).filter(is_wanted).count() {
            0 => return None,
            wanted if wanted < entry.len() => return Some(Arc::new(entry.only(|index| is_wanted(&index)))),
            _ => {}
        }
        let grown = entry.operation().and_then(|operation| operation.grown());
        let whole = grown.filter(|grown| self.needs_whole(grown.previous)).and_then(|_| entry.whole());
        Some(whole.unwrap_or_else(|| Arc::clone(entry)))
    }

    /// Whether an append has to come as the whole message, by the place of the version before it.
    pub fn needs_whole(&self, previous: Place) -> bool {
        let wants_wholes = self.only.is_some() || self.reader.as_ref().is_some_and(|(filter, _)| filter.wants_wholes());
        self.since.is_some_and(|since| wants_wholes || previous <= since.place())
    }

    /// Messages are to come with what their annotations come to.
    pub const fn wants_summaries(&self) -> bool {
        self.with_summaries
    }

    /// Nothing of this entry is wanted, by its place alone: a newer version of its messages is.
    pub fn passes_over(&self, entry: &Entry) -> bool {
        let place = entry.serial.place();
        let is_item = |only: &HashSet<_>| (0..entry.len()).any(|at| only.contains(&(place, entry.original_index(at))));
        self.only.as_ref().is_some_and(|only| !is_item(only))
    }

    /// It takes no presence event, whoever's it is.
    pub const fn passes_over_presence(&self) -> bool {
        self.only_messages
    }

    /// The same of many.
    pub fn of_all(&self, entries: &[Arc<Entry>]) -> Vec<Arc<Entry>> {
        entries.iter().filter_map(|entry| self.of(entry)).collect()
    }

    /// Bytes that it keeps.
    fn cost(&self) -> usize {
        let items = self.ghosts.0.capacity() + self.only.as_ref().map_or(0, HashSet::capacity);
        size_of::<Self>() + items * 2 * size_of::<(Place, usize)>()
    }
}

/// What an attachment is sent before what is published next.
#[derive(Clone, Debug)]
pub struct Backlog {
    pub past: Arc<dyn Past>,
    pub after: Serial,
    pub upto: Serial,
    pub choice: Arc<Choice>,
    /// What the client's next differences go on from, as long as it is kept ([`delta`](crate::core::delta)).
    pub last: Weak<Entry>,
}

impl Backlog {
    /// Bytes that it keeps while it waits.
    pub fn cost(&self) -> usize {
        size_of::<Self>() + self.choice.cost()
    }
}

/// What an attachment has to read. One that changes has had everything, and goes on; unless it names an older position:
/// then its client has dropped what came since.
pub fn wanted(start: &Start, is_change: bool, now: Timestamp) -> Option<Wanted> {
    match start {
        Start::After(Some(position)) => Some(Wanted::After(*position)),
        Start::Rewind(rewind) if !is_change => Some(Wanted::Last(now, *rewind)),
        Start::Head | Start::Rewind(_) | Start::After(None) => None,
    }
}

/// Fills in where an attachment starts, and what comes before the head (`docs/protocols/ably.md §5.3`): `found` is what it
/// [wanted](wanted()) and chose ([`Choice::for_reader`]), `recent` gives the same of what is in memory; only behind
/// `unsettled` does every member that is gone have a leave. A backlog of more than `bytes` is cut short, which is a gap.
pub fn fill(
    mut attached: Attached,
    start: &Start,
    found: Found,
    recent: impl FnOnce() -> Vec<Arc<Entry>>,
    past: impl FnOnce() -> Arc<dyn Past>,
    unsettled: Serial,
    bytes: usize,
) -> Attached {
    let mut backlog = Vec::new();
    let mut only_messages = false;
    match (start, found) {
        (Start::Head | Start::Rewind(_), _) if attached.is_change => attached.resumed = true,
        (Start::Head, _) => {}
        (Start::After(None), _) => attached.gap = Some(Gap::OtherLog),
        (Start::After(Some(position)), Ok(missed)) => {
            attached.resumed = true;
            attached.position = *position;
            backlog = missed;
        }
        (Start::After(Some(_)), Err(gap)) => {
            attached.gap = Some(gap);
            if gap != Gap::OtherLog {
                backlog = recent();
                only_messages = true;
            }
        }
        (Start::Rewind(_), found) => {
            backlog = found.unwrap_or_default();
            only_messages = true;
        }
    }
    // What the log has got since comes by the ordinary way.
    let head = attached.head.place();
    let read = backlog.len();
    backlog.truncate(backlog.partition_point(|entry| entry.serial.place() <= head));
    // Where the newest version of a message came since, a rewind has none of those before it: it comes whole.
    let lacks_versions = matches!(start, Start::Rewind(_)) && backlog.len() < read;
    let ghosts = Ghosts::among(&backlog, &attached.members, unsettled);
    backlog.retain(|entry| !ghosts.is_all_of(entry));
    let fitting = fitting(&backlog, bytes);
    if fitting < backlog.len() {
        backlog.drain(..backlog.len() - fitting);
        attached.resumed = false;
        attached.gap = Some(Gap::TooLong);
        only_messages = true;
    }
    if only_messages {
        // The attachment gets the members themselves.
        backlog.retain(|entry| !entry.subjects().is_empty());
    }
    let (Some(first), Some(last)) = (backlog.first(), backlog.last()) else {
        attached.subscription.since = attached.position;
        return attached;
    };
    if !attached.resumed {
        attached.position = first.serial.before();
    }
    attached.subscription.since = if lacks_versions { attached.head } else { attached.position };
    let reader = Some((attached.subscription.filter.clone(), attached.subscription.connection));
    let newest = backlog.iter().rev().find(|entry| delta::is_base(entry)).map(Arc::downgrade);
    let only = matches!(start, Start::Rewind(_)).then(|| newest_only(&backlog)).flatten();
    let since = Some(attached.position);
    let with_summaries = matches!(start, Start::Rewind(_));
    let choice = Arc::new(Choice { reader, only_messages, ghosts, only, with_summaries, since });
    let (after, upto) = (first.serial.before(), last.serial);
    attached.backlog = Some(Backlog { past: past(), after, upto, choice, last: newest.unwrap_or_default() });
    attached
}

/// Enters of clients that are not present although no leave followed: they were present when an earlier run of the server
/// ended, and have not entered again. A client that was shown them would show them for ever. Each by its entry and its place
/// in it.
#[derive(Clone, Debug, Default)]
struct Ghosts(HashSet<(Place, usize)>);

impl Ghosts {
    /// There is none behind `unsettled`; so when the backlog is all behind it, nobody is looked for.
    fn among(backlog: &[Arc<Entry>], members: &[Arc<Member>], unsettled: Serial) -> Self {
        let mut ghosts = HashSet::new();
        let mut first = backlog.iter().filter(|entry| !entry.presence().is_empty());
        if first.next().is_none_or(|first| first.serial.place() > unsettled.place()) {
            return Self(ghosts);
        }
        let is_present = |client: &ClientId, connection| {
            members.binary_search_by(|member| (&member.client_id, member.connection).cmp(&(client, connection))).is_ok()
        };
        let mut left = HashSet::new();
        // The newest first, since a leave speaks for what was before it.
        for entry in backlog.iter().rev() {
            let Some(connection) = entry.publisher else {
                continue;
            };
            for (index, event) in entry.presence().iter().enumerate().rev() {
                let who = (&event.client_id, connection);
                if event.action == PresenceAction::Leave {
                    left.insert(who);
                } else if !is_present(&event.client_id, connection) && !left.contains(&who) {
                    ghosts.insert((entry.serial.place(), index));
                }
            }
        }
        Self(ghosts)
    }

    fn has(&self, entry: &Entry, index: usize) -> bool {
        self.0.contains(&(entry.serial.place(), index))
    }

    /// Nothing is to be seen of it.
    fn is_all_of(&self, entry: &Entry) -> bool {
        !self.0.is_empty() && (0..entry.len()).all(|index| self.has(entry, index))
    }

    fn leave_out_of(&self, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        if self.0.is_empty() || !(0..entry.len()).any(|index| self.has(entry, index)) {
            return Some(Arc::clone(entry));
        }
        let events = entry.presence().iter().enumerate();
        let kept: Vec<_> =
            events.filter(|(index, _)| !self.has(entry, *index)).map(|(_, event)| event.clone()).collect();
        (!kept.is_empty()).then(|| Arc::new(entry.with(Body::Presence(kept))))
    }
}

/// The items of a rewind, which has each message once, as its newest version. None: no message has another version.
fn newest_only(backlog: &[Arc<Entry>]) -> Option<HashSet<(Place, usize)>> {
    backlog.iter().any(|entry| entry.operation().is_some()).then(|| {
        let items = |entry: &Arc<Entry>| {
            let place = entry.serial.place();
            (0..entry.len()).map(|index| (place, entry.original_index(index))).collect::<Vec<_>>()
        };
        backlog.iter().flat_map(items).collect()
    })
}

/// How many of the newest fit.
fn fitting(backlog: &[Arc<Entry>], bytes: usize) -> usize {
    let mut left = bytes;
    let fits = backlog.iter().rev().take_while(|entry| {
        let rest = left.checked_sub(entry.cost());
        left = rest.unwrap_or_default();
        rest.is_some()
    });
    fits.count()
}

#[cfg(test)]
mod tests;
