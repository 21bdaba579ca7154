//! Pushes by HTTP, and what can be asked about them (`docs/protocols/relay.md §2, §4, §5`).

use std::{sync::atomic::Ordering, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
    web,
};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use crate::{
    actors::refusals::Reason,
    edge::{
        client_address::client_address_of,
        http::{
            body::{self, NoBody},
            query::Query,
        },
        refusal::explained,
    },
    error::Fault,
    limits,
    older::relay::{
        away::Wait,
        delivery::Handed,
        door::Relay,
        push::{BadPush, Request},
        schedule::{Unreached, Waiting},
    },
};

/// Everything that a request can be told.
#[derive(Debug)]
pub enum Answer {
    /// The value of `data`.
    Done(serde_json::Value),
    /// The same, written.
    Written(Vec<u8>),
    InvalidKey,
    MethodNotAllowed(&'static str),
    Bad(BadPush),
    BadLimit,
    TooLarge,
    TooManyRequests,
    TooManyConnections,
    UnknownPush,
    /// Try again later.
    Busy,
    DiskFull,
    Failed,
}

impl Answer {
    fn parts(&self) -> (StatusCode, String) {
        let (status, text) = match self {
            Self::Done(_) | Self::Written(_) => (StatusCode::OK, "ok"),
            Self::InvalidKey => (StatusCode::UNAUTHORIZED, "invalid api key"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
            Self::Bad(bad) => return (StatusCode::BAD_REQUEST, bad.to_string()),
            Self::BadLimit => (StatusCode::BAD_REQUEST, "limit is a number from 1 to 1000"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body too large"),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too many requests"),
            Self::TooManyConnections => (StatusCode::TOO_MANY_REQUESTS, "too many connections"),
            Self::UnknownPush => (StatusCode::NOT_FOUND, "unknown or already sent"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "server is busy"),
            Self::DiskFull => (StatusCode::SERVICE_UNAVAILABLE, "the server's disk is full"),
            Self::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        };
        (status, text.to_owned())
    }
}

impl Answer {
    /// What the texts of the document do not say.
    const fn reason(&self) -> &'static str {
        match self {
            Self::InvalidKey => "show relay.api_key in the header X-API-KEY or API-KEY, or the parameter api_key",
            Self::MethodNotAllowed(_) => "the path does not have the method; the header Allow says which it has",
            Self::Bad(bad) => bad.reason(),
            Self::TooLarge => "the body is larger than 1048576 bytes",
            Self::TooManyRequests => "more pushes than relay.pushes_per_second allows; try again in a second",
            Self::TooManyConnections => "as many connections as limits.connections_per_address allows are open",
            Self::UnknownPush => "no push with this id waits",
            Self::Busy => "try again in a second",
            Self::DiskFull => "nothing was kept; the operator has to make room for data.dir",
            Self::Failed => "the log says why",
            Self::Done(_) | Self::Written(_) | Self::BadLimit => "",
        }
    }
}

/// A push has few ways to fail: whatever a client of the relay cannot cause is the server's own fault.
impl From<Fault> for Answer {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy | Fault::ShuttingDown => Self::Busy,
            Fault::DiskFull => Self::DiskFull,
            Fault::RateLimited => Self::TooManyRequests,
            Fault::TooLarge { .. } | Fault::FrameTooLarge { .. } => Self::TooLarge,
            fault => {
                tracing::error!(%fault, "a push failed");
                Self::Failed
            }
        }
    }
}

impl From<Answer> for HttpResponse {
    fn from(answer: Answer) -> Self {
        let (status, msg) = answer.parts();
        let mut response = Self::build(status);
        match &answer {
            Answer::MethodNotAllowed(allow) => {
                response.insert_header((header::ALLOW, *allow));
            }
            Answer::TooManyRequests | Answer::TooManyConnections | Answer::Busy => {
                response.insert_header((header::RETRY_AFTER, "1"));
            }
            _ => {}
        }
        match answer {
            Answer::Done(data) => response.json(json!({"code": 0, "msg": msg, "data": data})),
            Answer::Written(body) => response.content_type("application/json").body(body),
            _ => explained(response.json(json!({"code": -1, "msg": msg})), answer.reason()),
        }
    }
}

