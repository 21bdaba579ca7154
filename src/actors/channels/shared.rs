//! The part of a channel whose log other nodes write to as well: it asks the log to append, hears what the log has got, takes it
//! in the log's order (`core/chain.rs`), and tells its attachments when it cannot.
//!
//! How a channel follows its log stands in `follow`; what waits for the log in `held`; how many use the channel, here and at
//! other nodes, in `seats`; and what is judged by what was published before, as who is present, in `judged`.

mod follow;
mod held;
mod judged;
mod seats;

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use actix::{Addr, AsyncContext as _, Context, Handler, Message};
use tokio::sync::oneshot;

use crate::{
    actors::{
        accounts::{Account, Charge, Full, Kind},
        channels::{channel::Channel, commit_queue::Asker},
    },
    core::{
        chain::Chain,
        channel::ChannelState,
        dedupe::{Known, Published},
        message::{Draft, Entry},
        presence::Members,
        serial::Place,
    },
    error::Fault,
    ids::{ChannelName, Timestamp},
    limits,
    log::{
        ChannelLog, Done, StoreError,
        shared::{Joined, SharedLog, Told},
    },
};
use follow::{Quiet, hears};
use held::Held;
use seats::Seating;

pub(in crate::actors) struct Shared {
    pub log: SharedLog,
    chain: Chain,
    /// Publishes that the log has not answered, in their order.
    asked: VecDeque<Asked>,
    last: Ticket,
    /// The newest entry that others are judged by.
    judged: Place,
    /// What the log was asked to append that was judged by it.
    asking: Option<Entry>,
    held: Held,
    seating: Seating,
    quiet: Quiet,
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

/// The log has answered a publish; none: it was published and is not kept.
#[derive(Message)]
#[rtype(result = "()")]
struct Answered(Ticket, Result<Option<Told>, StoreError>);

impl Shared {
    /// Joins a channel of `app` for the actor at `address`, which does not run yet.
    ///
    /// # Errors
    /// The log does not answer.
    pub async fn join(
        log: SharedLog,
        name: &ChannelName,
        app: &Account,
        address: Addr<Channel>,
    ) -> Result<(Box<Self>, Joined), StoreError> {
        let (told, joined) = oneshot::channel();
        log.join(name, None, hears(address), Box::new(|joined| drop(told.send(joined))));
        let joined = tokio::time::timeout(log.deadline(), joined).await;
        let joined = joined.map_err(|_| StoreError::Late)?.map_err(|_| StoreError::Closed)??;
        let shared = Self {
            log,
            chain: Chain::new(joined.head, Some(app.clone())),
            asked: VecDeque::new(),
            last: Ticket(0),
            judged: joined.judged,
            asking: None,
            held: Held::default(),
            seating: Seating::default(),
            quiet: Quiet::new(joined.head),
            is_away: false,
            is_joining: false,
            is_waiting: false,
        };
        Ok((Box::new(shared), joined))
    }

    /// The state of a channel that was joined, with the members that there are, and its log.
    pub fn state(
        &mut self,
        joined: Joined,
        name: ChannelName,
        members: Members,
        now: Duration,
    ) -> (ChannelState, Box<dyn ChannelLog>) {
        let mut state = ChannelState::shared(name, joined.head, members);
        // Nobody is attached yet: nobody is missed.
        state.restore(now, joined.members);
        state.set_elsewhere(self.seating.learn(self.log.node(), joined.counts));
        (state, joined.log)
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
}

impl Channel {
    /// Asks the log to append what is kept, and to publish the rest.
    pub(super) fn ask_to_append(&mut self, draft: Draft, ctx: &Context<Self>) -> Result<Publishing, Fault> {
        let shared = self.shared.as_mut().ok_or(Fault::Internal)?;
        if shared.asked.len() > limits::CHANNEL_HELD {
            return Err(Fault::Busy);
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
            shared.log.append(&entry, content, head, None, done);
        }
        shared.asked.push_back(Asked { ticket, entry, asker: None, _charge: charge });
        Ok(Publishing::Asked(ticket))
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
            // These are answers to what was judged.
            Ok(Some(Told::Behind | Told::Fenced | Told::Bare)) => Err(Fault::Internal),
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
            Err(error) => Err(self.worker.broker.not_taken(&error)),
        };
        if let Some(asker) = asker {
            self.conclude_asked(asker, outcome);
        }
    }
}
