//! A transport whose client has no WebSocket: what it sends comes by requests of their own, and what it is to get leaves in
//! the bodies of responses. For everybody else it is a transport like any other: frames come in, pings are answered, a
//! close frame is the end.
//!
//! The pump stands where the decoder of a WebSocket stands, on the thread of the transport. It takes the frames out of
//! the outbox, unwraps them, and hands them to whichever response takes them now ([`crate::edge::handoff`]).

use std::{
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use actix_web::HttpRequest;
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::Stream;
use tokio::sync::mpsc;

use crate::{
    actors::{
        accounts::{Account, Charge, Kind},
        fanout::outbox::{
            Outbox,
            frame::{Part, parts},
        },
        transport::{Inbound, Socket, Transport, context::ProtocolHandler},
    },
    edge::{
        handoff::{Batch, Giver, Taker, Turn, handoff},
        http::body,
        ingress::{Ingress, Place},
        websocket,
    },
    limits,
};

/// Writes the payloads of frames into a body; no payload at all is what a body holds that must not be empty.
pub type Write = fn(&[Bytes], &mut Vec<u8>);

/// When a response ends, but for the end of its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// With what it gets first.
    AtOnce,
    /// With so many pings, so that the next request shows that the client is still there.
    WithPings(u8),
    Never,
}

/// The frames of one request, in order. It holds what pays for them.
pub type Frames = Box<dyn Iterator<Item = ByteString> + Send>;

enum Request {
    Frames(Frames),
    Read(Reader),
}

/// A response that takes what there is for the client.
struct Reader {
    giver: Giver,
    ends: Ends,
    has_given: bool,
}

impl Reader {
    fn new(ends: Ends) -> (Self, Taker) {
        let (giver, taker) = handoff();
        (Self { giver, ends, has_given: false }, taker)
    }
}

/// A transport that several requests have to do with, as they reach it from any thread. Clones are the same.
#[derive(Clone)]
pub struct Conversation {
    requests: mpsc::Sender<Request>,
    /// Of the transport, once it is open.
    account: Arc<OnceLock<Account>>,
    ends: Ends,
}

/// The conversation is over.
#[derive(Debug)]
pub struct Over;

impl Conversation {
    /// With what its requests come by. `ends`: when each response does.
    pub fn new(ends: Ends) -> (Self, Requests) {
        let (requests, incoming) = mpsc::channel(limits::COMET_REQUESTS);
        (Self { requests, account: Arc::default(), ends }, Requests(incoming))
    }

    /// How its responses end.
    pub const fn ends(&self) -> Ends {
        self.ends
    }

    /// Has its transport pay for the body of a request.
    pub fn pays_for(&self, request: &HttpRequest) {
        if let Some(account) = self.account.get() {
            body::charge_to(request, account.clone());
        }
    }

    /// Has the transport take these frames, after those of earlier requests.
    ///
    /// # Errors
    /// [`Over`]
    pub async fn send(&self, frames: Frames) -> Result<(), Over> {
        self.requests.send(Request::Frames(frames)).await.map_err(|_| Over)
    }

    /// A response that takes what there is from now on; the one before it ends.
    ///
    /// # Errors
    /// [`Over`]
    pub async fn read(&self) -> Result<Taker, Over> {
        let (reader, taker) = Reader::new(self.ends);
        self.requests.send(Request::Read(reader)).await.map_err(|_| Over)?;
        Ok(taker)
    }
}

/// Where the requests of a [`Conversation`] arrive.
pub struct Requests(mpsc::Receiver<Request>);

impl Ingress {
    /// Starts a transport for the response to `request`, and for the requests of a conversation if it is one; from here
    /// on `handler` speaks with the client.
    pub(super) fn pump(
        &self,
        request: &HttpRequest,
        place: Place,
        handler: Box<dyn ProtocolHandler>,
        write: Write,
        conversation: Option<(&Conversation, Requests)>,
    ) -> Taker {
        let Place { terms, account, held } = place;
        let limit = self.worker.broker.settings.get().outbox_bytes;
        let outbox = Outbox::new(limit, Some(account.clone()));
        if conversation.is_none() {
            // Nothing else will come by this connection.
            websocket::give_up_plain_place(request);
        }
        let ends = conversation.as_ref().map_or(Ends::Never, |(conversation, _)| conversation.ends);
        let (reader, taker) = Reader::new(ends);
        let requests = conversation.map(|(conversation, requests)| {
            // Nobody else opens the transport of a conversation, and nobody does it twice.
            let _ = conversation.account.set(account.clone());
            requests.0
        });
        let pump = Pump {
            outbox: outbox.clone(),
            account,
            write,
            requests,
            reader: Some(reader),
            left: None,
            frames: None,
            taken: 0,
            heard: VecDeque::new(),
            is_last: false,
            is_over: false,
        };
        let socket = Socket::new(None);
        Transport::open(Rc::clone(&self.worker), handler, terms, pump, outbox, socket, Box::new(held));
        taker
    }
}

