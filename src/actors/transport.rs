//! One actor per WebSocket: reads what the client sends, and closes the connection in order.

mod attachments;
pub mod context;
mod delayed;
pub(in crate::actors) mod listed;
pub(in crate::actors) mod missed;
pub mod session;
pub mod socket;

pub use context::{Attaching, Peer, ProtocolHandler, Terms, TransportContext};
pub use session::Session;
pub use socket::Socket;

use std::{any::Any, rc::Rc, time::Duration};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, SpawnHandle, StreamHandler};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::Stream;

use crate::{
    actors::{
        fanout::Outbox,
        transport::delayed::{Delay, DelayedFrames},
        worker::Worker,
    },
    core::{frame, rate::Pace},
    error::{CloseReason, NO_CODE},
    ids::AppId,
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

/// What its session asks of the actor.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) enum TransportCommand {
    /// End the connection.
    Close(CloseReason),
    /// Find out whether the peer is still there. It may have changed networks and have another connection by now: its
    /// old socket would take everything in silence until the idle limit.
    Probe,
    /// Wake the protocol handler after this time.
    Wake(Duration),
    /// Send a finished frame after [`limits::PING_ECHO_DELAY`].
    SendDelayed(Bytes),
}

pub struct Transport {
    app: AppId,
    session: Rc<Session>,
    worker: Rc<Worker>,
    closing: bool,
    /// Closes the connection if nothing is heard from it by then.
    probe: Option<SpawnHandle>,
    waking: Option<SpawnHandle>,
    delayed: DelayedFrames,
    /// The place under the admission caps, held until the client has hung up.
    permit: Option<Box<dyn Any>>,
}

impl Transport {
    /// Starts the actor of an upgraded WebSocket on this thread. It ends with `inbound`.
    pub fn open(
        worker: Rc<Worker>,
        handler: Box<dyn ProtocolHandler>,
        terms: Terms,
        inbound: impl Stream<Item = Inbound> + 'static,
        outbox: Outbox,
        socket: Socket,
        permit: Box<dyn Any>,
    ) -> Addr<Self> {
        let app = terms.app;
        Self::create(|ctx| {
            ctx.add_stream(inbound);
            let session = Rc::new(Session::new(handler, terms, ctx.address(), outbox, socket, Rc::clone(&worker)));
            worker.add(Rc::clone(&session));
            worker.count(|counters| counters.connections_opened += 1);
            worker.count_for(app, |traffic| traffic.connections.opened += 1);
            session.with_handler(|handler, transport| handler.opened(transport));
            Self {
                app,
                session,
                worker,
                closing: false,
                probe: None,
                waking: None,
                delayed: DelayedFrames::default(),
                permit: Some(permit),
            }
        })
    }

    /// Sends the close frame, leaves the channels, and ends the socket after a while if the peer does not.
    fn close(&mut self, reason: CloseReason, ctx: &mut Context<Self>) {
        if self.closing {
            return;
        }
        self.closing = true;
        if reason == CloseReason::TooSlow && self.session.outbox.is_open() {
            self.session.outbox.clear();
        }
        self.session.send_close(reason);
        self.session.depart();
        self.worker.count(|counters| match reason {
            CloseReason::TooSlow => counters.closed_slow += 1,
            CloseReason::NoMemory { .. } => counters.closed_memory += 1,
            CloseReason::Idle => counters.closed_idle += 1,
            CloseReason::Flood => counters.closed_flood += 1,
            CloseReason::Answer(_)
            | CloseReason::Refused { .. }
            | CloseReason::GoingAway
            | CloseReason::Done
            | CloseReason::Disconnected
            | CloseReason::Replaced
            | CloseReason::TakenOver
            | CloseReason::TokenEnded => {}
            CloseReason::ProtocolError
            | CloseReason::InvalidText
            | CloseReason::TooBig { .. }
            | CloseReason::TooManyFragments { .. } => counters.closed_protocol_error += 1,
        });
        let close_timeout = self.worker.broker.settings.get().close_timeout;
        ctx.run_later(close_timeout, |transport, ctx| {
            transport.session.socket.cut();
            ctx.stop();
        });
    }

    /// The peer expects nothing after the close frame: ends our side of the TCP connection, so that
    /// it is the server that closes (RFC 6455 §7.1.1). Not before the frame has left the outbox.
    ///
    /// `stops`: the peer is not listened to any more. The end of the body makes actix-http read and drop for a second
    /// what the peer is still sending, then close. Without that the peer's send window stays shut, and a peer that is
    /// still writing learns of nothing for a minute.
    fn finish_soon(&self, stops: bool, ctx: &mut Context<Self>) {
        ctx.run_later(limits::CLOSE_LINGER, move |transport, ctx| {
            if !transport.session.outbox.is_empty() {
                return transport.finish_soon(stops, ctx);
            }
            transport.session.socket.finish();
            if stops {
                ctx.stop();
            }
        });
    }

