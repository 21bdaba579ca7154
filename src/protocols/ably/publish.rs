//! MESSAGE, PRESENCE, ANNOTATION and OBJECT frames of a client, and the answers to them
//! (`docs/protocols/ably.md §6, §7.1, §9.6, §10.4`).

use crate::{
    actors::transport::context::TransportContext,
    auth::ably::AllowedClient,
    core::{
        capability::Operation,
        command::Publish,
        message::{Body, EntryId},
        modes::Modes,
        presence::{EventPosition, PresenceEvent},
    },
    error::Fault,
    ids::ChannelName,
    limits,
    protocols::ably::{
        annotations,
        attach::Attachment,
        connection::AblyConnection,
        messages::{self, Publisher},
        name::Name,
        objects,
        operate::Operator,
        wire::{ProtocolMessage, ServerFrame, WirePresence},
    },
};

impl AblyConnection {
    pub(super) fn publish_messages(&mut self, message: ProtocolMessage, transport: &mut TransportContext<'_>) {
        let serial = message.msg_serial;
        self.publish(serial, transport, |connection, transport| connection.check_messages(message, transport));
    }

    pub(super) fn publish_presence(&mut self, message: ProtocolMessage, transport: &mut TransportContext<'_>) {
        let serial = message.msg_serial;
        self.publish(serial, transport, |connection, transport| connection.check_presence(message, transport));
    }

    pub(super) fn publish_annotations(&mut self, message: ProtocolMessage, transport: &mut TransportContext<'_>) {
        let serial = message.msg_serial;
        self.publish(serial, transport, |connection, transport| connection.check_annotations(message, transport));
    }

    pub(super) fn publish_objects(&mut self, message: ProtocolMessage, transport: &mut TransportContext<'_>) {
        let serial = message.msg_serial;
        self.publish(serial, transport, |connection, transport| connection.check_objects(message, transport));
    }

