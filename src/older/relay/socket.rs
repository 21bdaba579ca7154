//! The protocol handler of one relay connection (`docs/protocols/relay.md §3, §5`).

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::{
        refusals::Reason,
        transport::context::{ProtocolHandler, TransportContext},
    },
    auth::Proof,
    core::{command::Answer, frame, wire::WireFormat},
    error::CloseReason,
    ids::{ChannelName, SessionId},
    limits,
    older::relay::{
        away::Missed,
        door::Shared,
        frame::Frame,
        push::{EVERYBODY, user_channel, user_of},
        reply::{self, RelayJson},
    },
};

/// The token that was shown does not prove an identifier.
const INVALID_TOKEN: CloseReason = CloseReason::Refused {
    code: 4401,
    text: "the token proves no identifier: relay.identify says what is to be shown",
};
/// Frame after frame was not JSON.
const NONSENSE: CloseReason = CloseReason::Refused { code: 1008, text: "too many frames that are no JSON objects" };
/// The server has no room for what the connection needs.
const NO_ROOM: CloseReason =
    CloseReason::Refused { code: 1013, text: "too many channels on this server (limits.channels); come back later" };
/// Context of an attachment whose client is to be told.
const ACKNOWLEDGED: Bytes = Bytes::from_static(b"ack");

pub struct Socket {
    shared: Arc<Shared>,
    /// What the URL named.
    initial: Option<String>,
    /// The user whose pushes it gets, or asked for last.
    user: Option<String>,
    /// Where it is counted.
    entered: Vec<ChannelName>,
    /// Frames in a row that were not JSON.
    unreadable: u32,
    /// What it was sent of what it missed and has not shown yet that it has read.
    flights: VecDeque<Flight>,
    /// Such hand-overs so far.
    handed: u64,
}

/// Pushes on their way, with a ping behind them.
struct Flight {
    /// It was the how manieth; the ping carries it.
    order: u64,
    user: String,
    /// The number of the last one.
    upto: u64,
}

impl Socket {
    pub const fn new(shared: Arc<Shared>, initial: Option<String>) -> Self {
        Self { shared, initial, user: None, entered: Vec::new(), unreadable: 0, flights: VecDeque::new(), handed: 0 }
    }

    /// The last one wins; the same again changes nothing.
    fn identify(&mut self, shown: &str, is_asked: bool, transport: &mut TransportContext<'_>) {
        let proof = &self.shared.keys.get().proof;
        let user = match proof.identifier(shown, transport.now()) {
            Some(user) if user.len() <= limits::RELAY_TOKEN_BYTES => user,
            refused => {
                let (is_open, is_long) = (matches!(proof, Proof::None), shown.len() > limits::TOKEN_BYTES);
                let refusal = match refused {
                    None if !is_long => reply::invalid_token(),
                    // What proves an identifier may be longer than an identifier.
                    None if !is_open => reply::token_too_long(limits::TOKEN_BYTES),
                    _ => reply::token_too_long(limits::RELAY_TOKEN_BYTES),
                };
                transport.count_error();
                let why = || "relay: the token that was shown proves no identifier (relay.identify)".to_owned();
                transport.worker().broker.refused(Reason::Token, None, why);
                transport.send_frame(refusal);
                return transport.close(INVALID_TOKEN);
            }
        };
        let acknowledges = is_asked && self.shared.settings.identify_ack;
        if self.user.as_ref() == Some(&user) {
            let channel = user_channel(&user);
            // Not yet attached: then the attachment will tell.
            if acknowledges && self.entered.contains(&channel) {
                let connections = self.shared.delivery.groups.count(&channel);
                transport.send_frame(reply::identified(&user, connections));
            }
            return;
        }
        let channel = user_channel(&user);
        if let Some(former) = self.user.replace(user) {
            // Not attached any more, or on its way out: fine.
            let _ = transport.detach(&user_channel(&former), 0, Bytes::new());
        }
        let context = if acknowledges { ACKNOWLEDGED } else { Bytes::new() };
        attach(&channel, context, transport);
    }

