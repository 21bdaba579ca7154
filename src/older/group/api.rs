//! The HTTP interface (`docs/protocols/group.md §2`): users ask with their token for what is theirs, services with their
//! key change groups and notify. One call a file.
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
        http::{body, query::Query},
    },
    limits,
    older::group::{code::Code, endpoint::GroupEndpoint},
};

mod change_members;
mod fields;
mod group_info;
mod groups_of_user;
mod make_group;
mod members;
mod messages;
mod notifications;
mod notify;
mod offline;
mod read_notifications;
mod reload_blacklist;
mod request;
mod status;

use request::ApiRequest;

type ApiResult = Result<Value, Code>;

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
            Err(body::NoBody::NoRoom(_)) => Err(Code::Busy),
            Err(body::NoBody::Broken) => Err(Code::BadBody("the body broke off, or came too slowly")),
        };
        written(answer)
    };
    edge::route(config, &format!("{path}/{{below:.*}}"), Methods::Any, group, serve);
}

async fn answer(request: ApiRequest<'_>, path: &str) -> ApiResult {
    request.check_address()?;
    let parts: Vec<String> = path.split('/').skip(1).map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let is_get = matches!(*request.http.method(), Method::GET | Method::HEAD);
    match parts[..] {
        ["users", "status"] => request.status().await,
        ["users", user, "groups"] => request.groups_of_user(user).await,
        ["messages"] => request.messages().await,
        ["messages", "offline"] => request.offline().await,
        ["notifications"] if is_get => request.notifications().await,
        ["notifications"] => request.notify().await,
        ["notifications", "unread-count"] => request.unread_notifications().await,
        ["notifications", "read"] => request.read_notifications().await,
        ["notifications", "read-all"] => request.read_all_notifications().await,
        ["groups"] => request.make_group().await,
        ["groups", group] => request.group_info(group),
        ["groups", group, "members"] if is_get => request.members(group),
        ["groups", group, "members"] => request.change_members(group).await,
        ["blacklist", "reload"] => request.reload_blacklist(),
        _ => Err(Code::NoPath),
    }
}

fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// The answer to a request that is not looked at.
pub fn too_frequent() -> HttpResponse {
    written(Err(Code::TooFrequent))
}

fn written(answer: ApiResult) -> HttpResponse {
    let code = match answer {
        Ok(data) => return HttpResponse::Ok().json(json!({"code": 0, "message": "success", "data": data})),
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
