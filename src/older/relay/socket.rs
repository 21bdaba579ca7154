//! The protocol handler of one relay connection (`docs/protocols/relay.md §3, §5`).

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    actors::{
        inbox::{Inbox, Inboxes},
        refusals::Reason,
        transport::{ProtocolHandler, TransportContext},
    },
    auth::Proof,
    core::{command::Answer, message::Entry, wire::WireFormat},
    error::CloseReason,
    ids::ChannelName,
    limits,
    older::relay::{
        endpoint::Shared,
        frame::Frame,
        reply::RelayError,
        target::{EVERYBODY, user_channel},
        wire::{self, RELAY_JSON},
    },
};

/// Frame after frame was not JSON.
const NONSENSE: CloseReason = CloseReason::Refused { code: 1008, text: "too many frames that are no JSON objects" };
const INVALID_TOKEN: CloseReason = CloseReason::Refused {
    code: 4401,
    text: "the token proves no identifier: relay.identify says what is to be shown",
};
const TOKEN_TOO_LONG: CloseReason = CloseReason::Refused {
    code: 4401,
    text: "the token is too long: the error event before this says how many bytes it may have",
};
/// Context of an attachment whose client is to be told of it.
const ACKNOWLEDGED: Bytes = Bytes::from_static(b"ack");

pub struct Socket {
    shared: Arc<Shared>,
    /// The token of the URL, until the connection is open.
    initial: Option<String>,
    /// The user whose pushes it gets, or asked for last.
    user: Option<String>,
    /// It gets the pushes to everybody, and is counted.
    is_counted: bool,
    /// Frames in a row that were not JSON.
    unreadable: u32,
    /// It gets the pushes of the user of its inbox.
    inbox: Inbox,
}

impl Socket {
    pub fn new(shared: Arc<Shared>, initial: Option<String>) -> Self {
        let kept = Arc::clone(&shared);
        let inbox = Inbox::new(shared.delivery.inboxes.clone(), move |since, body| kept.delivery.frame(since, body));
        Self { shared, initial, user: None, is_counted: false, unreadable: 0, inbox }
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

    /// From now on the connection gets the pushes of the user that `shown` proves. The last one wins; the same again changes
    /// nothing.
    fn identify(&mut self, shown: &str, is_by_frame: bool, transport: &mut TransportContext<'_>) {
        let proof = &self.shared.keys.get().proof;
        let user = match proof.identifier(shown, transport.now()) {
            Some(user) if user.len() <= limits::RELAY_TOKEN_BYTES => user,
            None if shown.len() <= limits::TOKEN_BYTES => return refuse(RelayError::InvalidToken, transport),
            // What proves an identifier may be longer than an identifier.
            None if !matches!(proof, Proof::None) => {
                return refuse(RelayError::TokenTooLong(limits::TOKEN_BYTES), transport);
            }
            _ => return refuse(RelayError::TokenTooLong(limits::RELAY_TOKEN_BYTES), transport),
        };
        let acknowledges = is_by_frame && self.shared.settings.identify_ack;
        if self.user.as_ref() == Some(&user) {
            // Not yet attached: then the attachment acknowledges.
            if acknowledges && self.inbox.user().is_some() {
                acknowledge(&user, &self.shared.delivery.inboxes, transport);
            }
            return;
        }
        // What is pushed to the former user from now on waits for another connection.
        self.inbox.leave();
        let channel = user_channel(&user);
        if let Some(former) = self.user.replace(user) {
            // It fails when there is no attachment any more, which is what is wanted.
            let _ = transport.detach(&user_channel(&former), 0, Bytes::new());
        }
        let context = if acknowledges { ACKNOWLEDGED } else { Bytes::new() };
        subscribe(&channel, self.inbox.inboxes.is_shared(), context, transport);
    }

    /// The attachment to `channel` is there.
    fn attached(&mut self, channel: &ChannelName, is_acknowledged: bool, transport: &mut TransportContext<'_>) {
        if *channel == EVERYBODY.into() && !mem::replace(&mut self.is_counted, true) {
            self.shared.delivery.connections.fetch_add(1, Ordering::Relaxed);
        }
        let Some(user) = self.user.clone().filter(|user| *channel == user_channel(user)) else {
            return;
        };
        let inboxes = &self.shared.delivery.inboxes;
        let tell = |transport: &mut TransportContext<'_>| {
            if is_acknowledged {
                acknowledge(&user, inboxes, transport);
            }
        };
        if self.inbox.user().is_none() {
            self.inbox.enter(&user, transport, tell);
        } else {
            tell(transport);
        }
    }
}

fn acknowledge(user: &str, inboxes: &Inboxes, transport: &mut TransportContext<'_>) {
    transport.send_frame(wire::identified(user, inboxes.online.transports_of(user)));
}

/// `is_tailored`: it is looked at what is published there. `context` comes back when the attachment is there.
fn subscribe(channel: &ChannelName, is_tailored: bool, context: Bytes, transport: &mut TransportContext<'_>) {
    if transport.subscribe(channel, is_tailored, context).is_err() {
        // It would miss its pushes in silence.
        transport.close(CloseReason::NO_CHANNEL);
    }
}

fn refuse(error: RelayError, transport: &mut TransportContext<'_>) {
    transport.count_error();
    let close = if let RelayError::TokenTooLong(_) = error { TOKEN_TOO_LONG } else { INVALID_TOKEN };
    let why = || format!("relay: identify is refused: {}", error.reply().text);
    transport.worker().broker.refused(Reason::Token, None, why);
    transport.send_frame(wire::error(error));
    transport.close(close);
}

impl ProtocolHandler for Socket {
    fn format(&self) -> &'static dyn WireFormat {
        &RELAY_JSON
    }

    fn client_id(&self) -> Option<&str> {
        self.user.as_deref()
    }

    fn opened(&mut self, transport: &mut TransportContext<'_>) {
        subscribe(&EVERYBODY.into(), false, Bytes::new(), transport);
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
                if self.inbox.user().is_some_and(|user| *channel == user_channel(user)) {
                    self.inbox.leave();
                }
            }
            Answer::AttachRefused { .. } => transport.close(CloseReason::NO_CHANNEL),
            // It publishes nothing.
            Answer::Broken(_) | Answer::Published { .. } | Answer::PublishRefused { .. } => {}
        }
    }

    /// Of a user's channel, where nodes share what waits: a push that is kept says that something waits.
    fn tailored(&mut self, _: u16, entry: &Arc<Entry>) -> Option<Bytes> {
        if wire::is_kept(entry)
            && let Some(user) = self.inbox.user()
        {
            self.inbox.inboxes.fetch(user);
        }
        Some(entry.frame(self.format()).clone()).filter(|frame| !frame.is_empty())
    }

    fn inbox(&mut self) -> Option<&mut Inbox> {
        Some(&mut self.inbox)
    }

    /// A close frame does not say that everything was read: what is unconfirmed may come twice, but is not lost.
    fn closed(&mut self, _: &mut TransportContext<'_>) {
        if self.is_counted {
            self.shared.delivery.connections.fetch_sub(1, Ordering::Relaxed);
        }
        self.inbox.close();
    }
}
