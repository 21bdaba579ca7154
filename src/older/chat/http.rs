//! The HTTP interface (`docs/protocols/chat.md §3, §6`).

use std::num::NonZeroU32;

use actix_web::{
    HttpRequest, HttpResponse, Route,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use governor::{Quota, RateLimiter};
use serde_json::json;

use crate::{
    actors::{broker::FrameLimiter, refusals::Reason},
    clock::Clock,
    edge::{
        client_address::client_address_of,
        http::{body, methods::read, query::Query},
    },
    limits,
    older::chat::{
        code::Code,
        door::Chat,
        history,
        identity::{Unknown, Visitor},
        reply::{Reply, Style},
    },
};

mod sending;

/// The methods of [`read`].
const READ: &str = "GET, HEAD";

pub type Limiter = FrameLimiter;

/// For messages of all users together; none without a limit.
pub fn limiter(per_second: u32, clock: Clock) -> Option<Limiter> {
    let rate = NonZeroU32::new(per_second)?;
    Some(RateLimiter::direct_with_clock(Quota::per_second(rate), clock))
}

/// A reply as a response.
pub fn respond(reply: &Reply, style: Style) -> HttpResponse {
    let status = reply.code.map_or(StatusCode::OK, Code::status);
    let mut response = HttpResponse::build(status);
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.insert_header((header::RETRY_AFTER, "1"));
    }
    response.content_type("application/json; charset=utf-8").body(reply.json(style, None))
}

/// Who asks may not be known.
type Outcome = Result<Reply, Unknown>;

impl Chat {
    fn visitor(&self, request: &HttpRequest) -> Result<Visitor, Unknown> {
        let visitor = self.shared.gate.get().visitor(request);
        visitor.inspect_err(|unknown| {
            let address = client_address_of(request, &self.entrance.trusted_proxies.get());
            let why = || format!("chat: a request is refused: {}", unknown.reason());
            self.entrance.worker.broker.refused(Reason::Token, Some(address), why);
        })
    }

    fn told(&self, outcome: Outcome) -> HttpResponse {
        let response = match outcome {
            Ok(reply) => respond(&reply, self.style()),
            Err(unknown) => unknown.response(self.style()),
        };
        if response.status().is_client_error() || response.status().is_server_error() {
            self.entrance.worker.count(|counters| counters.errors_told += 1);
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
        let store = if self.shared.settings.uses_mongodb() { "mongodb" } else { "store" };
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

/// For other methods than `allowed`, which are those of a path.
pub fn no_method(chat: &Chat, allowed: &'static str) -> Route {
    let chat = chat.clone();
    web::to(move || {
        let mut response = chat.told(Ok(Code::MethodNotAllowed.into()));
        let headers = response.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        async move { response }
    })
}

/// Serves everything but the WebSocket.
pub fn routes(config: &mut web::ServiceConfig, chat: &Chat) {
    let settings = &chat.shared.settings;
    let path = |name: &str| format!("{}/{name}", settings.api_path.trim_end_matches('/'));
    let mut serve = |path: &str, allowed: &'static str, route: Route| {
        let others = no_method(chat, allowed);
        config.service(web::resource(path).route(route).default_service(others));
    };

    let door = chat.clone();
    let count = move || {
        let response = door.told(Ok(door.online_count()));
        async move { response }
    };
    serve(&path("online-count"), READ, read().to(count));

    let door = chat.clone();
    let users = move |request: HttpRequest| {
        let response = door.told(door.online_users(&request));
        async move { response }
    };
    serve(&path("online-users"), READ, read().to(users));

    let door = chat.clone();
    let send = move |request: HttpRequest, mut payload: web::Payload| {
        let door = door.clone();
        async move {
            let outcome = door.send_message(&request, &mut payload).await;
            body::discard(request.headers(), &mut payload, limits::CHAT_FRAME_BYTES).await;
            door.told(outcome)
        }
    };
    serve(&path("send-message"), "POST", web::post().to(send));

    let door = chat.clone();
    let broadcast = move |request: HttpRequest, mut payload: web::Payload| {
        let door = door.clone();
        async move {
            let outcome = door.broadcast(&request, &mut payload).await;
            body::discard(request.headers(), &mut payload, limits::CHAT_FRAME_BYTES).await;
            door.told(outcome)
        }
    };
    serve(&path("broadcast"), "POST", web::post().to(broadcast));

    let door = chat.clone();
    let messages = move |request: HttpRequest| {
        let door = door.clone();
        async move { door.told(door.messages(&request, None).await) }
    };
    serve(&path("messages"), READ, read().to(messages));

    let door = chat.clone();
    let of_room = move |request: HttpRequest, room: web::Path<String>| {
        let door = door.clone();
        async move { door.told(door.messages(&request, Some(&room)).await) }
    };
    let room_path = format!("{}/{{room_id}}/messages", settings.room_path.trim_end_matches('/'));
    serve(&room_path, READ, read().to(of_room));

    let door = chat.clone();
    let health = move |request: HttpRequest| {
        let door = door.clone();
        async move { door.health(&request).await }
    };
    serve(&settings.health_path, READ, read().to(health));
}
