//! The protocol handler of one transport of an Ably connection: frames in, commands out; answers in, frames out.
//!
//! What belongs to channels stands in `attach`, to publishes and presence in `publish`, to credentials on a live
//! connection in `reauth`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::{
        accounts::Kind,
        broker::Settings,
        connections::Owner,
        transport::context::{ProtocolHandler, Terms, TransportContext},
    },
    auth::ably::{Access, AllowedClient},
    core::{
        command::Answer,
        frame,
        hashing::FastMap,
        keepalive::Timeouts,
        message::{Body, Entry},
        wire::WireFormat,
    },
    error::{CloseReason, Fault},
    ids::{ChannelName, ConnectionId, Timestamp},
    limits,
    protocols::ably::{
        acks::Acks,
        aliases::Aliases,
        attach::{Attachment, frame_for},
        behalf::Behalf,
        comet::Door,
        endpoint::Shared,
        farewell,
        wire::{self, Action, Format, ProtocolMessage, ServerFrame, format_of},
    },
};

pub struct AblyConnection {
    pub(super) id: ConnectionId,
    pub(super) format: Format,
    /// Of the protocol, as the client named it.
    pub(super) version: u32,
    pub(super) shared: Arc<Shared>,
    pub(super) access: Access,
    /// Whom the client may speak for on this connection.
    pub(super) identity: AllowedClient,
    /// Why a connection that was to be resumed is a new one.
    resume_fault: Option<Fault>,
    pub(super) echo: bool,
    hold: Duration,
    /// An upgrade of a connection that goes on by another transport until the client says that it has changed over.
    waits: bool,
    /// Another node has told of it: it is no new one, although it is new here.
    is_from_elsewhere: bool,
    /// Where the requests of a comet conversation find it.
    door: Option<Box<Door>>,
    pub(super) acks: Acks,
    pub(super) attachments: FastMap<(ChannelName, u16), Attachment>,
    /// The names beside the plain ones that channels are attached by.
    pub(super) aliases: Aliases,
    /// When to ask the client for a new token (milliseconds of the epoch); none: not any more.
    pub(super) renewal: Option<u64>,
    /// When the token ends because it was revoked.
    pub(super) revoked_at: Option<Timestamp>,
    /// What waits until other nodes have told of their connections.
    pub(super) behalf: Option<Box<Behalf>>,
    /// The client has closed the connection for good.
    is_closed: bool,
    /// What was acknowledged on an earlier transport may come again.
    pub(super) is_resumed: bool,
    /// The last frame is sent: what still comes from the client is ignored.
    pub(super) has_ended: bool,
}

/// What a transport is opened with.
pub struct Opening {
    pub id: ConnectionId,
    pub format: Format,
    pub version: u32,
    pub access: Access,
    pub identity: AllowedClient,
    pub is_resumed: bool,
    pub resume_fault: Option<Fault>,
    pub echo: bool,
    pub hold: Duration,
    pub waits: bool,
    pub is_from_elsewhere: bool,
    pub door: Option<Box<Door>>,
}

impl AblyConnection {
    pub fn new(opening: Opening, shared: Arc<Shared>) -> Self {
        Self {
            id: opening.id,
            format: opening.format,
            version: opening.version,
            shared,
            access: opening.access,
            identity: opening.identity,
            resume_fault: opening.resume_fault,
            echo: opening.echo,
            hold: opening.hold,
            waits: opening.waits,
            is_from_elsewhere: opening.is_from_elsewhere,
            door: opening.door,
            acks: Acks::default(),
            attachments: FastMap::default(),
            aliases: Aliases::default(),
            renewal: None,
            revoked_at: None,
            behalf: None,
            is_closed: false,
            is_resumed: opening.is_resumed,
            has_ended: false,
        }
    }

    pub(super) fn say(&self, frame: &ServerFrame<'_>, transport: &mut TransportContext<'_>) {
        transport.send_frame(frame.encode(self.format));
    }

    /// Sends a fault that ends the connection, and ends it.
    pub(super) fn fail(&mut self, fault: &Fault, transport: &mut TransportContext<'_>) {
        transport.count_error();
        let error = ServerFrame::Error { channel: None, error: &fault.into() };
        self.forget(transport);
        self.say(&error, transport);
        self.end(transport);
    }

