//! Every command of a connection has an answer, also one that no channel carries out: because its channel has
//! retired and there is no room for another one, or has died with the command in its mailbox, in its hands, or waiting
//! for the disk.
//!
//! A [`Command`] that is dropped undone goes back to its hub. The hub sends what concerns an attachment again, to the channel in
//! charge; a publish is refused, because only its sender knows whether to send it again.

use actix::{Actor, Addr, Handler, Message, dev::ToEnvelope, prelude::SendError};

use crate::{
    actors::{
        channels::channel::{Channel, Leave},
        channels::commit_queue::{Abandoned, Asker},
        fanout::{HubHandle, HubMessage},
        worker::Worker,
    },
    core::{
        command::{self, Answer, Attach, AttachmentId, Detach, Effect, HubId, Publish, Reply, Resubscribe},
        filter::Filter,
    },
    error::Fault,
    ids::{ChannelName, SessionId},
};

/// A command on its way to a channel, together with the hub that answers for its connection.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Command<C: Order> {
    pub(super) hub: HubHandle,
    channel: ChannelName,
    /// None: a channel has begun with it, or its sender knows that it was not sent.
    pub(super) body: Option<C>,
}

/// What a channel can be told to do.
pub trait Order: Send + 'static {
    /// What is left to do when it was not carried out.
    fn undone(self) -> Option<Undone>;
}

/// A command that no channel has carried out.
#[derive(Debug)]
pub enum Undone {
    Attach(Box<Attach>),
    Detach(Box<Detach>),
    Publish(Reply),
    /// The channel has died while it attached or detached this. Not to be tried again: it might die again.
    Failed(AttachmentId),
}

/// Who waits for an answer to the command that a channel carries out.
#[derive(Clone, Copy, Debug)]
pub(in crate::actors) enum Owed {
    Publish(Reply),
    Attachment { hub: HubId, id: AttachmentId },
}

impl<C: Order> Command<C> {
    pub const fn new(hub: HubHandle, channel: ChannelName, body: C) -> Self {
        Self { hub, channel, body: Some(body) }
    }

    /// Puts it into the mailbox of `channel`.
    ///
    /// # Errors
    /// Itself: the mailbox is full or closed.
    pub(in crate::actors) fn try_send_to(self, channel: &Addr<Channel>) -> Result<(), Self>
    where
        Channel: Handler<Self>,
        <Channel as Actor>::Context: ToEnvelope<Channel, Self>,
    {
        let sent = channel.try_send(self);
        sent.map_err(|(SendError::Full(command) | SendError::Closed(command))| command)
    }

    /// It was not sent; its sender gets the fault that is returned.
    pub(in crate::actors) fn withdraw(mut self) -> Fault {
        self.body = None;
        Fault::Busy
    }
}

impl<C: Order> Drop for Command<C> {
    fn drop(&mut self) {
        if let Some(command) = self.body.take().and_then(Order::undone) {
            let channel = self.channel.clone();
            self.hub.send(HubMessage::Undone { channel, command });
        }
    }
}

impl Order for Attach {
    fn undone(self) -> Option<Undone> {
        Some(Undone::Attach(Box::new(self)))
    }
}

impl Order for Detach {
    fn undone(self) -> Option<Undone> {
        Some(Undone::Detach(Box::new(self)))
    }
}

impl Order for Publish {
    fn undone(self) -> Option<Undone> {
        self.reply.map(Undone::Publish)
    }
}

/// The hub looks for channels that ended, or got no successor: it does this again by itself.
impl Order for Resubscribe {
    fn undone(self) -> Option<Undone> {
        None
    }
}

/// The channel dies: everybody who waits for an answer gets one, in the order of the answers.
impl Drop for Channel {
    fn drop(&mut self) {
        self.traffic.borrow_mut().channels.closed += 1;
        if !self.retired {
            self.worker.broker.directory.note_end();
        }
        for abandoned in self.commit_queue.abandon() {
            match abandoned {
                Abandoned::Publish(reply) => self.tell_undone(reply.hub, Undone::Publish(reply)),
                Abandoned::Effect(Effect::Answer { hub, session, answer }) => {
                    let channel = self.state.name().clone();
                    self.send(hub, HubMessage::Answer { channel, session, answer });
                }
                Abandoned::Effect(Effect::Attached { hub, attached, .. }) => {
                    self.tell_undone(hub, Undone::Failed(attached.subscription.id))
                }
                // What the log has is read from it again.
                Abandoned::Effect(
                    Effect::Append(_) | Effect::Replay { .. } | Effect::Complete(_) | Effect::OccupancyChanged,
                ) => {}
            }
        }
        let asked = self.shared.as_mut().map(|shared| shared.abandon());
        for asker in asked.into_iter().flatten() {
            // Requests notice that their answer was dropped.
            if let Asker::Transport(reply) = asker {
                self.tell_undone(reply.hub, Undone::Publish(reply));
            }
        }
        for reply in self.operations.abandon() {
            self.tell_undone(reply.hub, Undone::Publish(reply));
        }
        match self.owed.take() {
            Some(Owed::Publish(reply)) => self.tell_undone(reply.hub, Undone::Publish(reply)),
            Some(Owed::Attachment { hub, id }) => self.tell_undone(hub, Undone::Failed(id)),
            None => {}
        }
    }
}