/// In the order of the older server, and what is new behind it.
#[derive(Serialize)]
struct Pushed<'a> {
    event_name: &'a str,
    delay_seconds: i64,
    target_user_id: &'a str,
    broadcast: bool,
    parsed_user_raw: Option<&'a RawValue>,
    id: &'a str,
    connections: Option<usize>,
    /// It waits for its user; told where pushes are kept (`offline_ttl_seconds`).
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<bool>,
}

#[derive(Serialize)]
struct Envelope<D> {
    code: i8,
    msg: &'static str,
    data: D,
}

impl Relay {
    /// The first key that is shown decides (§2).
    fn check_key(&self, request: &HttpRequest, query: &Query) -> Result<(), Answer> {
        let headers = request.headers();
        let named = ["X-API-KEY", "API-KEY"].map(|name| headers.get(name));
        let mut named = named.into_iter().flatten().map(|value| value.as_bytes());
        let in_header = named.find(|value| !value.is_empty());
        let in_query = query.get("api_key").filter(|key| !key.is_empty());
        let shared = &self.shared;
        if in_header.is_none() && in_query.is_some() && !shared.key_in_query.swap(true, Ordering::Relaxed) {
            tracing::warn!("a relay push has its key in the URL, where proxies log it; use the header X-API-KEY");
        }
        let shown = in_header.or(in_query.map(str::as_bytes));
        if shown.is_some_and(|shown| shared.keys.get().api_key.matches(shown)) {
            return Ok(());
        }
        let address = client_address_of(request, &self.entrance.trusted_proxies.get());
        let missing = if shown.is_some() { "is wrong" } else { "is missing" };
        let why = || format!("relay: a push is refused: its api key {missing}");
        self.entrance.worker.broker.refused(Reason::Token, Some(address), why);
        Err(Answer::InvalidKey)
    }

    async fn push(&self, request: &HttpRequest, payload: &mut web::Payload) -> Result<Answer, Answer> {
        if request.method() != Method::POST {
            return Err(Answer::MethodNotAllowed("POST"));
        }
        self.check_key(request, &Query::parse(request.query_string()))?;
        let shared = &self.shared;
        if shared.limiter.as_ref().is_some_and(|limiter| limiter.check().is_err()) {
            return Err(Answer::TooManyRequests);
        }
        let body = body::read(request.headers(), payload, limits::RELAY_PUSH_BYTES).await;
        let body = body.map_err(|no_body| match no_body {
            NoBody::TooLarge { .. } => Answer::TooLarge,
            NoBody::Broken => Answer::Bad(BadPush::Json),
        })?;
        let Request { push, delay } = Request::parse(&body, shared.rules).map_err(Answer::Bad)?;
        let id = shared.schedule.mint_id();
        let wait = u64::try_from(delay).unwrap_or_default();
        let handed = if wait == 0 {
            let broker = &self.entrance.worker.broker;
            Some(shared.delivery.hand_over(&push, &id, Wait::AsSet, broker).await?)
        } else {
            let wait = Duration::from_secs(wait);
            shared.schedule.keep(&id, &push, wait).await?;
            None
        };
        // Sizes, not what is in it (§1).
        tracing::debug!(bytes = body.len(), delay, ?handed, "pushed");
        let kept = handed.filter(|_| shared.delivery.away.keeps());
        let data = Pushed {
            event_name: &push.event_name,
            delay_seconds: delay,
            target_user_id: push.user.as_deref().unwrap_or_default(),
            broadcast: push.user.is_none(),
            parsed_user_raw: push.token.as_deref(),
            id: &id,
            connections: handed.map(|handed| handed.connections),
            kept: kept.map(|handed: Handed| handed.is_kept),
        };
        let envelope = Envelope { code: 0, msg: "ok", data };
        serde_json::to_vec(&envelope).map(Answer::Written).map_err(|_| Answer::Failed)
    }

