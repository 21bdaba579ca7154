//! The part of a channel whose log other nodes write to as well: it asks the log to append, hears what the log has got, takes it
//! in the log's order (`core/chain.rs`), and tells its attachments when it cannot.
//!
//! Members are those of this node; what concerns them is told here and not appended. How a channel follows its log stands in
//! `follow`.

mod follow;

use std::{collections::VecDeque, mem, sync::Arc};

use actix::{Addr, AsyncContext as _, Context, Handler, Message};
use tokio::sync::oneshot;

use crate::{
    actors::{
        accounts::{Charge, Full, Kind},
        channels::{channel::Channel, commit_queue::Asker},
    },
    core::{
        chain::Chain,
        command::Start,
        dedupe::{Known, Published},
        message::{Body, Draft, Entry},
        serial::Serial,
    },
    error::Fault,
    ids::{ChannelName, Timestamp},
    log::{
        ChannelLog, Done, StoreError,
        shared::{Joined, SharedLog, Told},
    },
};
use follow::hears;

pub(in crate::actors) struct Shared {
    log: SharedLog,
    chain: Chain,
    /// Publishes that the log has not answered, in their order.
    asked: VecDeque<Asked>,
    last: Ticket,
    /// Commands that wait until the log has been read once more, in their order; with the first of them it was asked for.
    held: Vec<Held>,
    /// One of them came when the log was being read already.
    asks_again: bool,
    /// They are being carried out: none of them is held again.
    is_releasing: bool,
    /// The log could not be read when it was last asked, or is being joined anew.
    is_away: bool,
    /// It broke, and the channel is being joined anew.
    is_joining: bool,
    /// A look at what is late is due.
    is_waiting: bool,
}

/// Names a publish that the log was asked to append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::actors) struct Ticket(u64);

/// What comes of a publish that is not refused.
#[derive(Clone, Copy, Debug)]
pub(in crate::actors) enum Publishing {
    /// This, when nothing waits for the log any more.
    Kept(Published),
    /// What the log will answer.
    Asked(Ticket),
}

struct Asked {
    ticket: Ticket,
    entry: Entry,
    /// None: nobody wants to know.
    asker: Option<Asker>,
    /// Of the app.
    _charge: Charge,
}

type Held = Box<dyn FnOnce(&mut Channel, &mut Context<Channel>)>;

/// The log has answered a publish; none: it was published and is not kept.
#[derive(Message)]
#[rtype(result = "()")]
struct Answered(Ticket, Result<Option<Told>, StoreError>);

impl Shared {
    /// Joins a channel for the actor at `address`, which does not run yet.
    ///
    /// # Errors
    /// The log does not answer.
    pub async fn join(
        log: SharedLog,
        name: &ChannelName,
        address: Addr<Channel>,
    ) -> Result<(Box<dyn ChannelLog>, Self), StoreError> {
        let (told, joined) = oneshot::channel();
        log.join(name, None, hears(address), Box::new(|joined| drop(told.send(joined))));
        let joined = tokio::time::timeout(log.deadline(), joined).await;
        let Joined { head, log: replica } = joined.map_err(|_| StoreError::Late)?.map_err(|_| StoreError::Closed)??;
        let chain = Chain::new(head);
        let shared = Self {
            log,
            chain,
            asked: VecDeque::new(),
            last: Ticket(0),
            held: Vec::new(),
            asks_again: false,
            is_releasing: false,
            is_away: false,
            is_joining: false,
            is_waiting: false,
        };
        Ok((replica, shared))
    }

    pub const fn head(&self) -> Serial {
        self.chain.head()
    }

    /// Publishes that wait for an answer.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// The channel dies: who waits for an answer.
    pub fn abandon(&mut self) -> impl Iterator<Item = Asker> + use<> {
        mem::take(&mut self.asked).into_iter().filter_map(|asked| asked.asker)
    }

    /// Somebody wants to hear what comes of a publish.
    pub fn answer_to(&mut self, ticket: Ticket, asker: Asker) {
        if let Some(asked) = self.asked.iter_mut().rev().find(|asked| asked.ticket == ticket) {
            asked.asker = Some(asker);
        }
    }

    /// The position is one of this log that is not here yet: its client has been at another node.
    fn is_behind(&self, start: &Start) -> bool {
        let head = self.chain.head();
        matches!(start, Start::After(Some(after)) if after.epoch() == head.epoch() && after.place() > head.place())
    }

    /// Where an attachment begins now that the log was read: a position that is not in it is none.
    ///
    /// # Errors
    /// It could not be read.
    pub fn judge(&self, start: Start) -> Result<Start, Fault> {
        match self.is_behind(&start) {
            true if self.is_away => Err(Fault::Busy),
            true => Ok(Start::After(None)),
            false => Ok(start),
        }
    }
}

/// What concerns members, or nobody, is no concern of other nodes.
pub(super) const fn stays_here(draft: &Draft) -> bool {
    draft.is_empty() || matches!(draft.body, Body::Presence(_))
}