struct Pump {
    outbox: Outbox,
    account: Account,
    write: Write,
    /// None: it lives as long as its only response.
    requests: Option<mpsc::Receiver<Request>>,
    reader: Option<Reader>,
    /// What was made for a response that did not take it.
    left: Option<Batch>,
    frames: Option<Frames>,
    /// Bytes of frames since the last pause.
    taken: usize,
    /// Signs of life that the transport has to hear of.
    heard: VecDeque<Inbound>,
    /// The close frame is on its way.
    is_last: bool,
    is_over: bool,
}

impl Stream for Pump {
    type Item = Inbound;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        let this = self.get_mut();
        loop {
            if let Some(inbound) = this.heard.pop_front() {
                return Poll::Ready(Some(inbound));
            }
            if this.frames.is_some() && this.taken >= limits::INBOUND_PORTION {
                this.taken = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(frame) = this.frames.as_mut().and_then(Iterator::next) {
                this.taken += frame.len();
                return Poll::Ready(Some(Inbound::Text(frame)));
            }
            this.frames = None;
            if this.is_over {
                return Poll::Ready(None);
            }
            if !this.take_request(cx) && !this.serve(cx) {
                this.taken = 0;
                return Poll::Pending;
            }
        }
    }
}

impl Pump {
    /// Whether there was one.
    fn take_request(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(requests) = &mut self.requests else { return false };
        match requests.poll_recv(cx) {
            Poll::Ready(Some(Request::Frames(frames))) => self.frames = Some(frames),
            Poll::Ready(Some(Request::Read(reader))) => self.turn_to(reader),
            // Its handler has gone.
            Poll::Ready(None) => self.is_over = true,
            Poll::Pending => return false,
        }
        true
    }

    /// What the response before has not taken, this one gets.
    fn turn_to(&mut self, reader: Reader) {
        if let Some(before) = self.reader.replace(reader) {
            self.left = before.giver.take_back().or_else(|| self.left.take());
            if self.left.is_some() || !before.has_given {
                self.give(&before, &[], None);
            }
        }
        self.heard.push_back(Inbound::Pong(Bytes::new()));
    }

    /// Hands on what there is for the client; whether anything has changed.
    fn serve(&mut self, cx: &Context<'_>) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        match reader.giver.poll_turn(cx) {
            Poll::Pending => return false,
            Poll::Ready(Turn::Give) => return self.fill(cx),
            Poll::Ready(Turn::Done) => self.is_over = self.is_last || self.requests.is_none(),
            Poll::Ready(Turn::Broken { left, has_taken }) => {
                // Whoever took something may have lost it: it has to resume, which tells what it missed.
                self.is_over = has_taken || self.requests.is_none();
                self.left = left.or_else(|| self.left.take());
            }
        }
        self.reader = None;
        true
    }

    fn fill(&mut self, cx: &Context<'_>) -> bool {
        let (mut payloads, mut bytes, mut pings, mut any) = (Vec::new(), 0, 0, false);
        while self.left.is_none() && !self.is_last && bytes < limits::BATCH_BYTES {
            let Poll::Ready(frames) = self.outbox.poll_frame(cx) else { break };
            any = true;
            // The outbox has ended: nothing can follow.
            self.is_last = frames.is_none();
            for part in frames.into_iter().flat_map(parts) {
                match part {
                    Part::Data(payload) => {
                        bytes += payload.len();
                        payloads.push(payload);
                    }
                    Part::Ping(payload) => {
                        pings += 1;
                        self.heard.push_back(Inbound::Pong(payload));
                    }
                    Part::Close => self.is_last = true,
                    Part::Pong => {}
                }
            }
        }
        let Some(mut reader) = self.reader.take() else { return any };
        if let Some(left) = self.left.take() {
            reader.giver.give(left);
            reader.has_given = true;
        } else if !payloads.is_empty() || self.is_last && !reader.has_given {
            // What an open connection has paid for is enough for a small batch.
            let charge = (bytes > limits::OUTBOX_FREE).then(|| self.account.charge(Kind::Answer, bytes));
            match charge.transpose() {
                Ok(charge) => self.give(&reader, &payloads, charge),
                Err(full) => {
                    self.heard.push_back(Inbound::Violation(full.to_close_reason()));
                    self.reader = Some(reader);
                    return true;
                }
            }
            reader.has_given = true;
        } else if !self.is_last {
            self.reader = Some(reader);
            return any;
        }
        let ends = match &mut reader.ends {
            Ends::AtOnce => true,
            Ends::WithPings(left) => {
                *left = left.saturating_sub(pings);
                *left == 0
            }
            Ends::Never => false,
        };
        if ends || self.is_last {
            reader.giver.end();
        }
        self.reader = Some(reader);
        true
    }

    fn give(&self, reader: &Reader, payloads: &[Bytes], charge: Option<Charge>) {
        let mut body = Vec::with_capacity(payloads.iter().map(|payload| payload.len() + 2).sum());
        (self.write)(payloads, &mut body);
        if !body.is_empty() {
            reader.giver.give(Batch { bytes: body.into(), charge });
        }
    }
}

#[cfg(test)]
mod tests;
