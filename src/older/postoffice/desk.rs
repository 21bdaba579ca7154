//! The protocol handler of one connection: hands letters in, and hands out those of its own mailbox
//! (`docs/protocols/postoffice.md §3, §4`).
//!
//! Letters come by the channel of the mailbox, each once for all who watch it. Their numbers have no holes, so
//! the desk sees what it has not got, and takes that out of the mailbox. Behind letters it sends a ping; its answer
//! says that they were read, and only then they leave the mailbox. So many letters may be on the way; more
//! wait.

use std::{collections::VecDeque, sync::Arc};

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
    error::CloseReason,
    ids::{ChannelName, SessionId},
    limits,
    older::postoffice::{
        access::Principal,
        counter,
        mailbox::Reader,
        office::{Office, Place, Room, Visitor},
        reply::{self, About, Code, PostOfficeJson},
    },
};

/// See the module.
pub struct Desk {
    pub(super) office: Arc<Office>,
    pub(super) room: Arc<Room>,
    pub(super) principal: Principal,
    place: Option<Place>,
    started: Option<u64>,
    session: Option<SessionId>,
    /// Attached: what is published comes.
    is_ready: bool,
    /// More is in the mailbox than may be on the way.
    is_behind: bool,
    /// The highest number that was sent.
    highest: u64,
    flights: VecDeque<Flight>,
    flying_bytes: usize,
    /// Letters sent so far.
    sent: u64,
    /// A ping has been sent behind a letter and is not answered.
    is_asked: bool,
}

/// A letter on the way.
struct Flight {
    /// It was the how manieth.
    order: u64,
    number: u64,
    bytes: usize,
}

impl Desk {
    pub const fn new(
        office: Arc<Office>,
        room: Arc<Room>,
        principal: Principal,
        place: Place,
        started: Option<u64>,
    ) -> Self {
        Self {
            office,
            room,
            principal,
            place: Some(place),
            started,
            session: None,
            is_ready: false,
            is_behind: false,
            highest: 0,
            flights: VecDeque::new(),
            flying_bytes: 0,
            sent: 0,
            is_asked: false,
        }
    }

    pub(super) fn tell(&self, code: Code, text: &str, about: About<'_>, transport: &mut TransportContext<'_>) {
        transport.count_error();
        if !self.office.settings.is_silent {
            transport.send_frame(reply::error(code, text, about));
        }
    }

    fn has_room(&self) -> bool {
        self.flights.len() < limits::POST_WINDOW && self.flying_bytes < limits::POST_WINDOW_BYTES
    }

    fn depart(&mut self, number: u64, bytes: usize) {
        self.sent += 1;
        self.highest = self.highest.max(number);
        self.flying_bytes += bytes;
        self.flights.push_back(Flight { order: self.sent, number, bytes });
    }

    /// The ping that asks whether everything so far was read; nothing while one is not answered.
    fn question(&mut self) -> Bytes {
        if self.is_asked || self.flights.is_empty() {
            return Bytes::new();
        }
        self.is_asked = true;
        frame::ping_with(&self.sent.to_be_bytes())
    }

    /// Everything in the mailbox that was not sent, as far as it may be on the way, as finished frames.
    fn gather(&mut self) -> Bytes {
        let Some(session) = self.session else {
            return Bytes::new();
        };
        let mut frames = BytesMut::new();
        let was_behind = self.is_behind;
        let room = Arc::clone(&self.room);
        let (mut after, mut is_short) = (0, true);
        while is_short {
            is_short = false;
            for (number, text) in self.plan(session, after) {
                after = number;
                // Without the lock: the writer's thread takes it, and everybody's writes would wait for these reads.
                if let Some(text) = text.or_else(|| self.office.text(&room, number)) {
                    frames.extend_from_slice(&frame::text(text.as_bytes()));
                } else {
                    // Gone meanwhile, or not to be read: others may have its place.
                    self.stay(number);
                    is_short = self.is_behind;
                }
            }
        }
        if self.is_behind && !was_behind {
            self.office.spill(&room);
        }
        frames.extend_from_slice(&self.question());
        frames.freeze()
    }

    /// The numbers behind `after` of what is to be sent now, in order, noted as on the way; with the text where that is
    /// in memory.
    fn plan(&mut self, session: SessionId, mut after: u64) -> Vec<(u64, Option<ByteString>)> {
        let mut planned = Vec::new();
        let room = Arc::clone(&self.room);
        let mut mailbox = room.mailbox.lock();
        self.is_behind = loop {
            let is_held = |number| self.flights.iter().any(|flight| flight.number == number);
            let Some((number, waiting)) = mailbox.next(after, is_held) else {
                break false;
            };
            if !self.has_room() {
                break true;
            }
            after = number;
            planned.push((number, waiting.text.clone()));
            self.depart(number, waiting.bytes);
        };
        if !self.is_behind {
            self.highest = mailbox.last();
        }
        mailbox.set_behind(session, self.is_behind, self.highest);
        planned
    }

