//! What a connection is attached to, by name; and how its commands reach the channels.

use std::mem;

use actix::{Actor, Addr, Handler, dev::ToEnvelope};

use crate::{
    actors::{
        accounts::{Account, Kind, Tab},
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
pub(in crate::actors) struct Attachments {
    all: FastMap<Key, Attachment>,
    /// How many of them are wanted.
    wanted: usize,
    /// Of the connection; none where nobody pays.
    tab: Option<Tab>,
}

/// The channel, and which of the names that the transport knows it by (see
/// [`crate::core::command::AttachmentId`]).
type Key = (ChannelName, u16);

/// One attachment as its connection sees it.
pub(in crate::actors) struct Attachment {
    pub channel: Addr<Channel>,
    pub filter: Filter,
    /// The last command was to attach, not to detach.
    wanted: bool,
    /// What is paid for it.
    cost: usize,
    /// Commands that the channel has yet to answer. Only the answer to the last one says whether
    /// there is an attachment: a place can get free between two requests of which the first is refused.
    unanswered: usize,
}

impl Attachments {
    /// The attachment to `channel`, unless the connection has asked to detach.
    pub fn wanted(&self, channel: &ChannelName, alias: u16) -> Option<&Attachment> {
        let attachment = self.all.get(&(channel.clone(), alias));
        attachment.filter(|attachment| attachment.wanted)
    }

    /// The same attachment, to send its channel a command.
    pub fn wanted_mut(&mut self, channel: &ChannelName, alias: u16) -> Result<&mut Attachment, Fault> {
        let attachment = self.all.get_mut(&(channel.clone(), alias));
        attachment.filter(|attachment| attachment.wanted).ok_or(Fault::NotAttached)
    }

    /// A command that its channel has not carried out was sent to the successor.
    pub fn sent_again(&mut self, name: &ChannelName, alias: u16, successor: Addr<Channel>) {
        if let Some(attachment) = self.all.get_mut(&(name.clone(), alias)) {
            attachment.move_on(successor);
            attachment.unanswered += 1;
        }
    }

    /// Whether a request to attach is on its way to a channel that lives.
    pub fn attaches_anew(&self, channel: &ChannelName, alias: u16) -> bool {
        let attachment = self.wanted(channel, alias);
        attachment.is_some_and(|attachment| attachment.unanswered > 0 && attachment.channel.connected())
    }

    /// How many there are that the connection has not asked to detach.
    pub const fn len(&self) -> usize {
        self.wanted
    }

    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.all.keys().map(|(channel, _)| channel)
    }

    /// Who takes the commands for `channel`.
    pub fn address(&self, channel: &ChannelName, alias: u16) -> Option<&Addr<Channel>> {
        let attachment = self.all.get(&(channel.clone(), alias));
        attachment.map(|attachment| &attachment.channel)
    }

    /// Makes sure that an attachment can be paid for that is about to be asked for; one that costs no more than before
    /// always can.
    pub fn make_room(
        &mut self,
        name: &ChannelName,
        alias: u16,
        cost: usize,
        account: Option<&Account>,
    ) -> Result<(), Fault> {
        let before = self.all.get(&(name.clone(), alias)).map_or(0, |attachment| attachment.cost);
        match account {
            Some(account) if cost > before => {
                let tab = self.tab.get_or_insert_with(|| Tab::new(account.clone(), Kind::Connection));
                tab.reserve(cost - before).map_err(|full| full.to_fault())
            }
            _ => Ok(()),
        }
    }

    /// A command to attach has been sent.
    pub fn attaching(&mut self, name: &ChannelName, alias: u16, channel: Addr<Channel>, filter: Filter, cost: usize) {
        let key = (name.clone(), alias);
        // A channel that has died answers nothing any more.
        let before = self.all.get(&key);
        let before = before.filter(|attachment| attachment.channel.connected());
        let unanswered = before.map_or(0, |attachment| attachment.unanswered) + 1;
        let attachment = Attachment { channel, filter, wanted: true, cost, unanswered };
        let before = self.all.insert(key, attachment);
        if let Some(tab) = &mut self.tab {
            tab.remove(before.as_ref().map_or(0, |before| before.cost));
            tab.add_anyway(cost);
        }
        if !before.is_some_and(|before| before.wanted) {
            self.wanted += 1;
        }
    }

    /// A command to detach has been sent.
    pub fn detaching(&mut self, name: &ChannelName, alias: u16) {
        if let Some(attachment) = self.all.get_mut(&(name.clone(), alias)) {
            attachment.unanswered += 1;
            if mem::replace(&mut attachment.wanted, false) {
                self.wanted -= 1;
            }
        }
    }

    pub fn answered(&mut self, channel: &ChannelName, answer: &Answer) {
        let (alias, was_refused) = match answer {
            Answer::AttachRefused { alias, .. } => (*alias, true),
            Answer::Attached(attached) => (attached.subscription.id.alias, false),
            // Nobody has asked: what was asked for is still to be answered.
            Answer::Detached { alias, fault: Some(_), .. } => {
                if let Some(attachment) = self.all.get_mut(&(channel.clone(), *alias)) {
                    attachment.unanswered += 1;
                }
                (*alias, true)
            }
            Answer::Detached { alias, .. } => (*alias, false),
            Answer::Published { .. } | Answer::PublishRefused { .. } | Answer::Broken(_) => return,
        };
        let key = (channel.clone(), alias);
        if let Some(attachment) = self.all.get_mut(&key) {
            let was_wanted = attachment.wanted;
            attachment.answered(was_refused);
            if was_wanted && !attachment.wanted {
                self.wanted -= 1;
            }
            if attachment.is_over() {
                let cost = attachment.cost;
                self.all.remove(&key);
                self.tab.iter_mut().for_each(|tab| tab.remove(cost));
            }
        }
    }

    /// Hands over everything, for good.
    pub fn take(&mut self) -> impl Iterator<Item = (ChannelName, u16, Addr<Channel>)> + use<> {
        let all = mem::take(self).all;
        all.into_iter().map(|((name, alias), attachment)| (name, alias, attachment.channel))
    }
}

impl Attachment {
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
        match worker.channel(name, None) {
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
            // The dead one answers nothing any more; commands that are sent again are counted again.
            self.unanswered = 0;
        }
        self.channel = successor;
    }
}