    /// Sends what the user has missed, and asks behind it whether it was read.
    fn hand_over(&mut self, user: String, missed: Vec<Missed>, transport: &mut TransportContext<'_>) {
        let Some(Missed { number: upto, .. }) = missed.last() else {
            return;
        };
        self.handed += 1;
        let (order, upto) = (self.handed, *upto);
        for Missed { push, at, .. } in missed {
            transport.send_missed(reply::missed(&push, at));
        }
        self.flights.push_back(Flight { order, user, upto });
        transport.send_frame(frame::ping_with(&order.to_be_bytes()));
    }

    fn leave(&self, channel: &ChannelName, session: SessionId) {
        let delivery = &self.shared.delivery;
        let leave = || delivery.groups.leave(channel);
        match user_of(channel) {
            Some(user) => delivery.away.depart(user, session, leave),
            None => leave(),
        }
    }

    fn frame(&mut self, text: &str, transport: &mut TransportContext<'_>) {
        if !transport.may_send() {
            return transport.count_error();
        }
        match Frame::parse(text) {
            Some(frame) => {
                self.unreadable = 0;
                match frame {
                    Frame::Identify { token } => self.identify(&token, true, transport),
                    Frame::Ping { ts } => transport.send_frame(reply::pong(ts)),
                    Frame::Ignored => tracing::debug!(bytes = text.len(), "a frame is ignored"),
                }
            }
            None => {
                transport.count_error();
                self.unreadable += 1;
                if self.unreadable >= limits::RELAY_UNREADABLE_FRAMES {
                    transport.close(NONSENSE);
                }
            }
        }
    }
}

fn attach(channel: &ChannelName, context: Bytes, transport: &mut TransportContext<'_>) {
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
        attach(&EVERYBODY.into(), Bytes::new(), transport);
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
            Answer::Attached(attached) => {
                let delivery = &self.shared.delivery;
                let user = self.user.as_ref();
                let user = user.filter(|user| *channel == user_channel(user));
                let enter = || delivery.groups.enter(channel);
                let (connections, missed) = if self.entered.contains(channel) {
                    (delivery.groups.count(channel), Vec::new())
                } else {
                    self.entered.push(channel.clone());
                    match user {
                        Some(user) => delivery.away.arrive(user, transport.handle(), enter),
                        None => (enter(), Vec::new()),
                    }
                };
                if let Some(user) = user.filter(|_| attached.context == ACKNOWLEDGED) {
                    transport.send_frame(reply::identified(user, connections));
                }
                if let Some(user) = user.cloned() {
                    self.hand_over(user, missed, transport);
                }
            }
            Answer::Detached { .. } => {
                let place = self.entered.iter().position(|known| known == channel);
                if let Some(place) = place {
                    self.entered.swap_remove(place);
                    self.leave(channel, transport.handle().session);
                }
            }
            Answer::AttachRefused { .. } => transport.close(NO_ROOM),
            // It publishes nothing.
            Answer::Published { .. } | Answer::PublishRefused { .. } => {}
        }
    }

    fn ponged(&mut self, payload: &Bytes, transport: &mut TransportContext<'_>) {
        let session = transport.handle().session;
        if let Ok(order) = <[u8; 8]>::try_from(&payload[..]) {
            let order = u64::from_be_bytes(order);
            while let Some(flight) = self.flights.pop_front_if(|flight| flight.order <= order) {
                self.shared.delivery.away.confirm(&flight.user, session, flight.upto);
            }
        } else if let Some(flight) = self.flights.back() {
            // A client may answer the last of several pings only (RFC 6455 §5.5.3).
            transport.send_frame(frame::ping_with(&flight.order.to_be_bytes()));
        }
    }

    /// What another connection of the user was sent and has not read waits again.
    fn nudged(&mut self, transport: &mut TransportContext<'_>) {
        let user = self.user.clone().filter(|user| self.entered.contains(&user_channel(user)));
        if let Some(user) = user {
            let missed = self.shared.delivery.away.take(&user, transport.handle().session);
            self.hand_over(user, missed, transport);
        }
    }

    /// A close frame does not say that everything was read: what is unconfirmed may come twice, but is not lost.
    fn closed(&mut self, transport: &mut TransportContext<'_>) {
        let session = transport.handle().session;
        for channel in std::mem::take(&mut self.entered) {
            self.leave(&channel, session);
        }
        for flight in self.flights.drain(..) {
            self.shared.delivery.away.give_back(&flight.user, session);
        }
    }
}
