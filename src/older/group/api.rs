//! The HTTP interface (`docs/protocols/group.md §2`): users ask with their token for what is theirs, services with their
//! key change groups and notify.
//!
//! Answers have the shape of the older HTTP service: `{"code":0,"message":"success","data":…}`, or the HTTP status as
//! `code` with `"data":null`.

use std::{borrow::Cow, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{ALLOW, AUTHORIZATION, RETRY_AFTER},
    },
    web,
};
use serde_json::{Value, json};

use crate::{
    actors::refusals::Reason,
    edge::http::{body, query::Query},
    limits,
    older::group::{code::Code, door::Group},
};

mod reads;
mod writes;

/// Why a request is refused: its HTTP status, and what people read.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    text: Cow<'static, str>,
    /// The same in English, with what would be taken; empty where the text says it.
    reason: Cow<'static, str>,
    allow: Option<&'static str>,
}

type Answer = Result<Value, Refused>;

/// Whoever asks.
pub enum Caller {
    User(Arc<str>),
    /// May ask for anybody.
    Service,
}

impl Refused {
    fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into(), reason: "".into(), allow: None }
    }

    fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    fn because(self, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    fn method(allow: &'static str) -> Self {
        let refused = Self::new(StatusCode::METHOD_NOT_ALLOWED, "请求方法不允许");
        Self { allow: Some(allow), ..refused }.because(format!("the path does not have the method; it has {allow}"))
    }
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        let status = StatusCode::from_u16(code.number());
        Self::new(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), code.text()).because(code.reason())
    }
}

/// A request as its handlers see it.
pub struct Asked<'a> {
    group: &'a Group,
    request: &'a HttpRequest,
    query: Query,
    body: web::Bytes,
}

impl Asked<'_> {
    /// The service by its key, or a user by its token.
    fn caller(&self) -> Result<Caller, Refused> {
        let shared = &self.group.shared;
        let headers = self.request.headers();
        let key = headers.get("X-Service-Key");
        if let Some(key) = key {
            return if shared.access.get().is_service(key.as_bytes()) {
                Ok(Caller::Service)
            } else {
                self.note_failure();
                Err(Code::Unauthorized.into())
            };
        }
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let Some(token) = token else {
            return Err(Code::Unauthorized.into());
        };
        let now = shared.forum.clock.now();
        let reason = match shared.access.get().check(token, &shared.forum.clock) {
            Ok(pass) if !pass.has_expired(now) => return Ok(Caller::User(pass.user)),
            Ok(_) => None,
            Err(denied) => denied.reason,
        };
        self.note_failure();
        Err(match reason {
            None => Code::Expired.into(),
            Some(reason) => Refused::new(StatusCode::UNAUTHORIZED, format!("{}: {reason}", Code::Expired.text())),
        })
    }

    fn note_failure(&self) {
        let address = self.group.address_of(self.request);
        let why = || "group: a token or the key of a service is refused".to_owned();
        self.group.entrance.worker.broker.refused(Reason::Token, Some(address), why);
        self.group.shared.note_failure(address);
    }

    fn service(&self) -> Result<(), Refused> {
        match self.caller()? {
            Caller::Service => Ok(()),
            Caller::User(_) => {
                Err(Refused::new(StatusCode::FORBIDDEN, "需要服务密钥").because("for services: show X-Service-Key"))
            }
        }
    }

    /// The user that a request is about: a user's own, or the one that a service names.
    fn user(&self, named: Option<String>) -> Result<Arc<str>, Refused> {
        let named = named.filter(|name| !name.is_empty());
        match (self.caller()?, named) {
            (Caller::User(own), None) => Ok(own),
            (Caller::User(own), Some(named)) if *own == *named => Ok(own),
            (Caller::User(_), Some(_)) => {
                let why = "a user may ask for its own data; services ask for that of others with X-Service-Key";
                Err(Refused::new(StatusCode::FORBIDDEN, "只能访问自己的数据").because(why))
            }
            (Caller::Service, Some(named)) => Ok(named.into()),
            (Caller::Service, None) => Err(Refused::bad("缺少 user_id 参数")),
        }
    }

    fn parameter(&self, name: &str) -> Option<String> {
        self.query.get(name).map(str::to_owned)
    }

    /// A whole number of at least `least`; more than `most` counts as that.
    fn number(&self, name: &str, default: usize, least: usize, most: usize) -> Result<usize, Refused> {
        let Some(text) = self.query.get(name).filter(|text| !text.is_empty()) else {
            return Ok(default);
        };
        match text.parse::<usize>() {
            Ok(number) if number >= least => Ok(number.min(most)),
            _ => {
                let why = format!("{name} must be a whole number of at least {least}");
                Err(Refused::bad(format!("{name} 参数无效")).because(why))
            }
        }
    }

    /// The page that is asked for: its number from 1, its size, and what comes before it.
    fn page(&self) -> Result<(usize, usize, usize), Refused> {
        let page = self.number("page", 1, 1, 1 << 32)?;
        let size = self.number("page_size", limits::GROUP_PAGE, 1, limits::GROUP_PAGE_MAX)?;
        Ok((page, size, (page - 1).saturating_mul(size)))
    }

    /// The body, an object with no other fields than these: what is misspelt must not look as if it had been done.
    fn object(&self, fields: &[&str]) -> Result<Value, Refused> {
        let body = serde_json::from_slice::<Value>(&self.body);
        let body = body.ok().filter(Value::is_object);
        let body = body.ok_or_else(|| Refused::bad("请求格式错误").because("the body must be a JSON object"))?;
        only_fields(&body, fields)?;
        Ok(body)
    }

    fn only(&self, methods: &[Method], allow: &'static str) -> Result<(), Refused> {
        let method = self.request.method();
        if methods.contains(method) { Ok(()) } else { Err(Refused::method(allow)) }
    }

    async fn answer(&self, path: &str) -> Answer {
        let address = self.group.address_of(self.request);
        if self.group.shared.barrier.check(address).is_err() {
            self.group.shared.forum.figures.barred();
            let why = "the address is on the blacklist (group.blacklist, group.blacklist_file), or banned for a while";
            return Err(Refused::new(StatusCode::FORBIDDEN, "禁止访问").because(why));
        }
        let parts: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let is_get = matches!(*self.request.method(), Method::GET | Method::HEAD);
        match parts[..] {
            ["users", "status"] => self.status().await,
            ["users", user, "groups"] => self.groups_of(user).await,
            ["messages"] => self.messages().await,
            ["messages", "offline"] => self.offline().await,
            ["notifications"] if is_get => self.notifications().await,
            ["notifications"] => self.notify().await,
            ["notifications", "unread-count"] => self.unread_count().await,
            ["notifications", "read"] => self.read().await,
            ["notifications", "read-all"] => self.read_all().await,
            ["groups"] => self.make_group().await,
            ["groups", group] => self.group_info(group),
            ["groups", group, "members"] if is_get => self.members(group),
            ["groups", group, "members"] => self.change_members(group).await,
            ["blacklist", "reload"] => self.reload(),
            _ => Err(Refused::new(StatusCode::NOT_FOUND, "接口不存在").because("the API has no such path")),
        }
    }
}

