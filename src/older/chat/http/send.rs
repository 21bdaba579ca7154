//! Messages by HTTP (`docs/protocols/chat.md §6`), in the shapes of the document and of the source.

use std::collections::HashMap;

use actix_web::{HttpRequest, web};
use serde_json::{Value, value::RawValue};

use crate::{
    config::ChatCompat,
    edge::http::body::{self, Body, NoBody},
    limits,
    older::chat::{
        code::Code,
        commands::Broadcast,
        endpoint::ChatEndpoint,
        fields::Fields,
        http::{Failure, Outcome},
        names::{EVERYBODY, PRIVATE_ROOM, Room, private_room, user_channel},
        push::publish_raw,
        reply::Reply,
    },
};

impl ChatEndpoint {
    /// The body, if the sender may send.
    async fn body(&self, request: &HttpRequest, payload: &mut web::Payload) -> Result<Body, Failure> {
        let limiter = self.shared.limiter.as_ref();
        if limiter.is_some_and(|limiter| limiter.check().is_err()) {
            let why = "more requests than chat.requests_per_second allows; try again in a second";
            return Err(Reply::from(Code::TooFast).because(why).into());
        }
        let body = body::read(request, payload, limits::CHAT_FRAME_BYTES).await;
        body.map_err(|no_body| match no_body {
            NoBody::TooLarge { .. } => Code::TooLarge.into(),
            NoBody::Broken => bad_request("the body broke off, or came too slowly"),
            NoBody::NoRoom(full) => Reply::from(Code::Unavailable).because(full.to_string()).into(),
        })
    }

    /// To a user, or to an open room.
    pub(super) async fn send_message(&self, request: &HttpRequest, payload: &mut web::Payload) -> Outcome {
        let (chat, broker) = (&self.shared, &self.ingress.worker.broker);
        let sender = self.user(request)?.id;
        let body = self.body(request, payload).await?;
        let fields = fields(&body)?;
        let is_raw = fields.value("to_user_id").is_none()
            && fields.value("content").is_none()
            && fields.value("message").is_some();
        if is_raw {
            let to = fields.user("user_id").ok().flatten();
            let to = to.ok_or_else(|| bad_request("user_id must be a whole number from 1 to 2^63-1"))?;
            return self.send_raw(sender, to, member(&body, "message")?).await;
        }
        let room = fields.text("room_id").map_err(|_| bad_request("room_id must be a text"))?;
        let to = fields.user("to_user_id")?;
        let (room, to) = match (Room::parse(room), to) {
            (_, None) if room.is_empty() => return Err(Code::Incomplete.into()),
            // Only a conversation of others is refused (§6). Whatever else the back end calls the room, the message is for
            // one user, and stands where all between these two does: an open room has other readers.
            (_, Some(to)) => {
                let own = private_room(sender, to);
                if room.starts_with(PRIVATE_ROOM) && room != own {
                    let text = Code::BadRequest.row().text;
                    let text = format!("{text}: room_id 不是 {sender} 与 {to} 的私聊 (it is {own})");
                    let reason = format!("room_id is another private room than that of users {sender} and {to}, {own}");
                    return Err(Reply::with_text(Code::BadRequest, text).because(reason).into());
                }
                (own, to)
            }
            (Some(Room::Private(one, other)), None) if one == sender => (room.to_owned(), other),
            (Some(Room::Private(one, other)), None) if other == sender => (room.to_owned(), one),
            (Some(Room::Open(room)), None) => (room.to_owned(), 0),
            _ => {
                return Err(bad_request(
                    "without to_user_id, room_id must be a private room of the sender, private_<smaller user>_<larger \
                     user>, or one that join_room takes",
                ));
            }
        };
        let text = fields.message(chat.rules())?;
        if text.content.is_empty() {
            return Err(Code::Incomplete.into());
        }
        Ok(chat.send_to_room(sender, room, to, text, broker).await)
    }

    /// To everybody online.
    pub(super) async fn broadcast(&self, request: &HttpRequest, payload: &mut web::Payload) -> Outcome {
        let (chat, broker) = (&self.shared, &self.ingress.worker.broker);
        let sender = self.user(request)?.id;
        let body = self.body(request, payload).await?;
        let fields = fields(&body)?;
        let is_raw = match fields.value("message") {
            None => false,
            Some(Value::String(_)) => chat.compat() == ChatCompat::Source,
            Some(_) => true,
        };
        if is_raw {
            return self.broadcast_raw(sender, member(&body, "message")?).await;
        }
        let broadcast = Broadcast::parse(&fields, chat.rules())?;
        let client_id = broadcast.client_id.as_deref();
        if let Some(first) = chat.first_replies.find(sender, client_id) {
            return Ok(first);
        }
        chat.broadcast(sender, &broadcast, &chat.mint_id(), broker).await?;
        let reply = Reply::done(&Value::Null);
        chat.first_replies.note(sender, client_id, &reply);
        Ok(reply)
    }

    /// The source's way (§6): whatever it is, to somebody who is online; neither stored nor moderated.
    async fn send_raw(&self, from: u64, to: u64, json: String) -> Outcome {
        let (chat, broker) = (&self.shared, &self.ingress.worker.broker);
        let failed = || Reply::from(Code::SourceFailed).bare();
        if !chat.is_online(to, broker).await {
            return Err(failed().into());
        }
        let publish = publish_raw(from, &chat.mint_id(), json);
        let published = broker.publish(&user_channel(to), publish).await;
        published.map_err(|_| failed())?;
        Ok(Reply::done_with_text("发送成功"))
    }

    /// As [`Self::send_raw`], to everybody online.
    async fn broadcast_raw(&self, from: u64, json: String) -> Outcome {
        let publish = publish_raw(from, &self.shared.mint_id(), json);
        let published = self.ingress.worker.broker.publish(&EVERYBODY.into(), publish).await;
        published.map_err(|fault| Reply::of_fault(&fault, Code::BroadcastFailed))?;
        Ok(Reply::done_with_text("广播成功"))
    }
}

/// The body is an object, and cannot be taken for this reason.
fn bad_request(reason: &'static str) -> Failure {
    Reply::from(Code::BadRequest).because(reason).into()
}

/// What is no object is 1001 here, what is wrong in it 10001.
fn fields(body: &[u8]) -> Result<Fields, Code> {
    let text = std::str::from_utf8(body).map_err(|_| Code::BadRequest)?;
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Code::BadRequest);
    }
    Fields::read(Some(text), Code::Unreadable).map_err(|_| Code::BadRequest)
}

/// A member of the body as it was written.
fn member(body: &[u8], name: &str) -> Result<String, Code> {
    let members: HashMap<String, Box<RawValue>> = serde_json::from_slice(body).map_err(|_| Code::BadRequest)?;
    let member = members.get(name).ok_or(Code::BadRequest)?;
    Ok(member.get().to_owned())
}
