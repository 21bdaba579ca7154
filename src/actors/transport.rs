//! One per WebSocket: reads what the client sends and sees to the end of the connection.

mod attachments;
pub mod context;
pub mod session;
pub mod socket;

pub use context::{Attaching, ProtocolHandler, Terms, TransportContext};
pub use session::Session;
pub use socket::Socket;

use std::{any::Any, rc::Rc, time::Duration};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, SpawnHandle, StreamHandler};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::Stream;

use crate::{
    actors::{fanout::Outbox, worker::Worker},
    core::frame,
    error::{CloseReason, NO_CODE},
    limits,
};

/// What comes from the client, as the edge decoded it.
#[derive(Debug)]
pub enum Inbound {
    Text(ByteString),
    Binary(Bytes),
    Ping(Bytes),
    /// What the ping carried.
    Pong(Bytes),
    /// The client's close frame.
    Close(Option<u16>),
    /// The client broke a rule for which the connection ends.
    Violation(CloseReason),
}

/// End the connection.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Close(pub CloseReason);

/// Is the peer still there? It may have changed networks and have another connection by now: its old socket
/// would take everything in silence until the idle limit.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Probe;

/// Wake the protocol handler after this time.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake(pub Duration);

/// Send a finished frame after a while.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Later {
    pub frame: Bytes,
    pub wait: Duration,
}

pub struct Transport {
    session: Rc<Session>,
    worker: Rc<Worker>,
    closing: bool,
    /// Closes the connection if nothing is heard from it by then.
    probe: Option<SpawnHandle>,
    waking: Option<SpawnHandle>,
    /// The place under the admission caps, held until the client has hung up.
    permit: Option<Box<dyn Any>>,
}

impl Transport {
    /// Starts the actor of an upgraded WebSocket on this thread. It ends with `inbound`.
    pub fn open(
        worker: Rc<Worker>,
        handler: Box<dyn ProtocolHandler>,
        inbound: impl Stream<Item = Inbound> + 'static,
        outbox: Outbox,
        socket: Socket,
        permit: Box<dyn Any>,
    ) -> Addr<Self> {
        Self::create(|ctx| {
            ctx.add_stream(inbound);
            let session = Rc::new(Session::new(handler, ctx.address(), outbox, socket, Rc::clone(&worker)));
            let known = Rc::clone(&session);
            worker.sessions.borrow_mut().insert(session.id, known);
            worker.count(|counters| counters.connections_opened += 1);
            session.talk(|handler, transport| handler.opened(transport));
            Self { session, worker, closing: false, probe: None, waking: None, permit: Some(permit) }
        })
    }

    /// Sends the close frame, leaves the channels, and sees that the socket ends.
    fn close(&mut self, reason: CloseReason, ctx: &mut Context<Self>) {
        if self.closing {
            return;
        }
        self.closing = true;
        if reason == CloseReason::TooSlow && self.session.outbox.is_open() {
            self.session.outbox.clear();
        }
        self.session.say_goodbye(reason);
        self.session.depart();
        self.worker.count(|counters| match reason {
            CloseReason::TooSlow => counters.closed_slow += 1,
            CloseReason::Idle => counters.closed_idle += 1,
            CloseReason::Answer(_)
            | CloseReason::Refused { .. }
            | CloseReason::GoingAway
            | CloseReason::Done
            | CloseReason::Replaced
            | CloseReason::TakenOver
            | CloseReason::TokenEnded => {}
            CloseReason::ProtocolError
            | CloseReason::InvalidText
            | CloseReason::TooBig { .. }
            | CloseReason::TooManyFragments { .. } => counters.closed_protocol_error += 1,
        });
        let patience = self.worker.broker.settings.get().close_timeout;
        ctx.run_later(patience, |connection, ctx| {
            connection.session.socket.cut();
            ctx.stop();
        });
    }

    /// The peer expects nothing after the close frame: ends our side of the TCP connection, so that
    /// it is the server that closes (RFC 6455 §7.1.1). Not before the frame has left the outbox.
    fn finish_soon(&self, ctx: &mut Context<Self>) {
        ctx.run_later(limits::CLOSE_LINGER, |connection, ctx| {
            if connection.session.outbox.is_empty() {
                connection.session.socket.finish();
            } else {
                connection.finish_soon(ctx);
            }
        });
    }

