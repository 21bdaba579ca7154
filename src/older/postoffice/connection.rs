//! The protocol handler of one connection: takes the letters of its client, and sends it those of its own mailbox
//! (`docs/protocols/postoffice.md §3, §4`).
//!
//! Letters come by the channel of the mailbox, which encodes each once for all who read it. Their numbers have no holes:
//! a connection sees which ones it has not got, and takes those out of the queue of the mailbox. A letter leaves the
//! queue when the client has answered a ping that was sent behind it. Only so many letters may be on the way; more wait.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use crate::{
    actors::{
        broker,
        transport::context::{ProtocolHandler, Terms, TransportContext},
    },
    core::{
        command::Answer,
        frame,
        message::{Entry, EntryId},
        wire::WireFormat,
    },
    error::{CloseReason, Fault},
    ids::{ChannelName, ConnectionId, SessionId},
    older::postoffice::{
        access::Principal,
        elsewhere::publisher_of,
        format::POST_OFFICE_JSON,
        owner::{Reader, ReaderHandle},
        refusal::{About, Refusal},
        shared::{ConnectionSlot, Mailbox, Shared},
        submit::submit,
    },
    store::mailbox::Unconfirmed,
};

pub struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) principal: Principal,
    slot: Arc<ConnectionSlot>,
    started: Option<u64>,
    /// The publisher of the letters of the mailbox in its channel.
    publisher: ConnectionId,
    session: Option<SessionId>,
    /// Attached: what is published comes.
    is_ready: bool,
    /// More is in the mailbox than may be on the way.
    is_behind: bool,
    /// The highest number that was sent.
    highest: u64,
    /// The numbers of letters on the way.
    unconfirmed: Unconfirmed<u64>,
    /// Letters of this client that are on their way into mailboxes that nodes share, in order.
    pub(super) letters: Option<Arc<tokio::sync::Mutex<()>>>,
}

impl Connection {
    pub fn new(
        shared: Arc<Shared>,
        mailbox: Arc<Mailbox>,
        principal: Principal,
        slot: Arc<ConnectionSlot>,
        started: Option<u64>,
    ) -> Self {
        let letters = shared.mailboxes.sharing().map(|_| Arc::default());
        let publisher = match shared.mailboxes.sharing() {
            None => mailbox.lock().owner.publisher,
            Some(_) => publisher_of(&mailbox.name),
        };
        Self {
            shared,
            mailbox,
            principal,
            slot,
            started,
            publisher,
            session: None,
            is_ready: false,
            is_behind: false,
            highest: 0,
            unconfirmed: Unconfirmed::default(),
            letters,
        }
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared.mailboxes.sharing().is_some()
    }

    /// Tells the client why a letter of its own was not taken.
    pub(super) fn refuse(&self, refusal: &Refusal, about: &About<'_>, transport: &mut TransportContext<'_>) {
        transport.count_error();
        if !self.shared.is_silent() {
            transport.send_frame(refusal.frame(about));
        }
    }

    fn refuse_attachment(&self, fault: Fault, transport: &mut TransportContext<'_>) {
        self.refuse(&fault.into(), &About::default(), transport);
        transport.close(CloseReason::Done);
    }

    /// The ping that asks whether everything so far was read; empty when there is nothing to ask.
    fn ping(&mut self) -> Bytes {
        self.unconfirmed.ping().map_or_else(Bytes::new, |payload| frame::ping_with(&payload))
    }

    /// Everything in the mailbox that was not sent, as far as it may be on the way, as finished frames.
    fn gather(&mut self) -> Bytes {
        let Some(session) = self.session else {
            return Bytes::new();
        };
        let mut frames = BytesMut::new();
        let was_behind = self.is_behind;
        let (mut after, mut is_short) = (0, true);
        while is_short {
            is_short = false;
            for (number, text) in self.plan(session, after) {
                after = number;
                // Without the lock: the store's thread takes it, and everybody's writes would wait for these reads.
                if let Some(text) = text.or_else(|| self.shared.text(&self.mailbox, number)) {
                    frames.extend_from_slice(&frame::text(&text));
                } else {
                    // It is gone or cannot be read: there is room for another one.
                    self.unconfirmed.take_back(&number);
                    is_short = self.is_behind;
                }
            }
        }
        if self.is_behind && !was_behind {
            self.shared.spill(&self.mailbox);
        }
        frames.extend_from_slice(&self.ping());
        frames.freeze()
    }

    /// The numbers behind `after` of what is to be sent now, in order, noted as on the way; with the text where that is
    /// in memory.
    fn plan(&mut self, session: SessionId, after: u64) -> Vec<(u64, Option<Bytes>)> {
        let mut planned = Vec::new();
        let mut contents = self.mailbox.lock();
        self.is_behind = false;
        for (number, waiting) in contents.queue.behind(after) {
            if self.unconfirmed.has(&number) {
                continue;
            }
            if !self.unconfirmed.has_room() {
                self.is_behind = true;
                break;
            }
            planned.push((number, waiting.body.clone()));
            self.unconfirmed.push(number, waiting.bytes());
            self.highest = self.highest.max(number);
        }
        if !self.is_behind {
            self.highest = contents.queue.last();
        }
        contents.owner.set_behind(session, self.is_behind, self.highest);
        planned
    }