    /// Sends a fault after which the client may come back, and ends the transport.
    pub(super) fn disconnect(&mut self, fault: &Fault, transport: &mut TransportContext<'_>) {
        let disconnected = ServerFrame::Disconnected { error: &fault.into() };
        self.say(&disconnected, transport);
        self.end(transport);
    }

    pub(super) fn end(&mut self, transport: &mut TransportContext<'_>) {
        self.has_ended = true;
        transport.close(CloseReason::Done);
    }

    /// The client closes the connection for good.
    pub(super) fn close(&mut self, transport: &mut TransportContext<'_>) {
        self.forget(transport);
        self.say(&ServerFrame::Closed, transport);
        self.end(transport);
    }

    /// From now on the connection goes by this transport; an older one of it ends. False: this one ends.
    fn take_over(&mut self, transport: &mut TransportContext<'_>) -> bool {
        let owner = self.owner();
        let broker = &transport.worker().broker;
        let now = broker.clock.uptime();
        if self.waits && broker.connections.has_ended(self.id, now) {
            self.fail(&Fault::ConnectionExpired, transport);
            return false;
        }
        let charge = match transport.charge(Kind::Connection, owner.cost()) {
            Ok(charge) => charge,
            Err(full) => {
                self.disconnect(&full.to_fault(), transport);
                return false;
            }
        };
        self.waits = false;
        if broker.connections.opened(self.id, owner.clone(), transport.handle(), charge) && !self.is_from_elsewhere {
            broker.tell_connection(self.id, &owner, true);
        }
        broker.claim_connection(self.id, &owner);
        true
    }

    pub(super) fn owner(&self) -> Owner {
        Owner { app: self.access.app.id, client_id: self.identity.known().cloned() }
    }

    /// The connection is not to be resumed, and its members leave at once.
    fn forget(&mut self, transport: &mut TransportContext<'_>) {
        self.is_closed = true;
        // Before the client hears of it: it may come back at once.
        let session = transport.handle().session;
        let broker = &transport.worker().broker;
        if broker.connections.closed(self.id, session, broker.clock.uptime()) {
            broker.tell_connection(self.id, &self.owner(), false);
            broker.end_connection(self.id, &self.owner());
        }
        transport.hold(Duration::ZERO);
    }

    pub(super) fn connected(&mut self, transport: &mut TransportContext<'_>) {
        let key = self.shared.connection_keys.mint(self.access.app.id, self.id, self.identity.known());
        if let Some(door) = &mut self.door {
            door.known_by(&key);
        }
        let rate = transport.worker().broker.settings.get().frame_rate;
        let details = self.shared.details(&self.identity, &key, rate);
        let error = self.resume_fault.take().as_ref().map(Into::into);
        let connected = ServerFrame::Connected { connection_id: self.id, details: &details, error: error.as_ref() };
        self.say(&connected, transport);
    }

    pub(super) fn receive(&mut self, frame: &[u8], transport: &mut TransportContext<'_>) {
        if self.has_ended {
            return;
        }
        if self.waits_for_others() {
            return self.wait(frame, transport);
        }
        match wire::decode(self.format, frame) {
            Ok(message) if self.asks_others(frame, &message, transport) => {}
            Ok(message) => self.act(message, transport),
            // A publish is refused alone: whatever else the client does on the connection goes on.
            Err(fault) => match wire::serial_of_unreadable(self.format, frame) {
                Some(serial) => self.answer_publish(Some(serial), fault, transport),
                None => self.fail(&fault, transport),
            },
        }
    }

    fn act(&mut self, message: ProtocolMessage, transport: &mut TransportContext<'_>) {
        if self.waits && message.action.needs_connection() && !self.take_over(transport) {
            return;
        }
        match message.action {
            Action::HEARTBEAT => {
                if let Some(id) = &message.id {
                    let echo = ServerFrame::Heartbeat { id: Some(id) };
                    transport.send_delayed(echo.encode(self.format));
                }
            }
            Action::ATTACH => self.attach(message, transport),
            Action::DETACH => self.detach(message, transport),
            Action::SYNC => self.sync(message, transport),
            Action::MESSAGE => self.publish_messages(message, transport),
            Action::PRESENCE => self.publish_presence(message, transport),
            Action::AUTH => self.reauthenticate(message, transport),
            Action::DISCONNECT => self.end(transport),
            Action::CLOSE => self.close(transport),
            Action::ANNOTATION => self.publish_annotations(message, transport),
            Action::OBJECT => self.publish_objects(message, transport),
            // Actions of a server, and unknown ones, are not answered (§2.2).
            _ => {}
        }
    }
}

