//! Messages by HTTP (`docs/protocols/chat.md §6`), in the shapes of the document and of the source.

use std::collections::HashMap;

use actix_web::{HttpRequest, web};
use serde_json::{Value, value::RawValue};

use crate::{
    edge::http::body::{self, NoBody},
    limits,
    older::chat::{
        code::Code,
        command::SendMessage,
        door::Chat,
        fields::Fields,
        http::Outcome,
        names::{PRIVATE_ROOM, Room, private_room},
        reply::{Reply, Style},
    },
};

impl Chat {
    /// The body, if the sender may send.
    async fn body(&self, request: &HttpRequest, payload: &mut web::Payload) -> Result<web::Bytes, Reply> {
        let limiter = self.shared.limiter.as_ref();
        if limiter.is_some_and(|limiter| limiter.check().is_err()) {
            let why = "more requests than chat.requests_per_second allows; try again in a second";
            return Err(Reply::from(Code::TooFast).because(why));
        }
        let body = body::read(request.headers(), payload, limits::CHAT_FRAME_BYTES).await;
        body.map_err(|no_body| match no_body {
            NoBody::TooLarge { .. } => Code::TooLarge.into(),
            NoBody::Broken => Code::BadRequest.into(),
        })
    }

    pub(super) async fn send_message(&self, request: &HttpRequest, payload: &mut web::Payload) -> Outcome {
        let sender = self.visitor(request)?.id;
        Ok(match self.body(request, payload).await {
            Ok(body) => self.send(sender, &body).await.unwrap_or_else(|refused| refused),
            Err(refused) => refused,
        })
    }

    async fn send(&self, sender: u64, body: &[u8]) -> Result<Reply, Reply> {
        let (exchange, broker) = (&self.shared.exchange, &self.entrance.worker.broker);
        let fields = fields(body)?;
        let is_sources =
            fields.get("to_user_id").is_none() && fields.get("content").is_none() && fields.get("message").is_some();
        if is_sources {
            let to = fields.user("user_id").map_err(|_| Code::BadRequest)?;
            let to = to.ok_or(Code::BadRequest)?;
            return Ok(exchange.send_raw(sender, to, member(body, "message")?, broker).await);
        }
        let room = fields.text("room_id").map_err(|wrong| wrong.told(Code::BadRequest))?;
        let to = fields.user("to_user_id").map_err(|wrong| wrong.told(Code::Unreadable))?;
        let message = |to| {
            let message = self.shared.rules.message(&fields);
            let (content, kind, client_id) = message.map_err(|wrong| wrong.told(Code::Unreadable))?;
            if content.is_empty() {
                return Err(Reply::from(Code::Incomplete));
            }
            Ok(SendMessage { to, content, kind, client_id })
        };
        let room = room.filter(|room| !room.is_empty());
        let to = match (room, to) {
            (None, None) => return Err(Code::Incomplete.into()),
            (None, Some(to)) => to,
            // Only a conversation of others is refused (§6). Whatever else the back end calls the room, the message is for
            // one user, and stands where all between these two does: an open room has other readers.
            (Some(room), Some(to)) if room.starts_with(PRIVATE_ROOM) && room != private_room(sender, to) => {
                return Err(Reply::told(
                    Code::BadRequest,
                    format!(
                        "{}: room_id 不是 {sender} 与 {to} 的私聊 (it is {})",
                        Code::BadRequest.text(),
                        private_room(sender, to)
                    ),
                ));
            }
            (Some(_), Some(to)) => to,
            (Some(room), None) => match Room::parse(room) {
                Some(Room::Private(one, other)) if one == sender => other,
                Some(Room::Private(one, other)) if other == sender => one,
                Some(Room::Open(room)) => {
                    let SendMessage { content, kind, client_id, .. } = message(0)?;
                    let message = (content, kind, client_id);
                    return Ok(exchange.send_to_room(sender, room.to_owned(), message, broker).await);
                }
                _ => return Err(Code::BadRequest.into()),
            },
        };
        Ok(exchange.send(sender, message(to)?, broker).await)
    }

    pub(super) async fn broadcast(&self, request: &HttpRequest, payload: &mut web::Payload) -> Outcome {
        let sender = self.visitor(request)?.id;
        Ok(match self.body(request, payload).await {
            Ok(body) => self.spread(sender, &body).await.unwrap_or_else(|refused| refused),
            Err(refused) => refused,
        })
    }

    async fn spread(&self, sender: u64, body: &[u8]) -> Result<Reply, Reply> {
        let (exchange, broker) = (&self.shared.exchange, &self.entrance.worker.broker);
        let fields = fields(body)?;
        let is_raw = match fields.get("message") {
            None => false,
            Some(Value::String(_)) => self.style() == Style::Source,
            Some(_) => true,
        };
        if is_raw {
            return Ok(exchange.broadcast_raw(sender, member(body, "message")?, broker).await);
        }
        let broadcast = self.shared.rules.broadcast(&fields)?;
        let client_id = broadcast.client_id.as_deref();
        if let Some(first) = exchange.answered(sender, client_id) {
            return Ok(first);
        }
        let id = exchange.mint_id();
        exchange.broadcast(sender, &broadcast, &id, broker).await?;
        let reply = Reply::done(&Value::Null);
        exchange.note_answer(sender, client_id, &reply);
        Ok(reply)
    }
}

fn fields(body: &[u8]) -> Result<Fields, Reply> {
    let text = std::str::from_utf8(body).map_err(|_| Code::BadRequest)?;
    let is_object = text.trim_ascii_start().starts_with('{');
    let fields = is_object.then(|| Fields::read(Some(text)));
    match fields {
        Some(Ok(fields)) => Ok(fields),
        _ => Err(Code::BadRequest.into()),
    }
}

/// A member of the body as it was written.
fn member(body: &[u8], name: &str) -> Result<String, Reply> {
    let members: HashMap<String, Box<RawValue>> = serde_json::from_slice(body).map_err(|_| Code::BadRequest)?;
    let member = members.get(name).ok_or(Code::BadRequest)?;
    Ok(member.get().to_owned())
}