    /// A letter by the channel.
    fn arrived(&mut self, number: u64, entry: &Entry) -> Bytes {
        let has_room = self.unconfirmed.has_room();
        if number <= self.highest || (self.is_behind && !has_room) {
            return Bytes::new();
        }
        if number != self.highest + 1 || self.is_behind || !has_room {
            return self.gather();
        }
        let letter = entry.frame(self.format());
        self.unconfirmed.push(number, letter.len());
        self.highest = number;
        let ping = self.ping();
        if ping.is_empty() {
            return letter.clone();
        }
        [&letter[..], &ping[..]].concat().into()
    }
}

/// Sends finished frames, if there are any.
fn send(frames: Bytes, transport: &mut TransportContext<'_>) {
    if !frames.is_empty() {
        transport.send_frame(frames);
    }
}

impl ProtocolHandler for Connection {
    fn format(&self) -> &'static dyn WireFormat {
        &POST_OFFICE_JSON
    }

    fn terms(&self, settings: &broker::Settings) -> Terms {
        let mut terms = Terms::new(settings);
        if !self.shared.is_silent() {
            terms.farewell = |reason| match reason {
                CloseReason::TooBig { limit } => Some(Refusal::FrameTooLarge(limit).frame(&About::default())),
                _ => None,
            };
        }
        terms
    }

    fn opened(&mut self, transport: &mut TransportContext<'_>) {
        let handle = transport.handle();
        self.session = Some(handle.session);
        let reader = Reader {
            session: handle.session,
            handle: ReaderHandle { transport: handle, slot: Arc::clone(&self.slot) },
            started: self.started,
            is_ready: false,
            is_behind: false,
            is_claimed: false,
        };
        let session = reader.session;
        if !self.shared.enter(&self.mailbox, reader) {
            return transport.close(CloseReason::Replaced);
        }
        self.shared.claim(&self.mailbox, session, &transport.worker().broker);
        let channel = self.mailbox.lock().owner.channel.clone();
        if let Err(fault) = transport.subscribe(&channel, true, Bytes::new()) {
            self.refuse_attachment(fault, transport);
        }
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        submit(self, &text, transport);
    }

    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>) {
        match ByteString::try_from(data) {
            Ok(text) => self.text(text, transport),
            Err(_) => self.refuse(&Refusal::NotUtf8, &About::default(), transport),
        }
    }

    fn over_rate(&mut self, _: &Bytes, transport: &mut TransportContext<'_>) {
        self.refuse(&Refusal::TooFast, &About::default(), transport);
    }

    fn answered(&mut self, _: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        match answer {
            Answer::Attached(_) => {
                self.is_ready = true;
                self.shared.expire(&self.mailbox);
                if let Some(reader) = self.mailbox.lock().owner.reader_mut(transport.handle().session) {
                    reader.is_ready = true;
                }
                let frames = self.gather();
                send(frames, transport);
                self.shared.fetch(&self.mailbox);
            }
            Answer::AttachRefused { fault, .. } => self.refuse_attachment(fault, transport),
            // What was refused is in the mailbox all the same.
            Answer::Broken(_) | Answer::PublishRefused { .. } | Answer::Published { .. } | Answer::Detached { .. } => {}
        }
    }

    fn tailored(&mut self, _: u16, entry: &Arc<Entry>) -> Option<Bytes> {
        let frames = match entry.id {
            EntryId::Frame { connection, .. } if self.is_shared() && connection == self.publisher => {
                self.shared.fetch(&self.mailbox);
                Bytes::new()
            }
            EntryId::Frame { connection, msg_serial } if connection == self.publisher => {
                self.arrived(msg_serial, entry)
            }
            // A heartbeat, or by another protocol: for whoever is there.
            _ => entry.frame(self.format()).clone(),
        };
        Some(frames).filter(|frames| !frames.is_empty())
    }

    fn ponged(&mut self, payload: &Bytes, transport: &mut TransportContext<'_>) {
        let read = self.unconfirmed.pong(payload);
        self.shared.mailboxes.remove(&self.mailbox, read);
        if self.mailbox.lock().queue.is_left() {
            self.shared.fetch(&self.mailbox);
        }
        let has_more = self.is_behind || self.mailbox.lock().queue.last() > self.highest;
        let frames = if self.is_ready && has_more { self.gather() } else { self.ping() };
        send(frames, transport);
    }

    /// Letters were taken in hand.
    fn nudged(&mut self, transport: &mut TransportContext<'_>) {
        if self.is_ready {
            let frames = self.gather();
            send(frames, transport);
        }
    }

    /// A clean close confirms (`§4`).
    fn hung_up(&mut self) {
        let read = self.unconfirmed.drain();
        self.shared.mailboxes.remove(&self.mailbox, read);
    }

    fn closed(&mut self, transport: &mut TransportContext<'_>) {
        self.shared.leave(&self.mailbox, transport.handle().session);
        self.slot.give_back();
    }
}

#[cfg(test)]
mod tests;
