//! Commands that wait until the log has been read once more, or has given a seat; and what comes behind them.

use std::collections::VecDeque;

use actix::{Context, Handler, Message};
use tokio::sync::oneshot;

use super::Shared;
use crate::{
    actors::{
        accounts::{Charge, Full, Kind},
        channels::{channel::Channel, undone::Command},
    },
    core::{
        command::{Attach, Publish, Start},
        serial::Serial,
    },
    error::Fault,
    limits,
};

#[derive(Default)]
pub(super) struct Held {
    /// In their order; with the first of them the log was asked.
    commands: VecDeque<Waiting>,
    /// One of them waits until the log was read.
    pub awaits_log: bool,
    /// It came when the log was being read already.
    pub asks_again: bool,
    /// Requests that wait until the log was read.
    pub requests: Vec<oneshot::Sender<Result<(), Fault>>>,
    /// They are being carried out: none of them is held again.
    is_releasing: bool,
}

type HeldCommand = dyn FnOnce(&mut Channel, &mut Context<Channel>);

struct Waiting {
    needs_seat: bool,
    carry_out: Box<HeldCommand>,
    /// Pays for a publish.
    _charge: Option<Charge>,
}

impl Held {
    pub fn seats(&self) -> usize {
        self.commands.iter().filter(|waiting| waiting.needs_seat).count()
    }
}

impl Shared {
    /// The position is one of this log that is not here yet: who names it has been at another node.
    pub(super) fn is_behind(&self, position: Serial) -> bool {
        let head = self.chain.head();
        position.epoch() == head.epoch() && position.place() > head.place()
    }

    fn starts_ahead(&self, start: &Start) -> bool {
        matches!(start, Start::After(Some(after)) if self.is_behind(*after))
    }

    /// Where an attachment begins now that the log was read: a position that is not in it is none.
    ///
    /// # Errors
    /// It could not be read.
    pub fn judge(&self, start: Start) -> Result<Start, Fault> {
        match self.starts_ahead(&start) {
            true if self.is_away => Err(Fault::Busy),
            true => Ok(Start::After(None)),
            false => Ok(start),
        }
    }

    /// Whatever comes now waits behind others.
    pub fn is_holding(&self) -> bool {
        !self.held.commands.is_empty() && !self.held.is_releasing && !self.is_joining
    }
}

impl Channel {
    /// Keeps a command until those before it are carried out.
    pub(in crate::actors::channels) fn hold<M>(&mut self, command: M)
    where
        M: Message<Result = ()> + 'static,
        Self: Handler<M, Result = ()>,
    {
        self.hold_for(command, false, None);
    }

    /// The same of a publish, which the app pays for: what is published meanwhile is as much as its senders like.
    pub(in crate::actors::channels) fn hold_publish(&mut self, command: Command<Publish>) {
        let cost = command.body.as_ref().map_or(0, |publish| publish.body.cost());
        match self.room_for_publish(cost) {
            Ok(charge) => self.hold_for(command, false, Some(charge)),
            Err(fault) => {
                if let Some(reply) = self.begin(command).and_then(|publish| publish.reply) {
                    self.conclude(reply, Err(fault));
                }
            }
        }
    }

    fn room_for_publish(&self, cost: usize) -> Result<Charge, Fault> {
        if self.shared.as_ref().is_some_and(|shared| shared.held.commands.len() >= limits::CHANNEL_HELD) {
            return Err(Fault::Busy);
        }
        let account = self.worker.broker.accounts.app(self.state.name().app());
        account.charge(Kind::Inbound, cost).map_err(Full::to_fault)
    }

    fn hold_for<M>(&mut self, command: M, needs_seat: bool, _charge: Option<Charge>)
    where
        M: Message<Result = ()> + 'static,
        Self: Handler<M, Result = ()>,
    {
        if let Some(shared) = &mut self.shared {
            let carry_out = Box::new(move |channel: &mut Self, ctx: &mut Context<Self>| {
                Self::handle(channel, command, ctx);
            });
            shared.held.commands.push_back(Waiting { needs_seat, carry_out, _charge });
        }
    }

    /// Whether everything is here that the log has now, when that is known.
    pub(in crate::actors::channels) fn look_at_log(
        &mut self,
        ctx: &Context<Self>,
    ) -> oneshot::Receiver<Result<(), Fault>> {
        let (asker, known) = oneshot::channel();
        if let Some(shared) = &mut self.shared {
            shared.held.requests.push(asker);
            shared.held.asks_again = true;
            self.ask_log(ctx);
        }
        known
    }

    /// An attach may have to wait until the log has been read, or has given a seat; none: it waits.
    pub(in crate::actors::channels) fn unless_held(
        &mut self,
        command: Command<Attach>,
        ctx: &mut Context<Self>,
    ) -> Option<Command<Attach>> {
        let (Some(shared), Some(attach)) = (&mut self.shared, &command.body) else { return Some(command) };
        if shared.held.is_releasing || shared.is_joining {
            return Some(command);
        }
        let needs_seat = attach.rules.is_some() && !self.state.is_attached(attach.id);
        let wants_seat = needs_seat && self.state.counted() >= shared.seating.seats();
        let is_behind = shared.starts_ahead(&attach.start);
        if shared.held.commands.is_empty() && !is_behind && !wants_seat {
            return Some(command);
        }
        shared.held.asks_again |= is_behind;
        shared.held.awaits_log |= is_behind;
        let cap = attach.rules.as_ref().map_or(0, |rules| rules.cap());
        self.hold_for(command, needs_seat, None);
        if is_behind {
            self.ask_log(ctx);
        }
        if needs_seat {
            self.ask_for_seats(cap, ctx);
        }
        None
    }

    /// Carries out what was held, up to the first that has to wait for something else.
    pub(super) fn release_held(&mut self, ctx: &mut Context<Self>) {
        while let Some(shared) = &mut self.shared {
            let is_ready = !shared.held.awaits_log && shared.seating.is_answered() || shared.is_joining;
            let Some(waiting) = shared.held.commands.front().filter(|_| is_ready) else { return };
            if waiting.needs_seat && shared.seating.may_give_more(self.state.counted()) && !shared.is_joining {
                return self.ask_for_seats(0, ctx);
            }
            let Some(waiting) = shared.held.commands.pop_front() else { return };
            shared.held.is_releasing = true;
            let Waiting { carry_out, _charge, .. } = waiting;
            carry_out(self, ctx);
            if let Some(shared) = &mut self.shared {
                shared.held.is_releasing = false;
            }
        }
    }
}
