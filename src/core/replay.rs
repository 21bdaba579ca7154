//! What an attachment gets before what is published next: what it missed, or the last messages.

use std::{collections::HashSet, sync::Arc};

use crate::{
    core::{
        command::{Attached, Rewind, Start, Subscription},
        message::{Body, Entry},
        presence::{Member, PresenceAction, PresenceEvent},
        serial::Serial,
        window::Gap,
    },
    ids::{ClientId, Timestamp},
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
/// [wanted](wanted()), `recent` gives what is in memory; only behind `unsettled` does every member that is gone have a leave.
/// A backlog of more than `bytes` is cut short, which is a gap.
pub fn fill(
    mut attached: Attached,
    start: &Start,
    found: Found,
    recent: impl FnOnce() -> Vec<Arc<Entry>>,
    unsettled: Serial,
    bytes: usize,
) -> Attached {
    match (start, found) {
        (Start::Head | Start::Rewind(_), _) if attached.is_change => attached.resumed = true,
        (Start::Head, _) => {}
        (Start::After(None), _) => attached.gap = Some(Gap::OtherLog),
        (Start::After(Some(position)), Ok(missed)) => {
            attached.resumed = true;
            attached.position = *position;
            attached.backlog = missed;
        }
        (Start::After(Some(_)), Err(gap)) => {
            attached.gap = Some(gap);
            if gap != Gap::OtherLog {
                attached.backlog = messages_of(recent());
            }
        }
        (Start::Rewind(_), found) => attached.backlog = found.unwrap_or_default(),
    }
    // What the log has got since comes by the ordinary way.
    let head = attached.head.place();
    let Subscription { filter, connection, .. } = &attached.subscription;
    let is_wanted = |entry: &Entry| filter.accepts(entry, entry.publisher == Some(*connection));
    attached.backlog.retain(|entry| entry.serial.place() <= head && is_wanted(entry));
    if filter.expression.is_some() {
        let parts =
            attached.backlog.iter().map(|entry| filter.part_of(entry).map_or_else(|| Arc::clone(entry), Arc::new));
        attached.backlog = parts.collect();
    }
    attached.backlog = without_ghosts(attached.backlog, &attached.members, unsettled);
    if cut(&mut attached.backlog, bytes) {
        attached.resumed = false;
        attached.gap = Some(Gap::TooLong);
        attached.backlog = messages_of(attached.backlog);
    }
    if !attached.resumed
        && let Some(first) = attached.backlog.first()
    {
        attached.position = first.serial.before();
    }
    attached
}

/// Without presence: the attachment gets the members themselves.
fn messages_of(entries: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
    let has_messages = |entry: &Arc<Entry>| !entry.messages().is_empty();
    entries.into_iter().filter(has_messages).collect()
}

/// Leaves out enters of clients that are not present although no leave followed: they were present when an earlier
/// run of the server ended, and have not entered again. The client would show them for ever.
///
/// There is none behind `unsettled`; so when the backlog is all behind it, nobody is looked for.
fn without_ghosts(mut backlog: Vec<Arc<Entry>>, members: &[Arc<Member>], unsettled: Serial) -> Vec<Arc<Entry>> {
    let mut first = backlog.iter().filter(|entry| !entry.presence().is_empty());
    if first.next().is_none_or(|first| first.serial.place() > unsettled.place()) {
        return backlog;
    }
    let is_present = |client: &ClientId, connection| {
        members.binary_search_by(|member| (&member.client_id, member.connection).cmp(&(client, connection))).is_ok()
    };
    let mut left = HashSet::new();
    let mut is_known = |entry: &Entry, event: &PresenceEvent| {
        let Some(connection) = entry.publisher else {
            return true;
        };
        match event.action {
            PresenceAction::Leave => {
                left.insert((event.client_id.clone(), connection));
                true
            }
            PresenceAction::Enter | PresenceAction::Update => {
                is_present(&event.client_id, connection) || left.contains(&(event.client_id.clone(), connection))
            }
        }
    };
    // The newest first, since a leave speaks for what was before it.
    for entry in backlog.iter_mut().rev() {
        let events = entry.presence().iter().rev();
        let mut kept: Vec<_> = events.filter(|event| is_known(entry, event)).collect();
        if kept.len() < entry.presence().len() {
            kept.reverse();
            let kept = kept.into_iter().cloned().collect();
            *entry = Arc::new(entry.with(Body::Presence(kept)));
        }
    }
    backlog.retain(|entry| !entry.is_empty());
    backlog
}

/// Drops the oldest until the rest fits; true when there were too many.
fn cut(backlog: &mut Vec<Arc<Entry>>, bytes: usize) -> bool {
    let mut left = bytes;
    let fits = backlog.iter().rev().take_while(|entry| {
        let rest = left.checked_sub(entry.cost());
        left = rest.unwrap_or_default();
        rest.is_some()
    });
    let excess = backlog.len() - fits.count();
    backlog.drain(..excess);
    excess > 0
}

#[cfg(test)]
mod tests;