impl Channel {
    /// Asks the log to append what is kept, and to publish the rest.
    pub(super) fn ask_to_append(&mut self, draft: Draft, ctx: &Context<Self>) -> Result<Publishing, Fault> {
        let shared = self.shared.as_mut().ok_or(Fault::Internal)?;
        match draft.body {
            // They are judged by what was published before, and others may publish at the same time.
            Body::Operation(_) => return Err(Fault::NotShared { what: "updates, deletes and appends of messages" }),
            Body::Annotations(_) => return Err(Fault::NotShared { what: "annotations" }),
            Body::Objects(_) => return Err(Fault::NotShared { what: "objects" }),
            Body::Messages(_) | Body::Presence(_) | Body::Occupancy(_) | Body::Summary(_) => {}
        }
        let (content, head, broker) = (draft.content, shared.chain.head(), &self.worker.broker);
        let entry = Entry::of(draft, head, broker.clock.now());
        let account = broker.accounts.app(entry.channel.app());
        let charge = account.charge(Kind::Inbound, entry.cost()).map_err(Full::to_fault)?;
        shared.last.0 += 1;
        let (ticket, channel) = (shared.last, ctx.address());
        if entry.is_ephemeral {
            let done: Done<()> = Box::new(move |said| channel.do_send(Answered(ticket, said.map(|()| None))));
            shared.log.say(&entry, done);
        } else {
            let done: Done<Told> = Box::new(move |told| channel.do_send(Answered(ticket, told.map(Some))));
            shared.log.append(&entry, content, head, done);
        }
        shared.asked.push_back(Asked { ticket, entry, asker: None, _charge: charge });
        Ok(Publishing::Asked(ticket))
    }

    /// An attach may have to wait until the log has been read, and whatever comes behind it waits with it; none: it waits.
    pub(super) fn unless_held<M>(&mut self, command: M, start: Option<&Start>, ctx: &mut Context<Self>) -> Option<M>
    where
        M: Message<Result = ()> + 'static,
        Self: Handler<M, Result = ()>,
    {
        let Some(shared) = &mut self.shared else { return Some(command) };
        let is_first = shared.held.is_empty() && !start.is_some_and(|start| shared.is_behind(start));
        if is_first || shared.is_releasing || shared.is_joining {
            return Some(command);
        }
        shared.held.push(Box::new(move |channel, ctx| Self::handle(channel, command, ctx)));
        shared.asks_again = true;
        self.ask_log(ctx);
        None
    }

    fn release_held(&mut self, ctx: &mut Context<Self>) {
        let Some(shared) = &mut self.shared else { return };
        shared.is_releasing = true;
        for command in mem::take(&mut shared.held) {
            command(self, ctx);
        }
        if let Some(shared) = &mut self.shared {
            shared.is_releasing = false;
        }
    }

    fn conclude_asked(&mut self, asker: Asker, outcome: Result<Published, Fault>) {
        match asker {
            Asker::Transport(reply) => {
                if let Some(answer) = reply.outcome(outcome) {
                    self.answer(reply.hub, reply.session, answer);
                }
            }
            // The request may have ended.
            Asker::Request(asker) => drop(asker.send(outcome)),
        }
    }
}

impl Handler<Answered> for Channel {
    type Result = ();

    fn handle(&mut self, Answered(ticket, outcome): Answered, ctx: &mut Self::Context) {
        let now = self.now();
        // A line answers in order, but what it has no room for it refuses at once.
        let asked = self.shared.as_mut().and_then(|shared| {
            let place = shared.asked.iter().position(|asked| asked.ticket == ticket)?;
            shared.asked.remove(place)
        });
        let Some(Asked { mut entry, asker, .. }) = asked else { return };
        let len = entry.len();
        let outcome = match outcome {
            Ok(Some(Told::Kept { previous, serial })) => {
                let (millis, _) = serial.place();
                (entry.serial, entry.timestamp) = (serial, Timestamp::from_millis(millis));
                self.count_published(&entry);
                self.kept(previous, entry, ctx);
                Ok(Published { serial, len })
            }
            Ok(Some(Told::Again(published))) => Ok(published),
            Ok(None) => {
                let serial = self.state.head();
                entry.serial = serial;
                self.count_published(&entry);
                if let Some(known) = Known::of(&entry) {
                    self.state.recall(now.uptime, known);
                }
                self.hand_out(now, Arc::new(entry), ctx);
                Ok(Published { serial, len })
            }
            Err(error) => {
                let broker = &self.worker.broker;
                if let Some(more) = broker.disk_warning.allows(&broker.clock) {
                    tracing::warn!(%error, more, "a message was refused: the log that the nodes share did not take it");
                }
                Err(match error {
                    StoreError::Unreachable(_) => Fault::Busy,
                    error => error.to_fault(),
                })
            }
        };
        if let Some(asker) = asker {
            self.conclude_asked(asker, outcome);
        }
    }
}
