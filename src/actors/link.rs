//! What a protocol is to a connection, and what it can do there.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::{
        attachments::Attachments,
        channel::{Command, Publish},
        hub::Peer,
        session::Session,
        worker::Worker,
    },
    core::{
        channel::{Answer, Attach, Detach},
        filter::Filter,
        frame,
        message::Message,
        rules::Rules,
        wire::WireFormat,
    },
    error::Fault,
    ids::{ChannelName, Timestamp},
};

/// One protocol's side of one connection: frames in, commands out; answers in, frames out.
pub trait Translator {
    /// How entries are written for this connection.
    fn format(&self) -> &'static dyn WireFormat;

    fn text(&mut self, text: ByteString, link: &mut Link<'_>);

    /// A binary message. Unlike a text it has not been counted against the rate limit: see
    /// [`Link::may_send`].
    fn binary(&mut self, data: Bytes, link: &mut Link<'_>);

    /// A channel's answer to one of this connection's commands.
    fn answered(&mut self, channel: &ChannelName, answer: Answer, link: &mut Link<'_>);

    /// A frame was dropped before it was read.
    fn refused(&mut self, fault: Fault, link: &mut Link<'_>);

    /// The connection ends; nothing can be sent any more.
    fn closed(&mut self, _link: &mut Link<'_>) {}
}

/// What a translator can do.
pub struct Link<'a> {
    pub(super) session: &'a Session,
    pub(super) attachments: &'a mut Attachments,
}

impl Link<'_> {
    /// Sends a text message to the client of this connection alone.
    pub fn send_text(&mut self, text: &[u8]) {
        self.send_frame(frame::text(text));
    }

    /// Sends a finished frame to the client of this connection alone.
    pub fn send_frame(&mut self, frame: Bytes) {
        self.worker().count(|counters| {
            counters.messages_out += 1;
            counters.bytes_out += frame.len() as u64;
        });
        self.session.push(frame);
    }

    /// This connection as others reach it.
    pub fn peer(&self) -> Peer {
        Peer {
            hub: self.worker().hub.clone(),
            connection: self.session.id,
        }
    }

    /// Whether the rate limit leaves room for one more frame; counts it.
    pub fn may_send(&self) -> bool {
        self.session.may_send()
    }

    /// Counts an error that the client was told.
    pub fn count_error(&self) {
        self.worker().count(|counters| counters.errors_told += 1);
    }

    pub fn now(&self) -> Timestamp {
        self.worker().broker.clock.now()
    }

    /// The filter of the attachment to `channel`, if there is one.
    pub fn filter(&self, channel: &ChannelName) -> Option<&Filter> {
        self.attachments
            .wanted(channel)
            .map(|attachment| &attachment.filter)
    }

    /// The channels that the connection is attached to.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.attachments.channels()
    }

    /// Attaches, or changes the filter of the attachment there is; the answer brings `context` back.
    ///
    /// # Errors
    /// When the command could not even be sent: too many channels, or the server is busy.
    pub fn attach(
        &mut self,
        name: &ChannelName,
        filter: Filter,
        rules: Option<Arc<Rules>>,
        context: Bytes,
    ) -> Result<(), Fault> {
        let limit = self.worker().broker.settings.channels_per_connection;
        if self.attachments.wanted(name).is_none() && self.attachments.len() >= limit {
            return Err(Fault::TooManyChannels { limit });
        }
        let worker = self.worker();
        let command = Command {
            hub: worker.hub.clone(),
            body: Attach {
                connection: self.session.id,
                hub: worker.hub.id,
                filter: filter.clone(),
                rules,
                context,
            },
        };
        // By the address that earlier commands took, so that none overtakes another.
        let known = self
            .attachments
            .address(name)
            .filter(|channel| channel.connected());
        let channel = match known {
            Some(channel) => channel.clone(),
            None => worker.channel(name)?,
        };
        channel.try_send(command).map_err(|_| Fault::Busy)?;
        self.attachments.attaching(name, channel, filter);
        Ok(())
    }

    /// Detaches; the answer brings `context` back.
    ///
    /// # Errors
    /// [`Fault::NotAttached`], or the server is busy.
    pub fn detach(&mut self, name: &ChannelName, context: Bytes) -> Result<(), Fault> {
        let worker = Rc::clone(self.worker());
        let attachment = self.attachments.wanted_mut(name)?;
        let command = Command {
            hub: worker.hub.clone(),
            body: Detach {
                connection: self.session.id,
                hub: worker.hub.id,
                context,
            },
        };
        attachment.send(name, command, &worker)?;
        attachment.detaching();
        Ok(())
    }

    /// Publishes to a channel that the connection is attached to.
    ///
    /// # Errors
    /// [`Fault::NotAttached`], or the server is busy. Other refusals come as an answer.
    pub fn publish(&mut self, name: &ChannelName, message: Message) -> Result<(), Fault> {
        let worker = Rc::clone(self.worker());
        let attachment = self.attachments.wanted_mut(name)?;
        let command = Command {
            hub: worker.hub.clone(),
            body: Publish {
                connection: self.session.id,
                message,
            },
        };
        attachment.send(name, command, &worker)
    }

    pub fn worker(&self) -> &Rc<Worker> {
        self.session.worker()
    }
}
