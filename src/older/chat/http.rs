//! The HTTP interface (`docs/protocols/chat.md §3, §6`).

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use serde_json::json;

use crate::{
    actors::refusals::Reason,
    config::ChatCompat,
    edge::{self, Methods, http::query::Query},
    older::chat::{
        code::Code,
        endpoint::ChatEndpoint,
        identity::{TokenUser, Unauthorized},
        reply::Reply,
    },
};

mod history;
mod send;

/// A reply as a response.
pub fn respond(reply: &Reply, compat: ChatCompat) -> HttpResponse {
    let status = reply.code.map(|code| StatusCode::from_u16(code.row().status));
    let status = status.and_then(Result::ok).unwrap_or_default();
    let mut response = HttpResponse::build(status);
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.insert_header((header::RETRY_AFTER, "1"));
    }
    response.content_type("application/json; charset=utf-8").body(reply.json(compat, None))
}

/// For other methods than `allowed`, which are those of a path.
pub fn no_method(endpoint: &ChatEndpoint, allowed: &'static str) -> HttpResponse {
    let mut response = respond(&Code::MethodNotAllowed.into(), endpoint.shared.compat());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Why a request has no success to tell.
enum Failure {
    Unauthorized(Unauthorized),
    Refused(Reply),
}

type Outcome<T = Reply> = Result<T, Failure>;

/// What a call answers when all is well.
trait Told {
    fn response(self, compat: ChatCompat) -> HttpResponse;
}

impl Told for Reply {
    fn response(self, compat: ChatCompat) -> HttpResponse {
        respond(&self, compat)
    }
}

impl<T: Into<Reply>> From<T> for Failure {
    fn from(refused: T) -> Self {
        Self::Refused(refused.into())
    }
}

impl ChatEndpoint {
    /// Who asks.
    fn user(&self, request: &HttpRequest) -> Result<TokenUser, Failure> {
        let user = self.shared.tokens.get().user(request);
        user.map_err(|unauthorized| {
            let why = || format!("chat: a request is refused: {unauthorized}");
            self.ingress.note_refusal(request, Reason::Token, why);
            Failure::Unauthorized(unauthorized)
        })
    }

    async fn online_count(&self, _: &HttpRequest, _: &mut web::Payload) -> Outcome {
        let count = self.shared.count_online(&self.ingress.worker.broker).await;
        Ok(Reply::done(&match self.shared.compat() {
            ChatCompat::Document => json!({ "count": count }),
            ChatCompat::Source => json!({ "online_count": count }),
        }))
    }

    async fn online_users(&self, request: &HttpRequest, _: &mut web::Payload) -> Outcome {
        self.user(request)?;
        let users = self.shared.all_online(&self.ingress.worker.broker).await;
        Ok(Reply::done(&match self.shared.compat() {
            ChatCompat::Document => json!({ "users": users }),
            ChatCompat::Source => json!({ "online_users": users }),
        }))
    }

    /// §9: only a deep look asks the store.
    async fn health(&self, request: &HttpRequest, _: &mut web::Payload) -> HttpResponse {
        let time = self.shared.now_text();
        let mut body = json!({"status": "ok", "service": "websocket-service", "time": time});
        if Query::of(request).get("deep") != Some("1") {
            return HttpResponse::Ok().json(body);
        }
        let store = if self.shared.settings.uses_mongodb() { "mongodb" } else { "store" };
        if let Err(error) = self.shared.archive.ping().await {
            tracing::warn!(%error, "the store of the chat does not answer");
            body["status"] = "error".into();
            body[store] = "down".into();
            return HttpResponse::ServiceUnavailable().json(body);
        }
        body[store] = "up".into();
        HttpResponse::Ok().json(body)
    }
}

/// Serves `path` by what `handler` answers; other methods are refused.
fn serve<H, T: Told>(config: &mut web::ServiceConfig, path: &str, methods: Methods, endpoint: &ChatEndpoint, handler: H)
where
    H: AsyncFn(&ChatEndpoint, &HttpRequest, &mut web::Payload) -> Outcome<T> + Clone + 'static,
{
    let answer = async move |endpoint: &ChatEndpoint, request: &HttpRequest, payload: &mut web::Payload| {
        let compat = endpoint.shared.compat();
        match handler(endpoint, request, payload).await {
            Ok(told) => told.response(compat),
            Err(Failure::Refused(reply)) => respond(&reply, compat),
            Err(Failure::Unauthorized(unauthorized)) => unauthorized.response(compat),
        }
    };
    edge::route(config, path, methods, endpoint, answer);
    refuse_others(config, path, methods, endpoint);
}

fn refuse_others(config: &mut web::ServiceConfig, path: &str, methods: Methods, endpoint: &ChatEndpoint) {
    let allowed = if methods == Methods::Post { "POST" } else { "GET, HEAD" };
    edge::route(config, path, Methods::Any, endpoint, async move |endpoint: &ChatEndpoint, _: &_, _: &mut _| {
        no_method(endpoint, allowed)
    });
}

/// Serves everything but the WebSocket.
pub fn routes(config: &mut web::ServiceConfig, endpoint: &ChatEndpoint) {
    let settings = &endpoint.shared.settings;
    let path = |name: &str| format!("{}/{name}", settings.api_path.trim_end_matches('/'));
    serve(config, &path("online-count"), Methods::Read, endpoint, ChatEndpoint::online_count);
    serve(config, &path("online-users"), Methods::Read, endpoint, ChatEndpoint::online_users);
    serve(config, &path("send-message"), Methods::Post, endpoint, ChatEndpoint::send_message);
    serve(config, &path("broadcast"), Methods::Post, endpoint, ChatEndpoint::broadcast);
    serve(config, &path("messages"), Methods::Read, endpoint, ChatEndpoint::messages);
    let of_room = format!("{}/{{room_id}}/messages", settings.room_path.trim_end_matches('/'));
    serve(config, &of_room, Methods::Read, endpoint, ChatEndpoint::messages);
    edge::route(config, &settings.health_path, Methods::Read, endpoint, ChatEndpoint::health);
    refuse_others(config, &settings.health_path, Methods::Read, endpoint);
}
