//! The HTTP interface (`docs/protocols/group.md §2`): users ask with their token for what is theirs, services with their
//! key change groups and notify.
//!
//! Answers have the shape of the older HTTP service: `{"code":0,"message":"success","data":…}`, or the HTTP status as
//! `code` with `"data":null`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{ALLOW, RETRY_AFTER},
    },
    web,
};
use serde_json::{Value, json};

use crate::{
    edge::{
        self, Methods,
        http::{body, long::AnswerBody, query::Query},
    },
    limits,
    older::group::{code::Code, endpoint::GroupEndpoint},
};

mod fields;
mod groups;
mod messages;
mod notifications;
mod request;

use request::ApiRequest;

type ApiResult = Result<Value, Code>;

/// What a call answers.
enum Told {
    Data(Value),
    Long(AnswerBody),
}

/// Serves everything below `path`.
pub fn routes(config: &mut web::ServiceConfig, group: &GroupEndpoint, path: &str) {
    let path = path.trim_end_matches('/');
    let length = path.len();
    let serve = async move |group: &GroupEndpoint, request: &HttpRequest, payload: &mut web::Payload| {
        let answer = match body::read(request, payload, limits::GROUP_BODY_BYTES).await {
            Ok(body) => {
                let query = Query::parse(request.query_string());
                let below = request.path().get(length..).unwrap_or_default();
                answer(ApiRequest { group, http: request, query, body }, below).await
            }
            Err(body::NoBody::TooLarge { .. }) => Err(Code::BodyTooLarge),
            Err(body::NoBody::NoRoom(full)) => Err(Code::NoMemory(full.to_string())),
            Err(body::NoBody::Broken) => Err(Code::BadBody("the body broke off, or came too slowly")),
        };
        written(answer)
    };
    edge::route(config, &format!("{path}/{{below:.*}}"), Methods::Any, group, serve);
}

async fn answer(request: ApiRequest<'_>, path: &str) -> Result<Told, Code> {
    request.check_address()?;
    let parts: Vec<String> = path.split('/').skip(1).map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let method = request.http.method();
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let data = match (method, &parts[..]) {
        ("GET", ["messages"]) => return request.messages().await,
        ("GET", ["messages", "offline"]) => return request.offline_messages().await,
        ("GET", ["users", "status"]) => request.status().await,
        ("GET", ["users", user, "groups"]) => request.groups_of_user(user).await,
        ("GET", ["notifications"]) => request.notifications().await,
        ("POST", ["notifications"]) => request.notify().await,
        ("GET", ["notifications", "unread-count"]) => request.unread_notifications().await,
        ("POST", ["notifications", "read"]) => request.read_notifications().await,
        ("POST", ["notifications", "read-all"]) => request.read_all_notifications().await,
        ("POST", ["groups"]) => request.make_group().await,
        ("GET", ["groups", group]) => request.group(group),
        ("GET", ["groups", group, "members"]) => request.members(group),
        ("POST", ["groups", group, "members"]) => request.add_members(group).await,
        ("DELETE", ["groups", group, "members"]) => request.remove_members(group).await,
        ("POST", ["blacklist", "reload"]) => request.reload_blacklist(),
        (_, ["users", "status"] | ["users", _, "groups"] | ["messages"] | ["messages", "offline"])
        | (_, ["notifications", "unread-count"] | ["groups", _]) => Err(Code::BadMethod("GET")),
        (_, ["notifications", "read" | "read-all"] | ["groups"] | ["blacklist", "reload"]) => {
            Err(Code::BadMethod("POST"))
        }
        (_, ["notifications"]) => Err(Code::BadMethod("GET, POST")),
        (_, ["groups", _, "members"]) => Err(Code::BadMethod("GET, POST, DELETE")),
        _ => Err(Code::NoPath),
    };
    data.map(Told::Data)
}

impl ApiRequest<'_> {
    /// Of anybody, without credentials, as the older server.
    async fn status(&self) -> ApiResult {
        let status = self.groups().status(&self.parameter("user_id").ok_or(Code::NoUser)?).await?;
        Ok(json!(status))
    }

    /// Reads the file of the blacklist again (`docs/protocols/group.md §8`).
    fn reload_blacklist(&self) -> ApiResult {
        self.must_be_service()?;
        match self.group.shared.ip_filter.reload() {
            Ok(networks) => Ok(json!({"networks": networks})),
            Err(faults) => {
                tracing::error!("the old blacklist of the group protocol stays in use: {faults}");
                Err(Code::BadBlacklist(faults.to_string()))
            }
        }
    }
}

fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// The answer to a request that is not looked at.
pub fn too_frequent() -> HttpResponse {
    written(Err(Code::TooFrequent))
}

fn written(answer: Result<Told, Code>) -> HttpResponse {
    let code = match answer {
        Ok(Told::Long(body)) => return HttpResponse::Ok().content_type("application/json").body(body),
        Ok(Told::Data(data)) => return HttpResponse::Ok().json(json!({"code": 0, "message": "success", "data": data})),
        Err(code) => code,
    };
    let reply = code.reply();
    let status = StatusCode::from_u16(reply.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Code::BadMethod(allowed) = code {
        response.insert_header((ALLOW, allowed));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.insert_header((RETRY_AFTER, "1"));
    }
    let mut body = json!({"code": reply.code, "message": reply.text, "data": null});
    if !reply.reason.is_empty() {
        body["reason"] = reply.reason.into();
    }
    response.json(body)
}
