//! From an HTTP request to a running connection: handshake and decoding by actix-ws, in front of it
//! the frame guard, behind it our own body.

use std::{
    any::Any,
    io,
    os::fd::{AsRawFd as _, RawFd},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{
    HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody as _},
    dev::Extensions,
    rt::net::TcpStream,
    web,
};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, ProtocolError};
use futures_util::Stream;

use crate::{
    actors::{
        fanout::outbox::Outbox,
        transport::context::ProtocolHandler,
        transport::socket::Socket,
        transport::{Inbound, Transport},
    },
    edge::{
        body::OutboxBody,
        counted::{Counted, PlainPlace},
        guard::{self, MessageLimits, Verdict, Violation},
        ingress::{Ingress, Place},
        refusal::NoHandshake,
    },
    error::CloseReason,
};

impl Ingress {
    /// Starts the connection; from here on `handler` speaks with the client.
    ///
    /// # Errors
    /// When the request cannot be read as a WebSocket handshake.
    pub(super) async fn start(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        place: Place,
        handler: Box<dyn ProtocolHandler>,
    ) -> Result<HttpResponse, NoHandshake> {
        let account = Some(place.account.clone());
        let guarded = guard::guard_payload(request, payload, self.limits, account).await;
        let (payload, verdict) = guarded.map_err(|_| NoHandshake::UNREADABLE)?;
        let (response, _, stream) = actix_ws::handle(request, payload).map_err(|_| NoHandshake::UNREADABLE)?;
        let messages = stream
            .max_frame_size(self.limits.max_message_bytes)
            .aggregate_continuations()
            .max_continuation_size(self.limits.max_message_bytes);
        let inbound = Decoded { messages: Some(messages), verdict, limits: self.limits };

        let descriptor = request.conn_data::<Descriptor>();
        let socket = Socket::new(descriptor.map(|descriptor| descriptor.number));
        let Place { terms, account, held } = place;
        let limit = self.worker.broker.settings.get().outbox_bytes;
        let outbox = if descriptor.is_some_and(|descriptor| descriptor.plain) {
            Outbox::direct(limit, Some(account), socket.clone(), Rc::clone(&self.worker.flusher))
        } else {
            Outbox::new(limit, Some(account))
        };
        give_up_plain_place(request);
        let body_outbox = outbox.clone();
        let body_socket = socket.clone();
        Transport::open(Rc::clone(&self.worker), handler, terms, inbound, outbox, socket, Box::new(held));
        Ok(response.map_body(|_, inner| BoxBody::new(OutboxBody::new(body_outbox, body_socket, inner.boxed()))))
    }
}

/// The descriptor of the socket that a request came by.
struct Descriptor {
    number: RawFd,
    /// What is written to it goes out as it is: no TLS.
    plain: bool,
    /// None where connections are not counted, as in tests.
    place: Option<PlainPlace>,
}

/// The connection that a request came by has the place of a transport by now.
pub(super) fn give_up_plain_place(request: &HttpRequest) {
    if let Some(place) = request.conn_data::<Descriptor>().and_then(|descriptor| descriptor.place.as_ref()) {
        place.give_up();
    }
}

/// Whether a request came by TLS.
pub fn is_encrypted(request: &HttpRequest) -> bool {
    request.conn_data::<Descriptor>().is_some_and(|descriptor| !descriptor.plain)
}

/// For whoever accepts connections: notes the descriptor, so that a stuck connection can be cut.
pub fn note_descriptor(io: &dyn Any, extensions: &mut Extensions) {
    let plain = io.downcast_ref::<Counted>();
    let encrypted = io.downcast_ref::<TlsStream<Counted>>().map(|tls| tls.get_ref().0);
    if let Some(counted) = plain.or(encrypted) {
        let (number, place) = (counted.tcp().as_raw_fd(), Some(counted.place()));
        extensions.insert(Descriptor { number, plain: plain.is_some(), place });
    } else if let Some(tcp) = io.downcast_ref::<TcpStream>() {
        extensions.insert(Descriptor { number: tcp.as_raw_fd(), plain: true, place: None });
    }
}

/// What the decoder of actix-ws finds, as the transport takes it.
struct Decoded {
    /// None once a violation was reported: what follows cannot be trusted. What had come is given back, and what still comes
    /// is read and thrown away, so that nothing of it is kept. This stream stays open and silent until the transport has sent
    /// its close frame.
    messages: Option<AggregatedMessageStream>,
    verdict: Verdict,
    limits: MessageLimits,
}

impl Stream for Decoded {
    type Item = Inbound;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        let Some(messages) = &mut self.messages else {
            return Poll::Pending;
        };
        let violation = match ready!(Pin::new(messages).poll_next(cx)) {
            Some(Ok(message)) => return Poll::Ready(Some(inbound(message))),
            Some(Err(error)) => violation_of(&error, self.limits),
            None => self.verdict.violation().map(|violation| match violation {
                Violation::TooBig => CloseReason::TooBig { limit: self.limits.max_message_bytes },
                Violation::TooManyFragments => CloseReason::TooManyFragments { limit: self.limits.max_fragments },
                Violation::NoMemory(full) => full.to_close_reason(),
            }),
        };
        if violation.is_some() {
            self.messages = None;
        }
        Poll::Ready(violation.map(Inbound::Violation))
    }
}

fn inbound(message: AggregatedMessage) -> Inbound {
    match message {
        AggregatedMessage::Text(text) => Inbound::Text(text),
        AggregatedMessage::Binary(data) => Inbound::Binary(data),
        AggregatedMessage::Ping(payload) => Inbound::Ping(payload),
        AggregatedMessage::Pong(payload) => Inbound::Pong(payload),
        AggregatedMessage::Close(reason) => Inbound::Close(reason.map(|reason| reason.code.into())),
    }
}

/// The rule that was broken; none when the connection failed, so that no close frame can be sent.
fn violation_of(error: &ProtocolError, limits: MessageLimits) -> Option<CloseReason> {
    match error {
        ProtocolError::Overflow => Some(CloseReason::TooBig { limit: limits.max_message_bytes }),
        // actix-http 3.20 has no variant for reserved bits yet; its text is all there is to tell.
        ProtocolError::Io(error) if error.to_string().contains("reserved bits") => Some(CloseReason::ProtocolError),
        ProtocolError::Io(error) if error.kind() == io::ErrorKind::InvalidData => Some(CloseReason::InvalidText),
        ProtocolError::Io(_) => None,
        _ => Some(CloseReason::ProtocolError),
    }
}