    /// A letter does not leave after all.
    fn stay(&mut self, number: u64) {
        if let Some(place) = self.flights.iter().position(|flight| flight.number == number)
            && let Some(flight) = self.flights.remove(place)
        {
            self.flying_bytes -= flight.bytes;
        }
    }

    /// Letters up to this one were read.
    fn confirm(&mut self, order: u64) {
        let mut numbers = Vec::new();
        while let Some(flight) = self.flights.pop_front_if(|flight| flight.order <= order) {
            self.flying_bytes -= flight.bytes;
            numbers.push(flight.number);
        }
        self.office.confirm(&self.room, numbers);
    }

    /// A letter by the channel.
    fn arrived(&mut self, number: u64, entry: &Entry) -> Bytes {
        if number <= self.highest || (self.is_behind && !self.has_room()) {
            return Bytes::new();
        }
        if number != self.highest + 1 || self.is_behind || !self.has_room() {
            return self.gather();
        }
        let letter = entry.frame(self.format());
        self.depart(number, letter.len());
        let question = self.question();
        if question.is_empty() {
            return letter.clone();
        }
        [&letter[..], &question[..]].concat().into()
    }
}

impl ProtocolHandler for Desk {
    fn format(&self) -> &'static dyn WireFormat {
        &PostOfficeJson
    }

    fn terms(&self, settings: &broker::Settings) -> Terms {
        let mut terms = Terms::new(settings);
        if !self.office.settings.is_silent {
            terms.farewell = last_words;
        }
        terms
    }

    fn opened(&mut self, transport: &mut TransportContext<'_>) {
        let handle = transport.handle();
        self.session = Some(handle.session);
        let place = self.place.as_ref().map(|place| Arc::clone(&place.counted));
        let reader = Reader {
            session: handle.session,
            handle: Visitor { handle, place: place.unwrap_or_default() },
            started: self.started,
            is_ready: false,
            is_behind: false,
        };
        if !self.office.enter(&self.room, reader) {
            return transport.close(CloseReason::Replaced);
        }
        let channel = self.room.channel.clone();
        if let Err(fault) = transport.subscribe(&channel, true, Bytes::new()) {
            self.tell(reply::code_of(&fault), &fault.to_string(), About::default(), transport);
            transport.close(CloseReason::Done);
        }
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        counter::hand_in(self, &text, transport);
    }

    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>) {
        match ByteString::try_from(data) {
            Ok(text) => self.text(text, transport),
            Err(_) => self.tell(Code::BadJson, "the frame is not UTF-8", About::default(), transport),
        }
    }

    fn answered(&mut self, _: &ChannelName, answer: Answer, transport: &mut TransportContext<'_>) {
        match answer {
            Answer::Attached(_) => {
                self.is_ready = true;
                self.office.expire(&self.room);
                if let Some(reader) = self.room.mailbox.lock().reader_mut(transport.handle().session) {
                    reader.is_ready = true;
                }
                let frames = self.gather();
                if !frames.is_empty() {
                    transport.send_frame(frames);
                }
            }
            Answer::AttachRefused { fault, .. } => {
                self.tell(reply::code_of(&fault), &fault.to_string(), About::default(), transport);
                transport.close(CloseReason::Done);
            }
            // What was refused is in the mailbox all the same.
            Answer::PublishRefused { .. } | Answer::Published { .. } | Answer::Detached { .. } => {}
        }
    }

    fn tailored(&mut self, _: u16, entry: &Entry) -> Option<Bytes> {
        let frames = match entry.id {
            EntryId::Frame { connection, msg_serial } if connection == self.room.postmark => {
                self.arrived(msg_serial, entry)
            }
            // A heartbeat, or by another protocol: for whoever is there.
            _ => entry.frame(self.format()).clone(),
        };
        Some(frames).filter(|frames| !frames.is_empty())
    }

    fn ponged(&mut self, payload: &Bytes, transport: &mut TransportContext<'_>) {
        if let Ok(order) = <[u8; 8]>::try_from(&payload[..]) {
            self.confirm(u64::from_be_bytes(order));
        }
        // Whatever was asked: a client may answer the last of several pings only (RFC 6455 §5.5.3).
        self.is_asked = false;
        let has_more = self.is_behind || self.room.mailbox.lock().last() > self.highest;
        let frames = if self.is_ready && has_more { self.gather() } else { self.question() };
        if !frames.is_empty() {
            transport.send_frame(frames);
        }
    }

    fn hung_up(&mut self) {
        self.confirm(u64::MAX);
    }

    fn closed(&mut self, transport: &mut TransportContext<'_>) {
        self.office.leave(&self.room, transport.handle().session);
        self.place = None;
    }
}

fn last_words(reason: CloseReason) -> Option<Bytes> {
    let CloseReason::TooBig { limit } = reason else {
        return None;
    };
    let text = format!("the frame is larger than {limit} bytes (postoffice.max_message_bytes)");
    Some(reply::error(Code::TooLarge, &text, About::default()))
}

#[cfg(test)]
mod tests;