    fn probe(&mut self, ctx: &mut Context<Self>) {
        if self.closing || self.probe.is_some() {
            return;
        }
        self.session.push(self.session.ping.clone());
        let silent = ctx.run_later(limits::PROBE_PATIENCE, |transport, ctx| transport.close(CloseReason::Idle, ctx));
        self.probe = Some(silent);
    }

    fn wake_in(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(waking) = self.waking.take() {
            ctx.cancel_future(waking);
        }
        self.waking = Some(ctx.run_later(wait, |transport, _| {
            transport.waking = None;
            if !transport.closing {
                transport.session.with_handler(|handler, context| handler.woken(context));
            }
        }));
    }

    /// Counts a data frame; whether it is to be carried out. One over the rate is answered here, and in a flood the
    /// connection ends.
    fn admits(&mut self, frame: &Bytes, pace: Pace, ctx: &mut Context<Self>) -> bool {
        self.worker.count(|counters| {
            counters.messages_in += 1;
            counters.bytes_in += frame.len() as u64;
        });
        match pace {
            Pace::Within => return true,
            Pace::Over => self.session.with_handler(|handler, transport| handler.over_rate(frame, transport)),
            Pace::Flood => self.end(CloseReason::Flood, ctx),
        }
        false
    }

    /// Ends the connection of a client that is not listened to any more.
    fn end(&mut self, reason: CloseReason, ctx: &mut Context<Self>) {
        self.close(reason, ctx);
        self.finish_soon(true, ctx);
    }

    fn run_delay(ctx: &mut Context<Self>) {
        ctx.run_later(limits::PING_ECHO_DELAY, |transport, ctx| {
            let (leaving, runs_again) = transport.delayed.take();
            leaving.into_iter().for_each(|frame| transport.session.push(frame));
            if runs_again {
                Self::run_delay(ctx);
            }
        });
    }
}

impl Actor for Transport {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.session.depart();
        self.session.outbox.end();
        self.worker.remove(self.session.id);
        self.worker.count(|counters| counters.connections_closed += 1);
        self.worker.count_for(self.app, |traffic| traffic.connections.closed += 1);
    }
}

impl StreamHandler<Inbound> for Transport {
    fn handle(&mut self, inbound: Inbound, ctx: &mut Self::Context) {
        self.session.note_activity();
        if let Some(probe) = self.probe.take() {
            ctx.cancel_future(probe);
        }
        match inbound {
            Inbound::Close(code) => {
                self.session.with_handler(|handler, _| handler.hung_up());
                self.close(CloseReason::Answer(code.unwrap_or(NO_CODE)), ctx);
                self.finish_soon(false, ctx);
            }
            Inbound::Violation(reason) => self.end(reason, ctx),
            // What follows a close frame is not for us (RFC 6455 §5.5.1).
            _ if self.closing => {}
            Inbound::Text(text) => {
                let pace = self.session.pace_of(text.len());
                if self.admits(text.as_bytes(), pace, ctx) {
                    self.session.with_handler(|handler, transport| handler.text(text, transport));
                }
            }
            Inbound::Binary(data) => {
                let pace = self.session.pace_of_binary(&data);
                if self.admits(&data, pace, ctx) {
                    self.session.with_handler(|handler, transport| handler.binary(data, transport));
                }
            }
            Inbound::Ping(payload) => match self.session.pace_of(payload.len()) {
                Pace::Within => self.session.push(frame::pong(&payload)),
                Pace::Over => {}
                Pace::Flood => self.end(CloseReason::Flood, ctx),
            },
            Inbound::Pong(payload) => match self.session.pace_of_pong() {
                Pace::Flood => self.end(CloseReason::Flood, ctx),
                _ => self.session.with_handler(|handler, transport| handler.ponged(&payload, transport)),
            },
        }
    }

    /// The client sends nothing more. It may still read: what waits for it goes out, and if it takes
    /// nothing, the socket is cut in the end.
    fn finished(&mut self, ctx: &mut Self::Context) {
        self.permit = None;
        self.end(CloseReason::Answer(NO_CODE), ctx);
    }
}

impl Handler<TransportCommand> for Transport {
    type Result = ();

    fn handle(&mut self, command: TransportCommand, ctx: &mut Self::Context) {
        match command {
            TransportCommand::Close(reason) => self.close(reason, ctx),
            TransportCommand::Probe => self.probe(ctx),
            TransportCommand::Wake(wait) => self.wake_in(wait, ctx),
            TransportCommand::SendDelayed(frame) => match self.delayed.push(frame) {
                Delay::Begins => Self::run_delay(ctx),
                Delay::Waits => {}
                Delay::Full(frame) => self.session.push(frame),
            },
        }
    }
}
