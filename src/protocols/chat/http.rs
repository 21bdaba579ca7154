//! The HTTP interface (`protocols/chat.md §3, §6`).

use std::num::NonZeroU32;

use actix_web::{
    HttpRequest, HttpResponse, Route,
    http::{StatusCode, header},
    web,
};
use governor::{Quota, RateLimiter};
use serde_json::{Value, json, value::RawValue};

use crate::{
    actors::broker::FrameLimiter,
    clock::Clock,
    edge::http::{
        body::{self, NoBody},
        query::Query,
    },
    limits,
    protocols::chat::{
        code::Code,
        command::SendMessage,
        door::Chat,
        fields::Fields,
        history,
        identity::Visitor,
        names::{Room, private_room},
        reply::{Reply, Style},
    },
};

pub type Limiter = FrameLimiter;

/// For messages of all users together; none without a limit.
pub fn limiter(per_second: u32, clock: Clock) -> Option<Limiter> {
    let rate = NonZeroU32::new(per_second)?;
    Some(RateLimiter::direct_with_clock(
        Quota::per_second(rate),
        clock,
    ))
}

/// A reply as a response.
pub fn respond(reply: &Reply, style: Style) -> HttpResponse {
    let status = reply.code.map_or(StatusCode::OK, Code::status);
    let mut response = HttpResponse::build(status);
    if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        response.insert_header((header::RETRY_AFTER, "1"));
    }
    response
        .content_type("application/json; charset=utf-8")
        .body(reply.json(style, None))
}

/// Why there is no reply to give: who asks is not known.
type Outcome = Result<Reply, HttpResponse>;

impl Chat {
    fn visitor(&self, request: &HttpRequest) -> Result<Visitor, HttpResponse> {
        let visitor = self.shared.gate.visitor(request);
        visitor.map_err(|unknown| unknown.response(self.style()))
    }

    fn told(&self, outcome: Outcome) -> HttpResponse {
        let response =
            outcome.map_or_else(|response| response, |reply| respond(&reply, self.style()));
        if response.status().is_client_error() || response.status().is_server_error() {
            self.entrance
                .worker
                .count(|counters| counters.errors_told += 1);
        }
        response
    }

    fn online_count(&self) -> Reply {
        let count = self.shared.exchange.online.count();
        Reply::done(&match self.style() {
            Style::Document => json!({ "count": count }),
            Style::Source => json!({ "online_count": count }),
        })
    }

    fn online_users(&self, request: &HttpRequest) -> Outcome {
        self.visitor(request)?;
        let users = self.shared.exchange.online.users();
        Ok(Reply::done(&match self.style() {
            Style::Document => json!({ "users": users }),
            Style::Source => json!({ "online_users": users }),
        }))
    }

    /// The body, if the sender may send.
    async fn body(
        &self,
        request: &HttpRequest,
        payload: &mut web::Payload,
    ) -> Result<web::Bytes, Reply> {
        let limiter = self.shared.limiter.as_ref();
        if limiter.is_some_and(|limiter| limiter.check().is_err()) {
            return Err(Code::TooFast.into());
        }
        let body = body::read(request.headers(), payload, limits::CHAT_FRAME_BYTES).await;
        body.map_err(|no_body| match no_body {
            NoBody::TooLarge { .. } => Code::TooLarge.into(),
            NoBody::Broken => Code::BadRequest.into(),
        })
    }

    async fn send_message(&self, request: &HttpRequest, payload: &mut web::Payload) -> Outcome {
        let sender = self.visitor(request)?.id;
        Ok(match self.body(request, payload).await {
            Ok(body) => self
                .send(sender, &body)
                .await
                .unwrap_or_else(|refused| refused),
            Err(refused) => refused,
        })
    }

    async fn send(&self, sender: u64, body: &[u8]) -> Result<Reply, Reply> {
        let (exchange, broker) = (&self.shared.exchange, &self.entrance.worker.broker);
        let fields = fields(body)?;
        let is_sources = fields.get("to_user_id").is_none()
            && fields.get("content").is_none()
            && fields.get("message").is_some();
        if is_sources {
            let to = fields.user("user_id").map_err(|_| Code::BadRequest)?;
            let to = to.ok_or(Code::BadRequest)?;
            return Ok(exchange
                .send_raw(sender, to, member(body, "message")?, broker)
                .await);
        }
        let room = fields
            .text("room_id")
            .map_err(|wrong| wrong.told(Code::BadRequest))?;
        let to = fields
            .user("to_user_id")
            .map_err(|wrong| wrong.told(Code::Unreadable))?;
        let message = |to| {
            let message = self.shared.rules.message(&fields);
            let (content, kind, client_id) =
                message.map_err(|wrong| wrong.told(Code::Unreadable))?;
            if content.is_empty() {
                return Err(Reply::from(Code::Incomplete));
            }
            Ok(SendMessage {
                to,
                content,
                kind,
                client_id,
            })
        };
        let room = room.filter(|room| !room.is_empty());
        let to = match (room, to) {
            (None, None) => return Err(Code::Incomplete.into()),
            (None, Some(to)) => to,
            (Some(room), Some(to)) if room == private_room(sender, to) => to,
            (Some(room), None) => match Room::parse(room) {
                Some(Room::Private(one, other)) if one == sender => other,
                Some(Room::Private(one, other)) if other == sender => one,
                Some(Room::Open(room)) => {
                    let SendMessage {
                        content,
                        kind,
                        client_id,
                        ..
                    } = message(0)?;
                    let message = (content, kind, client_id);
                    return Ok(exchange
                        .send_to_room(sender, room.to_owned(), message, broker)
                        .await);
                }
                _ => return Err(Code::BadRequest.into()),
            },
            (Some(_), Some(_)) => return Err(Code::BadRequest.into()),
        };
        Ok(exchange.send(sender, message(to)?, broker).await)
    }