    /// The same for a peer that is not listened to any more. The end of the body makes actix-http read
    /// and drop for a second what the peer is still sending, then close. Without that the peer's send
    /// window stays shut, and a peer that is still writing learns of nothing for a minute.
    fn abandon_soon(&self, ctx: &mut Context<Self>) {
        ctx.run_later(limits::CLOSE_LINGER, |connection, ctx| {
            if connection.session.outbox.is_empty() {
                connection.session.socket.finish();
                ctx.stop();
            } else {
                connection.abandon_soon(ctx);
            }
        });
    }

    /// A data frame: counted, translated.
    fn data(&self, bytes: usize, act: impl FnOnce(&mut dyn ProtocolHandler, &mut TransportContext<'_>)) {
        self.worker.count(|counters| {
            counters.messages_in += 1;
            counters.bytes_in += bytes as u64;
        });
        self.session.talk(act);
    }
}

impl Actor for Transport {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.session.depart();
        self.session.outbox.end();
        self.worker.sessions.borrow_mut().remove(&self.session.id);
        self.worker.count(|counters| counters.connections_closed += 1);
    }
}

impl StreamHandler<Inbound> for Transport {
    fn handle(&mut self, inbound: Inbound, ctx: &mut Self::Context) {
        self.session.hear();
        if let Some(probe) = self.probe.take() {
            ctx.cancel_future(probe);
        }
        match inbound {
            Inbound::Close(code) => {
                self.session.talk(|handler, _| handler.hung_up());
                self.close(CloseReason::Answer(code.unwrap_or(NO_CODE)), ctx);
                self.finish_soon(ctx);
            }
            Inbound::Violation(reason) => {
                self.close(reason, ctx);
                self.abandon_soon(ctx);
            }
            // What follows a close frame is not for us (RFC 6455 §5.5.1).
            _ if self.closing => {}
            Inbound::Text(text) => self.data(text.len(), |handler, transport| {
                handler.text(text, transport);
            }),
            Inbound::Binary(data) => self.data(data.len(), |handler, transport| {
                handler.binary(data, transport);
            }),
            // A flood of pings is answered up to the rate limit only.
            Inbound::Ping(payload) if self.session.may_send() => {
                self.session.push(frame::pong(&payload));
            }
            Inbound::Ping(_) => {}
            Inbound::Pong(payload) => self.session.talk(|handler, transport| handler.ponged(&payload, transport)),
        }
    }

    /// The client sends nothing more. It may still read: what waits for it goes out, and if it takes
    /// nothing, the socket is cut in the end.
    fn finished(&mut self, ctx: &mut Self::Context) {
        self.permit = None;
        self.close(CloseReason::Answer(NO_CODE), ctx);
        self.abandon_soon(ctx);
    }
}

impl Handler<Close> for Transport {
    type Result = ();

    fn handle(&mut self, Close(reason): Close, ctx: &mut Self::Context) {
        self.close(reason, ctx);
    }
}

impl Handler<Probe> for Transport {
    type Result = ();

    fn handle(&mut self, _: Probe, ctx: &mut Self::Context) {
        if self.closing || self.probe.is_some() {
            return;
        }
        self.session.push(self.session.ping.clone());
        let silent = ctx.run_later(limits::PROBE_PATIENCE, |connection, ctx| {
            connection.close(CloseReason::Idle, ctx);
        });
        self.probe = Some(silent);
    }
}

impl Handler<Wake> for Transport {
    type Result = ();

    fn handle(&mut self, Wake(wait): Wake, ctx: &mut Self::Context) {
        if let Some(waking) = self.waking.take() {
            ctx.cancel_future(waking);
        }
        self.waking = Some(ctx.run_later(wait, |connection, _| {
            connection.waking = None;
            if !connection.closing {
                connection.session.talk(|handler, transport| handler.woken(transport));
            }
        }));
    }
}

impl Handler<Later> for Transport {
    type Result = ();

    fn handle(&mut self, Later { frame, wait }: Later, ctx: &mut Self::Context) {
        ctx.run_later(wait, |connection, _| connection.session.push(frame));
    }
}