impl Channel {
    pub(super) fn tell_undone(&self, hub: HubId, command: Undone) {
        let channel = self.state.name().clone();
        self.send(hub, HubMessage::Undone { channel, command });
    }

    /// Never by a direct call: the hub's thread may be in the middle of something that has just panicked.
    fn send(&self, hub: HubId, message: HubMessage) {
        if let Some(handle) = self.hub(hub) {
            handle.send(message);
        }
    }
}

impl Worker {
    /// A channel has not carried out this command of one of this thread's connections.
    pub(in crate::actors) fn undone(&self, channel: &ChannelName, command: Undone) {
        match command {
            Undone::Publish(Reply { session, token, .. }) => {
                self.answer(channel, session, Answer::PublishRefused { token, fault: Fault::Busy });
            }
            Undone::Attach(attach) => self.attach_again(channel, *attach),
            Undone::Detach(detach) => self.detach_again(channel, *detach),
            Undone::Failed(id) => {
                let refused = Answer::AttachRefused { alias: id.alias, fault: Fault::Busy };
                self.give_up(channel, id, refused);
            }
        }
    }

    /// With the filter that is wanted by now: a later request may have overtaken this one. What waits for a log of several nodes
    /// does so no longer than for anything else that is asked of it.
    fn attach_again(&self, channel: &ChannelName, attach: Attach) {
        let id = attach.id;
        let AttachmentId { session, alias } = id;
        let waited = self.broker.clock.uptime().saturating_sub(attach.asked);
        let is_late = self.broker.log.shared_by(channel).is_some_and(|log| waited >= log.deadline());
        let fault = match self.wanted(session, channel, alias).filter(|_| !is_late) {
            Some(filter) => match self.send_again(channel, session, alias, Attach { filter, ..attach }) {
                Ok(()) => return,
                Err(fault) => fault,
            },
            None => Fault::Busy,
        };
        self.give_up(channel, id, Answer::AttachRefused { alias, fault });
    }

    fn detach_again(&self, channel: &ChannelName, detach: Detach) {
        let id = detach.id;
        let AttachmentId { session, alias } = id;
        let context = detach.context.clone();
        let Some(session_here) = self.session(session) else {
            return;
        };
        let detached = Answer::Detached { alias, context, fault: None };
        if session_here.attachments().attaches_anew(channel, alias) {
            // A later request to attach is on its way: this one is settled, and changes nothing.
            session_here.with_handler(|handler, transport| handler.answered(channel, detached, transport));
        } else if self.send_again(channel, session, alias, detach).is_err() {
            self.give_up(channel, id, detached);
        }
    }

    fn wanted(&self, session: SessionId, channel: &ChannelName, alias: u16) -> Option<Filter> {
        self.session(session)?.attachments().wanted(channel, alias).map(|attachment| attachment.filter.clone())
    }

    fn send_again<C: Order>(&self, name: &ChannelName, session: SessionId, alias: u16, body: C) -> Result<(), Fault>
    where
        Channel: Handler<Command<C>>,
        <Channel as Actor>::Context: ToEnvelope<Channel, Command<C>>,
    {
        let session = self.session(session).ok_or(Fault::NotAttached)?;
        let successor = self.channel(name, None)?;
        let command = Command::new(self.hub.clone(), name.clone(), body);
        command.try_send_to(&successor).map_err(Command::withdraw)?;
        session.attachments().sent_again(name, alias, successor);
        Ok(())
    }

    /// Answers that there is no attachment, and removes it here and at the successor, which may know it; unless a later
    /// request for it is on its way.
    fn give_up(&self, name: &ChannelName, id: AttachmentId, answer: Answer) {
        self.answer(name, id.session, answer);
        let Some(session) = self.session(id.session) else {
            return;
        };
        if session.attachments().address(name, id.alias).is_some() {
            return;
        }
        self.unsubscribe(name, id);
        if let Ok(channel) = self.channel(name, None) {
            let connection = session.connection_id;
            channel.do_send(Leave(command::Leave { id, connection, hold: session.hold.get() }));
        }
    }
}
