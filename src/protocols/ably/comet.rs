//! Comet: an Ably connection by plain requests, for clients that no WebSocket gets through to (`docs/protocols/ably.md §1.6`).
//!
//! The transport is the same as behind a WebSocket ([`crate::edge::pump`]); here stand the requests. Each finds its
//! conversation by the connectionKey in its path, whichever worker thread it comes to. Whoever has that key is not asked
//! for credentials again: what ends those ends the transport.

mod door;
mod frames;
mod lines;

use std::{convert::Infallible, iter};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header::CONTENT_TYPE},
    web,
};
use bytestring::ByteString;

use crate::{
    actors::transport::context::ProtocolHandler,
    edge::{
        self, Endpoint, Ingress, Refusal,
        handoff::{BatchBody, Taker},
        http::{amend::NO_STORE, query::Query},
        pump::{Conversation, Ends, Over},
    },
    error::Fault,
    limits,
    protocols::ably::{
        Ably, refusal,
        rest::{self, Form, respond},
        wire::Format,
    },
};

pub use door::{Conversations, Door};

/// What a request below `/comet` asks for.
enum Asked<'a> {
    Connect,
    Receive(&'a str),
    Send(&'a str),
    Close(&'a str),
    Disconnect(&'a str),
}

impl<'a> Asked<'a> {
    fn of(method: &Method, path: &'a str) -> Result<Self, Fault> {
        let mut segments = path.split('/').skip(2);
        let (asked, allowed) = match (segments.next(), segments.next(), segments.next()) {
            (Some("connect"), None, None) => (Self::Connect, Method::GET),
            (Some(key), Some("recv"), None) => (Self::Receive(key), Method::GET),
            (Some(key), Some("send"), None) => (Self::Send(key), Method::POST),
            (Some(key), Some("close"), None) => (Self::Close(key), Method::GET),
            (Some(key), Some("disconnect"), None) => (Self::Disconnect(key), Method::GET),
            _ => return Err(Fault::NotFound { what: "path" }),
        };
        match allowed {
            allowed if *method == allowed => Ok(asked),
            Method::POST => Err(Fault::MethodNotAllowed { allowed: "POST" }),
            _ => Err(Fault::MethodNotAllowed { allowed: "GET" }),
        }
    }
}

impl Ably {
    /// Answers any request below `/comet`.
    pub async fn comet(&self, request: &HttpRequest, payload: &mut web::Payload) -> HttpResponse {
        let answered = match Asked::of(request.method(), request.uri().path()) {
            Ok(Asked::Connect) => return self.connect(request).await,
            Ok(Asked::Receive(key)) => self.receive(key).await,
            Ok(Asked::Send(key)) => self.send(key, request, payload).await,
            Ok(Asked::Close(key)) => self.say(key, r#"{"action":7}"#).await,
            Ok(Asked::Disconnect(key)) => self.say(key, r#"{"action":5}"#).await,
            Err(fault) => Err(fault),
        };
        answered.unwrap_or_else(|fault| {
            self.refused(request, Form::of(request.headers(), &Query::parse(request.query_string())), fault)
        })
    }

    async fn connect(&self, request: &HttpRequest) -> HttpResponse {
        let query = Query::parse(request.query_string());
        let streams = query.get("stream") != Some("false");
        let ends = if streams { Ends::WithPings(limits::COMET_STREAM_HEARTBEATS) } else { Ends::AtOnce };
        let (conversation, requests) = Conversation::new(ends);
        let way_in = WayIn { ably: self.clone(), conversation: conversation.clone() };
        match edge::pump(&way_in, request, lines::write, Some((&conversation, requests))).await {
            Ok(taker) => answer(ends, taker).await.unwrap_or_else(|fault| self.refused(request, JSON, fault)),
            Err(refusal) => refusal,
        }
    }

    async fn receive(&self, key: &str) -> Result<HttpResponse, Fault> {
        let conversation = self.conversation(key)?;
        let taker = conversation.read().await.map_err(|Over| Fault::ConversationUnknown)?;
        answer(conversation.ends(), taker).await
    }

    /// ACKs come by what is received, so that there is one order.
    async fn send(&self, key: &str, request: &HttpRequest, payload: &mut web::Payload) -> Result<HttpResponse, Fault> {
        let conversation = self.conversation(key)?;
        conversation.pays_for(request);
        let body = rest::body(request, payload, self.rest.shared.settings.max_frame_bytes).await?;
        let frames = frames::read(body)?;
        conversation.send(Box::new(frames)).await.map_err(|Over| Fault::ConversationUnknown)?;
        Ok(HttpResponse::NoContent().finish())
    }

    /// What a client with a WebSocket says by a frame.
    async fn say(&self, key: &str, frame: &'static str) -> Result<HttpResponse, Fault> {
        let conversation = self.conversation(key)?;
        let frame = Box::new(iter::once(ByteString::from_static(frame)));
        conversation.send(frame).await.map_err(|Over| Fault::ConversationUnknown)?;
        Ok(HttpResponse::NoContent().finish())
    }

    fn conversation(&self, key: &str) -> Result<Conversation, Fault> {
        self.rest.shared.conversations.find(key).ok_or(Fault::ConversationUnknown)
    }
}

const JSON: Form = Form { body: Format::Json, refusal: Format::Json, enveloped: false };

/// What there is for the client, or what will be.
async fn answer(ends: Ends, taker: Taker) -> Result<HttpResponse, Fault> {
    let first = taker.batch().await.ok_or(Fault::ConversationUnknown)?;
    let body = if ends == Ends::AtOnce { BatchBody::whole(first) } else { BatchBody::streamed(first, taker) };
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, Format::Json.content_type())).insert_header(NO_STORE);
    Ok(response.body(body))
}

/// Where conversations begin. Whoever is refused by Ably's rules is told so by a frame, as with a WebSocket.
#[derive(Clone)]
struct WayIn {
    ably: Ably,
    conversation: Conversation,
}

impl AsRef<Ingress> for WayIn {
    fn as_ref(&self) -> &Ingress {
        &self.ably.ingress
    }
}

impl Endpoint for WayIn {
    const NAME: &'static str = "Ably comet";
    type Accepted = ();
    type Refused = Infallible;

    fn check(&self, _: &HttpRequest) -> Result<(), Infallible> {
        Ok(())
    }

    async fn open(&self, request: &HttpRequest, (): ()) -> Result<Box<dyn ProtocolHandler>, Infallible> {
        let query = Query::parse(request.query_string());
        let door = Box::new(Door::new(&self.ably.rest.shared, &self.conversation));
        Ok(self.ably.handler(request, &query, Format::Json, Some(door)).await)
    }

    fn refuse(&self, refusal: &Refusal<Infallible>) -> HttpResponse {
        respond(JSON, Err(refusal::of_admission(refusal)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let of = |method: Method, path| Asked::of(&method, path).map(|_| ());
        for path in ["/comet/connect", "/comet/a-key/recv", "/comet/a-key/close", "/comet/a-key/disconnect"] {
            assert_eq!(of(Method::GET, path), Ok(()), "{path}");
            assert_eq!(of(Method::POST, path), Err(Fault::MethodNotAllowed { allowed: "GET" }), "{path}");
        }
        assert_eq!(of(Method::POST, "/comet/a-key/send"), Ok(()));
        assert_eq!(of(Method::GET, "/comet/a-key/send"), Err(Fault::MethodNotAllowed { allowed: "POST" }));
        for path in ["/comet", "/comet/", "/comet/connect/", "/comet/a-key", "/comet/a-key/recv/x", "/comet/a-key/x"] {
            assert_eq!(of(Method::GET, path), Err(Fault::NotFound { what: "path" }), "{path}");
        }
    }
}