/// Serves everything below `path`.
pub fn routes(config: &mut web::ServiceConfig, group: &Group, path: &str) {
    let path = path.trim_end_matches('/').to_owned();
    let length = path.len();
    let door = group.clone();
    let answer = move |request: HttpRequest, mut payload: web::Payload| {
        let door = door.clone();
        async move {
            let read = body::read(request.headers(), &mut payload, limits::GROUP_BODY_BYTES).await;
            body::discard(request.headers(), &mut payload, limits::GROUP_BODY_BYTES).await;
            let answered = match read {
                Ok(body) => {
                    let asked =
                        Asked { group: &door, request: &request, query: Query::parse(request.query_string()), body };
                    let below = request.path().get(length..).unwrap_or_default();
                    asked.answer(below).await
                }
                Err(body::NoBody::TooLarge { .. }) => {
                    let why = format!("a body may have {} bytes", limits::GROUP_BODY_BYTES);
                    Err(Refused::from(Code::TooLarge).because(why))
                }
                Err(body::NoBody::Broken) => {
                    Err(Refused::bad("请求格式错误").because("the body broke off, or came too slowly"))
                }
            };
            written(&door, answered)
        }
    };
    config.service(web::resource(format!("{path}/{{below:.*}}")).to(answer));
}

fn written(door: &Group, answered: Answer) -> HttpResponse {
    match answered {
        Ok(data) => HttpResponse::Ok().json(json!({"code": 0, "message": "success", "data": data})),
        Err(refused) => {
            door.entrance.worker.count(|counters| counters.errors_told += 1);
            let mut response = HttpResponse::build(refused.status);
            if let Some(allow) = refused.allow {
                response.insert_header((ALLOW, allow));
            }
            if refused.status == StatusCode::SERVICE_UNAVAILABLE {
                response.insert_header((RETRY_AFTER, "1"));
            }
            let code = refused.status.as_u16();
            let mut body = json!({"code": code, "message": refused.text, "data": null});
            if !refused.reason.is_empty() {
                body["reason"] = refused.reason.into();
            }
            response.json(body)
        }
    }
}

fn decoded(part: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(part);
    decoded.decode_utf8_lossy().into_owned()
}

/// # Errors
/// Names the first field that is none of these.
fn only_fields(object: &Value, fields: &[&str]) -> Result<(), Refused> {
    let mut names = object.as_object().into_iter().flat_map(serde_json::Map::keys);
    let Some(unknown) = names.find(|name| !fields.contains(&name.as_str())) else {
        return Ok(());
    };
    let shown: String = unknown.chars().take(limits::ECHOED_CHARS).collect();
    Err(Refused::bad(format!("未知字段 {shown} (unknown field; known: {})", fields.join(", "))))
}

/// A field that is a text, or not there.
fn text(object: &Value, name: &str) -> Result<Option<String>, Refused> {
    match &object[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(Refused::bad(format!("{name} 参数无效 (not a text)"))),
    }
}

/// A field that names somebody or something, or is not there.
fn id(object: &Value, name: &str) -> Result<Option<String>, Refused> {
    match &object[name] {
        Value::Null => Ok(None),
        value => {
            let id = text_of(value);
            id.map(Some).ok_or_else(|| Refused::bad(format!("{name} 参数无效 (neither a text nor a number)")))
        }
    }
}

/// A text, or a number as its text: services write users either way.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
