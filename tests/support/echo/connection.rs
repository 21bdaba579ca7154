//! One client of an echo room.

use std::sync::Arc;

use actix_web::rt;
use bytes::Bytes;
use bytestring::ByteString;
use letshare_server::{
    actors::{
        fanout::hub::TransportHandle,
        online::Registration,
        transport::{ProtocolHandler, TransportContext},
    },
    core::{
        command::Answer,
        frame,
        message::{Data, Entry, Message, Payload},
        wire::{Slot, WireFormat, each},
    },
    ids::ChannelName,
    store::mailbox::{self, Bounds, UNTIL_READ, Unconfirmed},
};

use super::{Echo, EchoError};

const BOUNDS: Bounds = Bounds { messages: 16, bytes: 4096 };

pub struct Connection {
    echo: Echo,
    room: Option<ChannelName>,
    me: Registration<String>,
    /// The last message of its mailbox that it was sent.
    sent: u64,
    unread: Unconfirmed<u64>,
}

impl Connection {
    pub fn new(echo: Echo, user: String, room: Option<ChannelName>) -> Self {
        let me = echo.online.register(user, ());
        Self { echo, room, me, sent: 0, unread: Unconfirmed::default() }
    }

    fn refuse(error: &EchoError, transport: &mut TransportContext<'_>) {
        transport.count_error();
        transport.send_text(format!("error {}: {error}", error.status()).as_bytes());
    }

    fn say(&self, text: &ByteString, transport: &mut TransportContext<'_>) -> Result<(), EchoError> {
        match (text.strip_prefix('@').and_then(|text| text.split_once(' ')), &self.room) {
            (Some((user, text)), _) => self.leave(user, text.to_owned().into())?,
            (None, Some(room)) => {
                let payload = Payload { data: Data::Text(text.clone()), ..Payload::default() };
                transport.publish(room, Message { payload, ..Message::default() })?;
            }
            (None, None) => transport.send_text(text.as_bytes()),
        }
        Ok(())
    }

    /// The message is on disk before its user hears that there is one.
    fn leave(&self, user: &str, body: Bytes) -> Result<(), EchoError> {
        let (mailboxes, mailbox) = (&self.echo.mailboxes, self.echo.mailboxes.of(user));
        let message = mailbox::Message { bytes: body.len(), body, since: UNTIL_READ, level: 0, key: "".into() };
        let mut contents = mailbox.lock();
        let put = contents.queue.put(message, BOUNDS, 0, &mailboxes.payers).map_err(|_| EchoError::MailboxFull)?;
        drop(contents);
        let (written, online, user) = (mailboxes.write(&mailbox, put), Arc::clone(&self.echo.online), user.to_owned());
        rt::spawn(async move {
            if written.await.is_ok() {
                online.registered(&user).iter().filter_map(|one| one.handle()).for_each(TransportHandle::nudge);
            }
        });
        Ok(())
    }
}

impl ProtocolHandler for Connection {
    fn format(&self) -> &'static dyn WireFormat {
        &EchoText
    }

    fn opened(&mut self, transport: &mut TransportContext<'_>) {
        self.me.enter(transport.handle(), transport.now(), false);
        let subscribed = self.room.as_ref().map_or(Ok(()), |room| transport.subscribe(room, false, Bytes::new()));
        if let Err(fault) = subscribed {
            Self::refuse(&fault.into(), transport);
        }
        self.nudged(transport);
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        if let Err(error) = self.say(&text, transport) {
            Self::refuse(&error, transport);
        }
    }

    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>) {
        transport.send_frame(frame::binary(&data));
    }

    fn answered(&mut self, _: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        if let Answer::AttachRefused { fault, .. } | Answer::PublishRefused { fault, .. } = answer {
            Self::refuse(&fault.into(), transport);
        }
    }

    /// Something is in its mailbox. Behind what it is sent comes a ping: whoever answers that has read it.
    fn nudged(&mut self, transport: &mut TransportContext<'_>) {
        let (mailboxes, mailbox) = (&self.echo.mailboxes, self.echo.mailboxes.of(&self.me.user));
        let numbers: Vec<u64> = mailbox.lock().queue.behind(self.sent).map(|(number, _)| number).collect();
        for number in numbers {
            let Ok(Some(body)) = mailboxes.body(&mailbox.name, number) else { break };
            transport.send_text(&body);
            self.unread.push(number, body.len());
            self.sent = number;
        }
        self.unread.ping().into_iter().for_each(|payload| transport.send_frame(frame::ping_with(&payload)));
    }

    fn ponged(&mut self, payload: &Bytes, transport: &mut TransportContext<'_>) {
        let mailbox = self.echo.mailboxes.of(&self.me.user);
        self.echo.mailboxes.remove(&mailbox, self.unread.pong(payload));
        self.nudged(transport);
    }

    /// The mailbox is forgotten if it is empty.
    fn closed(&mut self, _: &mut TransportContext<'_>) {
        self.echo.mailboxes.release(&self.echo.mailboxes.of(&self.me.user));
    }
}

/// A message as its text, one frame each.
struct EchoText;

impl WireFormat for EchoText {
    fn slot(&self) -> Slot {
        Slot::RelayJson
    }

    fn encode(&self, entry: &Entry) -> Bytes {
        each(entry, |message| match &message.payload.data {
            Data::Text(text) => frame::text(text.as_bytes()),
            _ => Bytes::new(),
        })
    }
}