    async fn broadcast(&self, request: &HttpRequest, payload: &mut web::Payload) -> Outcome {
        let sender = self.visitor(request)?.id;
        Ok(match self.body(request, payload).await {
            Ok(body) => self
                .spread(sender, &body)
                .await
                .unwrap_or_else(|refused| refused),
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
            return Ok(exchange
                .broadcast_raw(sender, member(body, "message")?, broker)
                .await);
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

    async fn messages(&self, request: &HttpRequest, room: Option<&str>) -> Outcome {
        let reader = self.visitor(request)?.id;
        let query = Query::parse(request.query_string());
        let room = room.or_else(|| query.get("room_id")).unwrap_or_default();
        let page = history::page(&self.shared, reader, room, &query).await;
        Ok(page.unwrap_or_else(|refused| refused))
    }

    /// §9: only a deep look asks the store.
    async fn health(&self, request: &HttpRequest) -> HttpResponse {
        let exchange = &self.shared.exchange;
        let time = exchange.now_text();
        let is_deep = Query::parse(request.query_string()).get("deep") == Some("1");
        let well = json!({"status": "ok", "service": "websocket-service", "time": time});
        if !is_deep {
            return HttpResponse::Ok().json(well);
        }
        let store = if self.shared.settings.uses_mongodb() {
            "mongodb"
        } else {
            "store"
        };
        let (mut response, status, state) = match exchange.archive.ping().await {
            Ok(()) => (HttpResponse::Ok(), "ok", "up"),
            Err(error) => {
                tracing::warn!(%error, "the store of the chat does not answer");
                (HttpResponse::ServiceUnavailable(), "error", "down")
            }
        };
        response.json(json!({
            "status": status, "service": "websocket-service", "time": time, store: state,
        }))
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
    let members: std::collections::HashMap<String, Box<RawValue>> =
        serde_json::from_slice(body).map_err(|_| Code::BadRequest)?;
    let member = members.get(name).ok_or(Code::BadRequest)?;
    Ok(member.get().to_owned())
}

/// For other methods than those of a path.
pub fn no_method(chat: &Chat) -> Route {
    let chat = chat.clone();
    web::to(move || {
        let response = chat.told(Ok(Code::MethodNotAllowed.into()));
        async move { response }
    })
}

/// Serves everything but the WebSocket.
pub fn routes(config: &mut web::ServiceConfig, chat: &Chat) {
    let settings = &chat.shared.settings;
    let path = |name: &str| format!("{}/{name}", settings.api_path.trim_end_matches('/'));
    let mut serve = |path: &str, route: Route| {
        config.service(
            web::resource(path)
                .route(route)
                .default_service(no_method(chat)),
        );
    };

    let door = chat.clone();
    let count = move || {
        let response = door.told(Ok(door.online_count()));
        async move { response }
    };
    serve(&path("online-count"), web::get().to(count));

    let door = chat.clone();
    let users = move |request: HttpRequest| {
        let response = door.told(door.online_users(&request));
        async move { response }
    };
    serve(&path("online-users"), web::get().to(users));

    let door = chat.clone();
    let send = move |request: HttpRequest, mut payload: web::Payload| {
        let door = door.clone();
        async move {
            let outcome = door.send_message(&request, &mut payload).await;
            body::discard(request.headers(), &mut payload, limits::CHAT_FRAME_BYTES).await;
            door.told(outcome)
        }
    };
    serve(&path("send-message"), web::post().to(send));

    let door = chat.clone();
    let broadcast = move |request: HttpRequest, mut payload: web::Payload| {
        let door = door.clone();
        async move {
            let outcome = door.broadcast(&request, &mut payload).await;
            body::discard(request.headers(), &mut payload, limits::CHAT_FRAME_BYTES).await;
            door.told(outcome)
        }
    };
    serve(&path("broadcast"), web::post().to(broadcast));

    let door = chat.clone();
    let messages = move |request: HttpRequest| {
        let door = door.clone();
        async move { door.told(door.messages(&request, None).await) }
    };
    serve(&path("messages"), web::get().to(messages));

    let door = chat.clone();
    let of_room = move |request: HttpRequest, room: web::Path<String>| {
        let door = door.clone();
        async move { door.told(door.messages(&request, Some(&room)).await) }
    };
    let room_path = format!(
        "{}/{{room_id}}/messages",
        settings.room_path.trim_end_matches('/')
    );
    serve(&room_path, web::get().to(of_room));

    let door = chat.clone();
    let health = move |request: HttpRequest| {
        let door = door.clone();
        async move { door.health(&request).await }
    };
    serve(&settings.health_path, web::get().to(health));
}