    fn publish(
        &mut self,
        serial: Option<u64>,
        transport: &mut TransportContext<'_>,
        check: impl FnOnce(&mut Self, &TransportContext<'_>) -> Result<(ChannelName, Publish), Fault>,
    ) {
        let serial = serial.unwrap_or_default();
        if !self.acks.expect(serial) {
            return;
        }
        let sent = check(self, transport).and_then(|(channel, publish)| {
            let publish = Publish { reply: Some(transport.reply(Some(serial))), ..publish };
            transport.send(&channel, publish)
        });
        if let Err(fault) = sent {
            self.acks.settle(serial, Err(fault));
            self.tell_outcomes(transport);
        }
    }

    /// Answers a frame that is not published at all.
    pub(super) fn answer_publish(&mut self, serial: Option<u64>, fault: Fault, transport: &mut TransportContext<'_>) {
        self.publish(serial, transport, |_, _| Err(fault));
    }

    pub(super) fn tell_outcomes(&mut self, transport: &mut TransportContext<'_>) {
        while let Some((msg_serial, outcome)) = self.acks.take_next() {
            match outcome {
                Ok(published) => {
                    let res = [published];
                    let ack =
                        ServerFrame::Ack { msg_serial, count: 1, res: (self.version >= SERIALS_SINCE).then_some(&res) };
                    self.say(&ack, transport);
                }
                Err(fault) => {
                    transport.count_error();
                    let nack = ServerFrame::Nack { msg_serial, count: 1, error: &(&fault).into() };
                    self.say(&nack, transport);
                }
            }
        }
    }

    /// The checks of §6.1, in its order.
    fn check_messages(
        &mut self,
        message: ProtocolMessage,
        transport: &TransportContext<'_>,
    ) -> Result<(ChannelName, Publish), Fault> {
        let name = Name::parse(message.channel.clone().unwrap_or_default())?;
        let channel = name.channel(self.access.app.id);
        let is_forced = message.params.get("_forceNack").is_some_and(|value| value == "true");
        if let [only] = &message.messages[..]
            && only.action != messages::CREATE
        {
            return if is_forced { Err(Fault::ForcedNack) } else { self.check_operation(message, name, channel) };
        }
        let may = self.check_may(&name, &channel, Operation::Publish, Modes::PUBLISH);
        let may = may.and_then(|()| self.check_identified(&channel));
        let may = may.and(if is_forced { Err(Fault::ForcedNack) } else { Ok(()) });
        let refusal = self.refusal(may)?;
        let publisher = self.publisher(&name, transport);
        let checked = messages::check(message.messages, &publisher, &self.shared.settings);
        let checked = checked.map_err(|fault| refusal.as_deref().cloned().unwrap_or(fault))?;
        let id = checked.id.unwrap_or_else(|| self.frame_id(message.msg_serial));
        let publish = Publish {
            publisher: checked.publisher,
            is_ephemeral: checked.is_ephemeral,
            refusal,
            ..Publish::new(id, Body::Messages(checked.messages))
        };
        Ok((channel, publish))
    }

    /// The id of what a frame publishes that names none.
    fn frame_id(&self, msg_serial: Option<u64>) -> EntryId {
        EntryId::Frame { connection: self.id, msg_serial: msg_serial.unwrap_or_default() }
    }

    fn check_annotations(
        &mut self,
        message: ProtocolMessage,
        transport: &TransportContext<'_>,
    ) -> Result<(ChannelName, Publish), Fault> {
        let name = Name::parse(message.channel.unwrap_or_default())?;
        let channel = name.channel(self.access.app.id);
        let may = self.check_may(&name, &channel, Operation::AnnotationPublish, Modes::ANNOTATION_PUBLISH);
        let may = may.and_then(|()| self.check_identified(&channel));
        let may = may.and_then(|()| self.access.app.check_mutable(&channel));
        let refusal = self.refusal(may)?;
        let publisher = self.publisher(&name, transport);
        let checked = annotations::check(message.annotations, None, &publisher, &self.shared.settings);
        let (annotations, id) = checked.map_err(|fault| refusal.as_deref().cloned().unwrap_or(fault))?;
        let id = id.unwrap_or_else(|| self.frame_id(message.msg_serial));
        Ok((channel, Publish { publisher: Some(self.id), refusal, ..Publish::new(id, Body::Annotations(annotations)) }))
    }

    /// What is done to objects (§10.4).
    fn check_objects(
        &mut self,
        message: ProtocolMessage,
        transport: &TransportContext<'_>,
    ) -> Result<(ChannelName, Publish), Fault> {
        let name = Name::parse(message.channel.unwrap_or_default())?;
        let channel = name.channel(self.access.app.id);
        let may = self.check_may(&name, &channel, Operation::ObjectPublish, Modes::OBJECT_PUBLISH);
        let refusal = self.refusal(may.and_then(|()| self.check_identified(&channel)))?;
        let publisher = self.publisher(&name, transport);
        let checked = objects::check(message.state, &publisher, &self.shared.settings, transport.now());
        let (operations, id) = checked.map_err(|fault| refusal.as_deref().cloned().unwrap_or(fault))?;
        let id = id.unwrap_or_else(|| self.frame_id(message.msg_serial));
        Ok((channel, Publish { publisher: Some(self.id), refusal, ..Publish::new(id, Body::Objects(operations)) }))
    }

    fn publisher<'a>(&'a self, name: &Name, transport: &'a TransportContext<'_>) -> Publisher<'a> {
        let broker = &transport.worker().broker;
        Publisher {
            app: self.access.app.id,
            identity: &self.identity,
            user_claim: self.access.user_claim(&name.base),
            connection: Some(self.id),
            keys: &self.shared.connection_keys,
            connections: &broker.connections,
            elsewhere: self.behalf.as_ref().and_then(|behalf| behalf.found.as_ref()),
            uptime: broker.clock.uptime(),
        }
    }

    /// An update, delete or append (§9.1).
    fn check_operation(
        &self,
        mut message: ProtocolMessage,
        name: Name,
        channel: ChannelName,
    ) -> Result<(ChannelName, Publish), Fault> {
        let operator = Operator {
            access: &self.access,
            identity: &self.identity,
            name: &name,
            channel: &channel,
            max_message_bytes: self.shared.settings.max_message_bytes,
        };
        let id = self.frame_id(message.msg_serial);
        let item = message.messages.pop().unwrap_or_default();
        let may = operator.check_may(item.action);
        let own_only = may.as_ref().is_ok_and(|own_only| *own_only);
        let refusal = self.refusal(may.map(drop))?;
        let operation = operator.check(item, own_only);
        let operation = operation.map_err(|fault| refusal.as_deref().cloned().unwrap_or(fault))?;
        let body = Body::Operation(Box::new(operation));
        let publish = Publish { publisher: Some(self.id), own_only, refusal, ..Publish::new(id, body) };
        Ok((channel, publish))
    }

    /// A resumed client may repeat a publish that was acknowledged before its credentials changed. Then the channel, which
    /// knows the outcome, answers as before (§4.5) or with this refusal. Without a resume it is refused here.
    fn refusal(&self, may: Result<(), Fault>) -> Result<Option<Box<Fault>>, Fault> {
        match may {
            Ok(()) => Ok(None),
            Err(fault) if self.is_resumed => Ok(Some(Box::new(fault))),
            Err(fault) => Err(fault),
        }
    }

    /// The capability first, the attachment's modes after it.
    fn check_may(&self, name: &Name, channel: &ChannelName, operation: Operation, mode: Modes) -> Result<(), Fault> {
        let is_allowed = self.access.allows(&name.resource(), operation);
        if !is_allowed || name.is_meta() {
            return Err(self.access.not_permitted(operation.name(), &name.resource()));
        }
        if self.attachment(name, channel).is_some_and(|attachment| !attachment.modes.has(mode)) {
            let mode = match mode {
                Modes::PRESENCE => "PRESENCE",
                Modes::ANNOTATION_PUBLISH => "ANNOTATION_PUBLISH",
                Modes::OBJECT_PUBLISH => "OBJECT_PUBLISH",
                _ => "PUBLISH",
            };
            return Err(Fault::ModeNotRequested { mode });
        }
        Ok(())
    }

    /// The attachment that the client has by this name.
    fn attachment(&self, name: &Name, channel: &ChannelName) -> Option<&Attachment> {
        let key = (channel.clone(), self.aliases.known(name)?);
        self.attachments.get(&key).filter(|attachment| attachment.requested == name.whole)
    }

    /// Whether the channel is one for clients that are known (§5.2).
    pub(super) fn check_identified(&self, channel: &ChannelName) -> Result<(), Fault> {
        let attributes = self.access.app.attributes_of(channel);
        if attributes.identified_only && self.identity == AllowedClient::Anonymous {
            return Err(Fault::NotIdentified);
        }
        Ok(())
    }

    fn check_presence(
        &mut self,
        message: ProtocolMessage,
        transport: &TransportContext<'_>,
    ) -> Result<(ChannelName, Publish), Fault> {
        let name = Name::parse(message.channel.clone().unwrap_or_default())?;
        let channel = name.channel(self.access.app.id);
        let may = self.check_may(&name, &channel, Operation::Presence, Modes::PRESENCE);
        // An attached client may leave, even if its credentials no longer allow it to be present.
        let only_leaves = !message.presence.is_empty() && message.presence.iter().all(WirePresence::is_leave);
        let is_attached = self.attachment(&name, &channel).is_some();
        let may = may.or_else(|fault| if only_leaves && is_attached { Ok(()) } else { Err(fault) });
        let refusal = self.refusal(may)?;
        let msg_serial = message.msg_serial.unwrap_or_default();
        let events = self.events(message, &name).map_err(|fault| refusal.as_deref().cloned().unwrap_or(fault))?;
        let publish = Publish {
            attached: Some(transport.handle().session),
            publisher: Some(self.id),
            refusal,
            ..Publish::new(EntryId::Frame { connection: self.id, msg_serial }, Body::Presence(events))
        };
        Ok((channel, publish))
    }

    fn events(&self, message: ProtocolMessage, name: &Name) -> Result<Vec<PresenceEvent>, Fault> {
        let msg_serial = message.msg_serial.unwrap_or_default();
        let limit = limits::FRAME_ITEMS;
        if message.presence.len() > limit {
            return Err(Fault::TooManyMessages { limit });
        }
        let events = message.presence.into_iter().enumerate();
        let events = events.map(|(index, item)| self.event(item, msg_serial, index));
        let mut events = events.collect::<Result<Vec<_>, Fault>>()?;
        for event in &mut events {
            messages::claim(&mut event.extras, self.access.user_claim(&name.base));
        }
        let size: usize = events.iter().map(PresenceEvent::size).sum();
        let limit = self.shared.settings.max_message_bytes;
        // Clients put many enters into one frame: the limit is for each of them.
        if let Some(large) = events.iter().find(|event| event.size() > limit) {
            let (what, size) = ("a presence event", large.size());
            return Err(Fault::TooLarge { what, size, limit });
        }
        let frame_limit = limits::PRESENCE_FRAME_BYTES;
        if size > frame_limit {
            let (what, limit) = ("the presence events of one frame", frame_limit);
            return Err(Fault::TooLarge { what, size, limit });
        }
        Ok(events)
    }

    fn event(&self, item: WirePresence, msg_serial: u64, index: usize) -> Result<PresenceEvent, Fault> {
        let claimed = item.client_id.as_deref();
        let client_id = self.identity.attribute(claimed)?;
        let client_id = client_id.ok_or(Fault::PresenceWithoutClientId)?;
        // A member that its client enters again has the id that it had (RTP17g). Others judge by it what is newer, so
        // nothing else may stand there (§7.2).
        let id = item.id.clone().filter(|id| EventPosition::of(self.id, id).is_some());
        let id = id.unwrap_or_else(|| format!("{}:{msg_serial}:{index}", self.id).into());
        item.into_event(id, client_id)
    }
}

/// The protocol version from which on an ACK carries the serials (§1.3).
const SERIALS_SINCE: u32 = 5;
