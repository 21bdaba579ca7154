//! The protocol handler of one relay connection (`docs/protocols/relay.md §3, §5`).

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::{
        online::Registration,
        transport::context::{ProtocolHandler, TransportContext},
    },
    core::{command::Answer, frame::ping_with, wire::WireFormat},
    error::CloseReason,
    ids::ChannelName,
    limits,
    older::relay::{
        away::{Missed, MissedId},
        endpoint::Shared,
        frame::Frame,
        identify::ACKNOWLEDGED,
        target::{EVERYBODY, user_channel},
        wire::{self, RelayJson},
    },
    store::mailbox::Unconfirmed,
};

/// Frame after frame was not JSON.
const NONSENSE: CloseReason = CloseReason::Refused { code: 1008, text: "too many frames that are no JSON objects" };
/// The server has no room for what the connection needs.
const NO_ROOM: CloseReason =
    CloseReason::Refused { code: 1013, text: "too many channels on this server (limits.channels); come back later" };

pub struct Socket {
    pub shared: Arc<Shared>,
    /// The token of the URL, until the connection is open.
    initial: Option<String>,
    /// The user whose pushes it gets, or asked for last.
    pub user: Option<String>,
    /// It gets the pushes to everybody, and is counted.
    is_counted: bool,
    /// It gets the pushes of `user`.
    pub registration: Option<Registration<String>>,
    /// Frames in a row that were not JSON.
    unreadable: u32,
    /// What it was sent of what its users have missed.
    unconfirmed: Unconfirmed<MissedId>,
}

impl Socket {
    pub fn new(shared: Arc<Shared>, initial: Option<String>) -> Self {
        Self {
            shared,
            initial,
            user: None,
            is_counted: false,
            registration: None,
            unreadable: 0,
            unconfirmed: Unconfirmed::default(),
        }
    }

    fn frame(&mut self, text: &str, transport: &mut TransportContext<'_>) {
        let Some(frame) = Frame::parse(text) else {
            transport.count_error();
            self.unreadable += 1;
            if self.unreadable >= limits::RELAY_UNREADABLE_FRAMES {
                transport.close(NONSENSE);
            }
            return;
        };
        self.unreadable = 0;
        match frame {
            Frame::Identify { token } => self.identify(&token, true, transport),
            Frame::Ping { ts } => transport.send_frame(wire::pong(ts)),
            Frame::Ignored => tracing::debug!(bytes = text.len(), "a frame is ignored"),
        }
    }

    /// Sends what the user has missed, and asks behind it whether it was read.
    fn send_missed(&mut self, missed: Vec<Missed>, transport: &mut TransportContext<'_>) {
        let frames = missed.into_iter().map(|Missed { id, push, at }| {
            let frame = wire::missed(&push, at);
            self.unconfirmed.push(id, frame.len());
            frame
        });
        transport.send_missed(frames.collect());
        self.ping(transport);
    }

    fn ping(&mut self, transport: &mut TransportContext<'_>) {
        if let Some(payload) = self.unconfirmed.ping() {
            transport.send_frame(ping_with(&payload));
        }
    }

    /// The attachment to `channel` is there.
    fn attached(&mut self, channel: &ChannelName, is_acknowledged: bool, transport: &mut TransportContext<'_>) {
        let delivery = &self.shared.delivery;
        if *channel == EVERYBODY.into() && !mem::replace(&mut self.is_counted, true) {
            delivery.connections.fetch_add(1, Ordering::Relaxed);
        }
        let Some(user) = self.user.clone().filter(|user| *channel == user_channel(user)) else {
            return;
        };
        let mut missed = Vec::new();
        if self.registration.is_none() {
            let (registration, handle) = (delivery.online.register(user.clone(), ()), transport.handle());
            missed = delivery.away.hand_over(&user, handle.session, || {
                registration.enter(handle.clone(), transport.now(), false);
            });
            self.registration = Some(registration);
        }
        if is_acknowledged {
            transport.send_frame(wire::identified(&user, delivery.online.transports_of(&user)));
        }
        self.send_missed(missed, transport);
    }
}

/// `context` comes back when the attachment is there.
pub fn subscribe(channel: &ChannelName, context: Bytes, transport: &mut TransportContext<'_>) {
    if transport.subscribe(channel, false, context).is_err() {
        // It would miss its pushes in silence.
        transport.close(NO_ROOM);
    }
}

impl ProtocolHandler for Socket {
    fn format(&self) -> &'static dyn WireFormat {
        &RelayJson
    }

    fn opened(&mut self, transport: &mut TransportContext<'_>) {
        subscribe(&EVERYBODY.into(), Bytes::new(), transport);
        if let Some(token) = self.initial.take() {
            self.identify(&token, false, transport);
        }
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        self.frame(&text, transport);
    }

    /// The older server reads both kinds of frames as JSON.
    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>) {
        self.frame(&String::from_utf8_lossy(&data), transport);
    }

    fn answered(&mut self, channel: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        match answer {
            Answer::Attached(attached) => self.attached(channel, attached.context == ACKNOWLEDGED, transport),
            // It was attached and has asked for the same user again meanwhile: no push reaches it until that attachment
            // is there.
            Answer::Detached { .. } => {
                self.registration.take_if(|registration| *channel == user_channel(&registration.user));
            }
            Answer::AttachRefused { .. } => transport.close(NO_ROOM),
            // It publishes nothing.
            Answer::Published { .. } | Answer::PublishRefused { .. } => {}
        }
    }

    fn ponged(&mut self, payload: &Bytes, transport: &mut TransportContext<'_>) {
        let read = self.unconfirmed.pong(payload);
        self.shared.delivery.away.confirm(&read);
        self.ping(transport);
    }

    /// What another connection of the user was sent and has not read waits again.
    fn nudged(&mut self, transport: &mut TransportContext<'_>) {
        if let Some(registration) = &self.registration {
            let session = transport.handle().session;
            let missed = self.shared.delivery.away.hand_over(&registration.user, session, || {});
            self.send_missed(missed, transport);
        }
    }

    /// A close frame does not say that everything was read: what is unconfirmed may come twice, but is not lost.
    fn closed(&mut self, transport: &mut TransportContext<'_>) {
        let delivery = &self.shared.delivery;
        if self.is_counted {
            delivery.connections.fetch_sub(1, Ordering::Relaxed);
        }
        self.registration = None;
        delivery.away.give_back(&self.unconfirmed.drain(), transport.handle().session);
    }
}
