//! From a request to a connection: the checks of `docs/protocols/postoffice.md §2`, in its order, and the two pages for
//! people (`§5`).

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    guard::fn_guard,
    http::{
        StatusCode,
        header::{AUTHORIZATION, SEC_WEBSOCKET_VERSION, UPGRADE},
    },
    web,
};
use serde_json::json;

use crate::{
    actors::refusals::Reason,
    auth::Leeway,
    config,
    edge::{
        admission::{Permit, Refusal},
        client_address::client_address_of,
        guard::MessageLimits,
        http::{methods::read, query::Query},
        refusal::{NoHandshake, explained},
        websocket::Entrance,
    },
    limits,
    live::Live,
    older::postoffice::{
        access::Access,
        desk::Desk,
        office::{Office, Settings},
        thread,
    },
};

/// What the doors of all worker threads share.
pub struct Shared {
    pub office: Arc<Office>,
    access: Live<Access>,
}

impl Shared {
    pub fn new(settings: &config::PostOffice, office: Arc<Office>, leeway: &Leeway) -> Self {
        Self { access: Live::new(Access::new(settings, leeway)), office }
    }

    /// Tokens are held against other keys from now on; whoever is in stays.
    pub fn set_keys(&self, settings: &config::PostOffice, leeway: &Leeway) {
        self.access.set(Access::new(settings, leeway));
    }
}

/// The door of one worker thread.
#[derive(Clone)]
pub struct PostOffice {
    entrance: Entrance,
    shared: Arc<Shared>,
}

impl PostOffice {
    pub fn new(settings: &config::PostOffice, mut entrance: Entrance, shared: Arc<Shared>) -> Self {
        entrance.limits = MessageLimits { max_message_bytes: settings.max_message_bytes, ..entrance.limits };
        Self { entrance, shared }
    }

    async fn connect(&self, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
        let (desk, permit) = match self.check(request) {
            Ok(admitted) => admitted,
            Err(refused) => {
                self.turn_away(request, &refused);
                return refused.into_response(&self.shared.office.settings);
            }
        };
        let upgraded = self.entrance.upgrade(request, payload, permit, Box::new(desk));
        let upgraded = upgraded.await;
        upgraded.unwrap_or_else(|fault| Refused::NoWebSocket(fault).into_response(&self.shared.office.settings))
    }

    fn check(&self, request: &HttpRequest) -> Result<(Desk, Permit), Refused> {
        let office = &self.shared.office;
        let query = Query::parse(request.query_string());
        let name = query.get("clientID").filter(|name| !name.is_empty());
        let token = bearer(request).or_else(|| query.get("token")).unwrap_or_default();
        let now = office.clock.now();
        let granted = self.shared.access.get().check(token, name, now);
        let replaces = || granted.is_ok() && name.is_some_and(|name| office.would_replace(name));
        if office.is_full() && !replaces() {
            return Err(Refused::Full);
        }
        let principal = granted.map_err(|_| Refused::Unauthorized)?;
        let name = name.ok_or(Refused::NoName)?;
        if !is_name(name) {
            return Err(Refused::BadName);
        }
        // Unix seconds (§2); in milliseconds here, so that a quick reconnect is not the same moment.
        let started = query.get("startTime").and_then(|text| text.parse::<u64>().ok());
        let started = started.map(|seconds| seconds.saturating_mul(1_000));
        if office.is_outdated(name, started) {
            return Err(Refused::Outdated);
        }
        // Before a place is taken from the connection that would be replaced.
        NoHandshake::check(request).map_err(Refused::NoWebSocket)?;
        let place = office.take_place(name).ok_or(Refused::Full)?;
        let permit = self.entrance.admit(request).map_err(Refused::NotAdmitted)?;
        let room = office.room(name);
        let desk = Desk::new(Arc::clone(office), room, principal, place, started);
        Ok((desk, permit))
    }

    fn turn_away(&self, request: &HttpRequest, refused: &Refused) {
        let reason = match refused {
            Refused::NotAdmitted(_) => return, // It was told why.
            Refused::Full => Reason::Full,
            Refused::Unauthorized => Reason::Token,
            Refused::Outdated | Refused::NoName | Refused::BadName | Refused::NoWebSocket(_) | Refused::Thread(_) => {
                Reason::Request
            }
        };
        let why = || format!("postoffice: {}", refused.reason(&self.shared.office.settings));
        self.entrance.turn_away(request, reason, why);
    }

    /// As for a connection: whoever may open the mailbox may read its threads.
    async fn thread(&self, request: &HttpRequest) -> Result<HttpResponse, Refused> {
        let office = &self.shared.office;
        let query = Query::parse(request.query_string());
        let name = query.get("clientID").filter(|name| !name.is_empty());
        let token = bearer(request).or_else(|| query.get("token")).unwrap_or_default();
        let granted = self.shared.access.get().check(token, name, office.clock.now());
        granted.map_err(|_| {
            let why = || "postoffice: a request is refused: the token does not open the mailbox".to_owned();
            let address = client_address_of(request, &self.entrance.trusted_proxies.get());
            self.entrance.worker.broker.refused(Reason::Token, Some(address), why);
            Refused::Unauthorized
        })?;
        let name = name.ok_or(Refused::NoName)?;
        if !is_name(name) {
            return Err(Refused::BadName);
        }
        let asked = thread::Asked::of(&query)?;
        let thread = match office.find(name) {
            Some(room) => {
                let broker = &self.entrance.worker.broker;
                asked.read(&room, broker).await.map_err(thread::Refused::from)?
            }
            // A mailbox that nobody has opened has no letters.
            None => thread::Thread::default(),
        };
        Ok(HttpResponse::Ok().json(thread))
    }

