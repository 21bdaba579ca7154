//! What a connection is attached to, by name; and how its commands reach the channels.

use actix::{Actor, Addr, Handler, dev::ToEnvelope};

use crate::{
    actors::{
        channels::Channel,
        channels::{Command, Order},
        worker::Worker,
    },
    core::{command::Answer, filter::Filter, hashing::FastMap},
    error::Fault,
    ids::ChannelName,
};

/// The attachments of one transport.
#[derive(Default)]
pub(in crate::actors) struct Attachments(FastMap<Key, Attachment>);

/// The channel, and which of the names that the transport knows it by (see
/// [`crate::core::command::AttachmentId`]).
type Key = (ChannelName, u16);

/// One attachment as its connection sees it.
pub(in crate::actors) struct Attachment {
    pub channel: Addr<Channel>,
    pub filter: Filter,
    /// The last command was to attach, not to detach.
    wanted: bool,
    /// Commands that the channel has yet to answer. Only the answer to the last one says whether
    /// there is an attachment: a place can get free between two requests of which the first is refused.
    unanswered: usize,
}

impl Attachments {
    /// The attachment to `channel`, unless the connection has asked to detach.
    pub fn wanted(&self, channel: &ChannelName, alias: u16) -> Option<&Attachment> {
        let attachment = self.0.get(&(channel.clone(), alias));
        attachment.filter(|attachment| attachment.wanted)
    }

    /// The same to send a command with.
    ///
    /// # Errors
    /// [`Fault::NotAttached`].
    pub fn wanted_mut(&mut self, channel: &ChannelName, alias: u16) -> Result<&mut Attachment, Fault> {
        let attachment = self.0.get_mut(&(channel.clone(), alias));
        attachment.filter(|attachment| attachment.wanted).ok_or(Fault::NotAttached)
    }

    /// A command that its channel has not carried out was sent to the successor.
    pub fn sent_again(&mut self, name: &ChannelName, alias: u16, successor: Addr<Channel>) {
        if let Some(attachment) = self.0.get_mut(&(name.clone(), alias)) {
            attachment.move_on(successor);
            attachment.unanswered += 1;
        }
    }

    /// Whether a request to attach is on its way to a channel that lives.
    pub fn attaches_anew(&self, channel: &ChannelName, alias: u16) -> bool {
        let attachment = self.wanted(channel, alias);
        attachment.is_some_and(|attachment| attachment.unanswered > 0 && attachment.channel.connected())
    }

    pub fn len(&self) -> usize {
        self.0.values().filter(|attachment| attachment.wanted).count()
    }

    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.0.keys().map(|(channel, _)| channel)
    }

    /// Who takes the commands for `channel`.
    pub fn address(&self, channel: &ChannelName, alias: u16) -> Option<&Addr<Channel>> {
        let attachment = self.0.get(&(channel.clone(), alias));
        attachment.map(|attachment| &attachment.channel)
    }

    /// A command to attach has been sent.
    pub fn attaching(&mut self, name: &ChannelName, alias: u16, channel: Addr<Channel>, filter: Filter) {
        let key = (name.clone(), alias);
        // What a channel that died has not answered, nobody will.
        let before = self.0.get(&key);
        let before = before.filter(|attachment| attachment.channel.connected());
        let unanswered = before.map_or(0, |attachment| attachment.unanswered) + 1;
        let attachment = Attachment { channel, filter, wanted: true, unanswered };
        self.0.insert(key, attachment);
    }

    /// The channel has answered.
    pub fn answered(&mut self, channel: &ChannelName, answer: &Answer) {
        let (alias, was_refused) = match answer {
            Answer::AttachRefused { alias, .. } => (*alias, true),
            Answer::Attached(attached) => (attached.subscription.id.alias, false),
            Answer::Detached { alias, .. } => (*alias, false),
            Answer::Published { .. } | Answer::PublishRefused { .. } => return,
        };
        let key = (channel.clone(), alias);
        if let Some(attachment) = self.0.get_mut(&key) {
            attachment.answered(was_refused);
            if attachment.is_over() {
                self.0.remove(&key);
            }
        }
    }

    /// Hands over everything, for good.
    pub fn take(&mut self) -> impl Iterator<Item = (ChannelName, u16, Addr<Channel>)> + use<> {
        let all = std::mem::take(&mut self.0);
        all.into_iter().map(|((name, alias), attachment)| (name, alias, attachment.channel))
    }
}

impl Attachment {
    /// A command to detach has been sent.
    pub fn detaching(&mut self) {
        self.wanted = false;
        self.unanswered += 1;
    }

    /// Notes an answer to one of the commands.
    fn answered(&mut self, was_refused: bool) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if was_refused && self.unanswered == 0 {
            self.wanted = false;
        }
    }

    fn is_over(&self) -> bool {
        !self.wanted && self.unanswered == 0
    }

    /// Sends a command to the channel; when its actor has died, to the successor.
    pub fn send<C: Order>(&mut self, name: &ChannelName, command: Command<C>, worker: &Worker) -> Result<(), Fault>
    where
        Channel: Handler<Command<C>>,
        <Channel as Actor>::Context: ToEnvelope<Channel, Command<C>>,
    {
        let Err(command) = command.try_send_to(&self.channel) else {
            return Ok(());
        };
        if self.channel.connected() {
            return Err(command.withdraw());
        }
        match worker.channel(name) {
            Ok(successor) => self.move_on(successor),
            Err(fault) => {
                command.withdraw();
                return Err(fault);
            }
        }
        command.try_send_to(&self.channel).map_err(Command::withdraw)
    }

    fn move_on(&mut self, successor: Addr<Channel>) {
        if !self.channel.connected() {
            // What the dead one has not answered, nobody will; what is sent again is counted again.
            self.unanswered = 0;
        }
        self.channel = successor;
    }
}