    /// What is delayed, the earliest first.
    fn list(&self, request: &HttpRequest) -> Result<Answer, Answer> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Answer::MethodNotAllowed("GET"));
        }
        let query = Query::parse(request.query_string());
        self.check_key(request, &query)?;
        let limit = query.get("limit").map_or(Ok(limits::PAGE_ITEMS), str::parse);
        let limit = limit.ok().filter(|limit| (1..=limits::PAGE_ITEMS_MAX).contains(limit));
        let limit = limit.ok_or(Answer::BadLimit)?;
        let mut waiting = self.shared.schedule.list(limit + 1)?;
        let has_more = waiting.len() > limit;
        waiting.truncate(limit);
        let shown = |waiting: &Waiting| {
            let push = &waiting.push;
            json!({
                "id": waiting.id,
                "due": waiting.due,
                "event_name": push.event_name,
                "target_user_id": push.user.as_deref().unwrap_or_default(),
                "broadcast": push.user.is_none(),
            })
        };
        let scheduled: Vec<_> = waiting.iter().map(shown).collect();
        let unreached = self.shared.schedule.unreached().into_iter().map(|Unreached { waiting, is_kept }| {
            let mut shown = shown(&waiting);
            shown["kept"] = is_kept.into();
            shown
        });
        let unreached: Vec<_> = unreached.collect();
        let data = json!({"scheduled": scheduled, "has_more": has_more, "unreached": unreached});
        Ok(Answer::Done(data))
    }

    async fn cancel(&self, request: &HttpRequest, id: &str) -> Result<Answer, Answer> {
        if request.method() != Method::DELETE {
            return Err(Answer::MethodNotAllowed("DELETE"));
        }
        self.check_key(request, &Query::parse(request.query_string()))?;
        if self.shared.schedule.cancel(id).await? {
            Ok(Answer::Done(json!({"id": id})))
        } else {
            Err(Answer::UnknownPush)
        }
    }

    fn stats(&self, request: &HttpRequest) -> Result<Answer, Answer> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Answer::MethodNotAllowed("GET"));
        }
        self.check_key(request, &Query::parse(request.query_string()))?;
        let delivery = &self.shared.delivery;
        let totals = delivery.groups.totals();
        Ok(Answer::Done(json!({
            "connections": totals.connections,
            "identified": totals.identified,
            "users": totals.users,
            "kept": delivery.away.count(),
        })))
    }

    fn told(&self, outcome: Result<Answer, Answer>) -> HttpResponse {
        if outcome.is_err() {
            self.entrance.worker.count(|counters| counters.errors_told += 1);
        }
        outcome.unwrap_or_else(|refused| refused).into()
    }
}

/// Serves `push_path` and what is below it.
pub fn routes(config: &mut web::ServiceConfig, relay: &Relay, push_path: &str) {
    let door = relay.clone();
    let push = move |request: HttpRequest, mut payload: web::Payload| {
        let door = door.clone();
        async move {
            let outcome = door.push(&request, &mut payload).await;
            body::discard(request.headers(), &mut payload, limits::RELAY_PUSH_BYTES).await;
            door.told(outcome)
        }
    };
    config.service(web::resource(push_path).to(push));

    let door = relay.clone();
    let list = move |request: HttpRequest| {
        let outcome = door.list(&request);
        std::future::ready(door.told(outcome))
    };
    config.service(web::resource(format!("{push_path}/scheduled")).to(list));

    let door = relay.clone();
    let cancel = move |request: HttpRequest, id: web::Path<String>| {
        let door = door.clone();
        async move {
            let outcome = door.cancel(&request, &id).await;
            door.told(outcome)
        }
    };
    config.service(web::resource(format!("{push_path}/scheduled/{{id}}")).to(cancel));

    if let Some(path) = &relay.shared.settings.stats_path {
        let door = relay.clone();
        let stats = move |request: HttpRequest| {
            let outcome = door.stats(&request);
            std::future::ready(door.told(outcome))
        };
        config.service(web::resource(path.as_str()).to(stats));
    }
}