    fn stats(&self) -> HttpResponse {
        let stats = self.shared.office.stats();
        HttpResponse::Ok().json(json!({
            "connections": stats.connections,
            "max_connections": self.shared.office.settings.max_connections,
            "mailboxes": stats.mailboxes,
            "stored": stats.stored,
            "dropped": stats.dropped,
        }))
    }
}

/// Serves these paths; with `any_path` every other one, too.
pub fn routes(config: &mut web::ServiceConfig, door: &PostOffice, settings: &config::PostOffice) {
    let connect = |door: &PostOffice| {
        let door = door.clone();
        move |request: HttpRequest, payload: web::Payload| {
            let door = door.clone();
            async move { door.connect(&request, payload).await }
        }
    };
    for path in settings.ws_paths() {
        config.route(path, web::get().to(connect(door)));
    }
    let plain = || read().guard(fn_guard(|context| !context.head().headers().contains_key(UPGRADE)));
    let health = || async { HttpResponse::Ok().json(json!({"status": "ok"})) };
    config.route(&settings.health_path, plain().to(health));
    let told = door.clone();
    let stats = move || {
        let told = told.clone();
        async move { told.stats() }
    };
    config.route(&settings.stats_path, plain().to(stats));
    if let Some(path) = &settings.threads_path {
        let told = door.clone();
        let thread = move |request: HttpRequest| {
            let told = told.clone();
            async move {
                let thread = told.thread(&request).await;
                thread.unwrap_or_else(|refused| {
                    let worker = &told.entrance.worker;
                    worker.count(|counters| counters.errors_told += 1);
                    refused.into_response(&told.shared.office.settings)
                })
            }
        };
        config.route(path, plain().to(thread));
    }
    if settings.takes_any_path() {
        config.default_service(web::get().to(connect(door)));
    }
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    Some(header.strip_prefix("Bearer ")?.trim()).filter(|token| !token.is_empty())
}

/// What can be the name of a mailbox (`§6`).
pub fn is_name(name: &str) -> bool {
    // Bytes that are not UTF-8 stand here as replacement characters: two such names would be one mailbox.
    let is_wrong = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    name.len() <= limits::POST_NAME_BYTES && !name.chars().any(is_wrong)
}

/// Why there is no connection.
enum Refused {
    Full,
    /// The whole server, or the client's address, has too many connections.
    NotAdmitted(Refusal),
    Unauthorized,
    NoName,
    BadName,
    Outdated,
    NoWebSocket(NoHandshake),
    Thread(thread::Refused),
}

impl From<thread::Refused> for Refused {
    fn from(refused: thread::Refused) -> Self {
        Self::Thread(refused)
    }
}

impl Refused {
    /// What the bodies of the document do not say.
    fn reason(&self, settings: &Settings) -> String {
        match self {
            Self::Full => {
                let most = settings.max_connections;
                format!("{most} connections are open, as many as postoffice.max_connections allows; try later")
            }
            Self::NotAdmitted(refusal) => refusal.to_string(),
            Self::Unauthorized => "the token does not open the mailbox: show one of postoffice.auth in the header \
                                   Authorization (Bearer) or the parameter token"
                .into(),
            Self::NoName => "the parameter clientID is missing".into(),
            Self::BadName => {
                format!("clientID may have {} bytes and no control characters", limits::POST_NAME_BYTES)
            }
            Self::Outdated => "a connection with the same or a later startTime has the mailbox".into(),
            Self::NoWebSocket(fault) => fault.to_string(),
            Self::Thread(_) => String::new(),
        }
    }

    fn into_response(self, settings: &Settings) -> HttpResponse {
        let reason = self.reason(settings);
        let (status, text) = match self {
            Self::Full | Self::NotAdmitted(_) => (StatusCode::SERVICE_UNAVAILABLE, "Connection limit reached\n"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized\n"),
            Self::NoName => (StatusCode::BAD_REQUEST, "Client ID is required\n"),
            Self::BadName => (StatusCode::BAD_REQUEST, "Client ID is invalid\n"),
            Self::Outdated => (StatusCode::CONFLICT, "Connection rejected: newer connection exists\n"),
            Self::NoWebSocket(_) => (StatusCode::BAD_REQUEST, "Bad Request\n"),
            Self::Thread(refused) => return refused.into_response(),
        };
        let mut response = HttpResponse::build(status);
        if matches!(self, Self::NoWebSocket(_)) {
            response.insert_header((SEC_WEBSOCKET_VERSION, "13"));
        }
        explained(response.content_type("text/plain; charset=utf-8").body(text), &reason)
    }
}
