//! What a channel is asked for, what it answers, and what it asks its shell to do.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    core::{
        budget::Account,
        dedupe::Published,
        filter::Filter,
        message::{Body, Draft, Entry, EntryId, Message},
        objects::Snapshot,
        presence::MemberList,
        replay::Backlog,
        rules::Rules,
        serial::{Place, Serial},
        window::Gap,
    },
    error::Fault,
    ids::{ConnectionId, SessionId, Timestamp},
};

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For what clients see.
    pub wall: Timestamp,
    /// For what has to wait; never set back.
    pub uptime: Duration,
}

/// A worker thread with attachments; its hub delivers to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubId(pub u32);

/// Names one attachment: a transport of a connection, and which of the names that it knows the channel by.
/// Only Ably clients know more than one (`docs/protocols/ably.md §5.1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttachmentId {
    pub session: SessionId,
    /// 0 is the plain name.
    pub alias: u16,
}

/// One attachment as its hub and its channel know it.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub id: AttachmentId,
    pub connection: ConnectionId,
    pub filter: Filter,
    /// Holds one of the places that the rules' cap counts.
    pub counted: bool,
    /// Every entry after this that it wants is delivered to it, in order.
    pub since: Serial,
}

impl Subscription {
    /// Whether an append has to come as the whole message: the version before it, at `previous`, was perhaps not delivered
    /// (`docs/protocols/ably.md §9.4`).
    pub fn needs_whole(&self, previous: Place) -> bool {
        previous <= self.since.place() || self.filter.wants_wholes()
    }
}

/// Asks for an attachment, or changes the one there is.
#[derive(Clone, Debug)]
pub struct Attach {
    pub id: AttachmentId,
    pub connection: ConnectionId,
    pub hub: HubId,
    /// The whole filter from now on, not what is added to it.
    pub filter: Filter,
    /// An attachment with rules counts against their cap.
    pub rules: Option<Arc<Rules>>,
    pub start: Start,
    /// Its connection's members leave if the filter has no mode for them: the client may not be present any more.
    pub evicts: bool,
    /// Handed back untouched with the answer.
    pub context: Bytes,
    /// When it was asked for (monotonic): who waits for a log that does not answer is told so in the end.
    pub asked: Duration,
}

/// Where an attachment begins to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what is published next.
    #[default]
    Head,
    /// After this position; none = it was not readable as one.
    After(Option<Serial>),
    /// With the last messages.
    Rewind(Rewind),
}

/// How far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewind {
    pub messages: usize,
    /// No older than that.
    pub age: Option<Duration>,
}

impl Rewind {
    /// Nothing before this moment.
    pub fn oldest(self, now: Timestamp) -> Timestamp {
        let age = self.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Timestamp::from_millis(age.map_or(0, |age| now.millis().saturating_sub(age)))
    }
}

/// Ends an attachment.
#[derive(Clone, Debug)]
pub struct Detach {
    pub id: AttachmentId,
    pub connection: ConnectionId,
    pub hub: HubId,
    /// Handed back untouched with the answer.
    pub context: Bytes,
}

/// The transport is gone, and this attachment with it.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    pub id: AttachmentId,
    pub connection: ConnectionId,
    /// How long its members stay for it to come back.
    pub hold: Duration,
}

/// Publishes something.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Where the outcome is sent.
    pub reply: Option<Reply>,
    /// Refused unless this transport is attached.
    pub attached: Option<SessionId>,
    /// The connection that it counts as.
    pub publisher: Option<ConnectionId>,
    pub id: EntryId,
    pub body: Body,
    pub is_ephemeral: bool,
    /// Who pays for members that it brings; none: nobody.
    pub account: Option<Account>,
    /// An operation on a message is refused unless the operator has published the message.
    pub own_only: bool,
    /// Why it may not be published, unless it was published before: then it is answered as it was.
    pub refusal: Option<Box<Fault>>,
}

impl Publish {
    /// Of no connection, without an answer.
    pub const fn new(id: EntryId, body: Body) -> Self {
        Self {
            reply: None,
            attached: None,
            publisher: None,
            id,
            body,
            is_ephemeral: false,
            account: None,
            own_only: false,
            refusal: None,
        }
    }

    /// The same of one message.
    pub fn message(id: EntryId, message: Message) -> Self {
        Self::new(id, Body::Messages(vec![message]))
    }
}

/// Where the answer to a publish goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    pub session: SessionId,
    pub hub: HubId,
    /// Handed back with the answer; none = only a refusal is answered.
    pub token: Option<u64>,
}

/// A hub's attachments, handed to the successor of a channel that died.
#[derive(Clone, Debug)]
pub struct Resubscribe {
    pub hub: HubId,
    pub subscriptions: Vec<Subscription>,
    /// Up to where the hub has delivered.
    pub delivered: Serial,
}

/// The answer to a command of a transport.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Attached, or the attachment changed.
    Attached(Box<Attached>),
    /// What follows is not all that was published since what came before; nobody has asked for this.
    Broken(Box<Attached>),
    /// Nothing of the channel follows this; `fault`: nobody has asked for it.
    Detached { alias: u16, context: Bytes, fault: Option<Fault> },
    /// The attachment was refused; there is none.
    AttachRefused { alias: u16, fault: Fault },
    /// In the log.
    Published { token: u64, published: Published },
    /// Refused; nothing was published.
    PublishRefused { token: Option<u64>, fault: Fault },
}

/// An attachment that begins or has changed.
#[derive(Clone, Debug)]
pub struct Attached {
    pub subscription: Subscription,
    /// The attachment was there before: what it gets goes on without a break.
    pub is_change: bool,
    /// The newest entry of the channel: what is published after it is delivered.
    pub head: Serial,
    /// Where the attachment starts: everything after this follows, `backlog` first.
    pub position: Serial,
    /// Nothing was missed since the position that was asked for.
    pub resumed: bool,
    /// Why something may have been missed.
    pub gap: Option<Gap>,
    pub backlog: Option<Backlog>,
    /// The objects as they are, for who subscribes to them.
    pub objects: Option<Arc<Snapshot>>,
    /// Who is present, as far as the attachment may know.
    pub members: Arc<MemberList>,
    pub context: Bytes,
}

/// What the channel asks its shell to do, in order.
#[derive(Debug)]
pub enum Effect {
    /// Hand to the log, unless it is ephemeral; deliver to every hub with attachments when the log has it.
    Append(Draft),
    /// Answer one transport, through its hub, so that the answer keeps its place among deliveries.
    Answer { hub: HubId, session: SessionId, answer: Answer },
    /// The same, once what the attachment missed is read from the log.
    Attached { hub: HubId, start: Start, attached: Box<Attached> },
    /// Deliver to this hub alone what the log holds after a position.
    Replay { hub: HubId, after: Serial },
    /// Deliver an append of another node once its message was read: what it makes of it is not known here.
    Complete(Arc<Entry>),
    /// The numbers of those who use the channel may have changed.
    OccupancyChanged,
}

impl Reply {
    /// The answer to a publish; none when it succeeded and has no token.
    pub fn outcome(self, outcome: Result<Published, Fault>) -> Option<Answer> {
        match outcome {
            Ok(published) => self.token.map(|token| Answer::Published { token, published }),
            Err(fault) => Some(Answer::PublishRefused { token: self.token, fault }),
        }
    }
}