impl ProtocolHandler for AblyConnection {
    fn format(&self) -> &'static dyn WireFormat {
        format_of(self.format)
    }

    fn client_id(&self) -> Option<&str> {
        self.identity.as_str()
    }

    fn terms(&self, settings: &Settings) -> Terms {
        // A heartbeat for those who count frames, a ping for those who count bytes; the answer to the
        // ping shows that the client lives (§1.5).
        let heartbeat = ServerFrame::Heartbeat { id: None }.encode(self.format);
        let ping = [heartbeat, frame::ping()].concat().into();
        let timeouts = self.shared.settings.timeouts(settings);
        // Between two requests to receive, everything waits.
        let timeouts = match self.door {
            Some(_) => Timeouts {
                idle_timeout: limits::COMET_IDLE_TIMEOUT,
                stall_timeout: timeouts.stall_timeout.max(limits::COMET_IDLE_TIMEOUT),
                ..timeouts
            },
            None => timeouts,
        };
        Terms {
            connection: self.id,
            ping,
            timeouts,
            farewell: farewell::of(self.format),
            hold: self.hold,
            app: self.access.app.id,
            ..Terms::new(settings)
        }
    }

    fn opened(&mut self, transport: &mut TransportContext<'_>) {
        if self.waits || self.take_over(transport) {
            self.connected(transport);
            self.begin_watch(transport);
        }
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        self.receive(text.as_bytes(), transport);
    }

    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>) {
        self.receive(&data, transport);
    }

    fn over_rate(&mut self, frame: &Bytes, transport: &mut TransportContext<'_>) {
        self.answer_over_rate(frame, transport);
    }

    fn answered(&mut self, channel: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        if self.has_ended {
            return;
        }
        match answer {
            Answer::Attached(attached) | Answer::Broken(attached) => self.attached(channel, *attached, transport),
            Answer::Detached { alias, context, .. } => self.detached(channel, alias, &context, transport),
            Answer::AttachRefused { alias, fault } => {
                self.attach_refused(channel, alias, &fault, transport);
            }
            Answer::Published { token, published } => {
                self.acks.settle(token, Ok(published));
                self.tell_outcomes(transport);
            }
            Answer::PublishRefused { token, fault } => {
                if let Some(token) = token {
                    self.acks.settle(token, Err(fault));
                    self.tell_outcomes(transport);
                }
            }
        }
    }

    fn tailored(&mut self, alias: u16, entry: &Arc<Entry>) -> Option<Bytes> {
        let attachment = self.attachments.get_mut(&(entry.channel.clone(), alias))?;
        let difference = attachment.deltas.as_mut().map(|deltas| deltas.next(entry));
        let entry = difference.as_ref().unwrap_or(entry);
        let category = attachment.occupancy_category().filter(|_| matches!(entry.body, Body::Occupancy(_)));
        Some(frame_for(alias, &attachment.requested, entry, self.format, category))
    }

    fn woken(&mut self, transport: &mut TransportContext<'_>) {
        self.watch_expiry(transport);
    }

    fn nudged(&mut self, transport: &mut TransportContext<'_>) {
        self.go_on_for_others(transport);
    }

    fn credentials_changed(&mut self, transport: &mut TransportContext<'_>) {
        if self.has_ended {
            return;
        }
        match self.shared.gate.check_app(&self.access.app) {
            Ok(()) => self.watch_revocation(transport),
            Err(fault) => self.fail(&fault, transport),
        }
    }

    fn superseded(&mut self, transport: &mut TransportContext<'_>) {
        if !self.has_ended {
            self.disconnect(&Fault::TransportSuperseded, transport);
        }
    }

    fn closed(&mut self, transport: &mut TransportContext<'_>) {
        if !self.is_closed {
            let session = transport.handle().session;
            let broker = &transport.worker().broker;
            broker.connections.lost(self.id, session, broker.clock.uptime());
        }
    }
}

/// Longest time between two signs of life of the server. Below what clients are promised by as much as the
/// hub's look at its connections may be late.
pub const HEARTBEAT_INTERVAL: Duration = limits::MAX_IDLE_INTERVAL.saturating_sub(Duration::from_secs(2));
