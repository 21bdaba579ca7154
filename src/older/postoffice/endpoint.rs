//! The way in: from a request to a connection (`docs/protocols/postoffice.md §2`), and the pages beside it (`§4`, `§5`).

use std::{
    fmt::{self, Display},
    sync::Arc,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{AUTHORIZATION, RETRY_AFTER},
    web,
};
use serde_json::json;

use crate::{
    actors::{
        accounts::{Full, Kind},
        refusals::Reason,
        transport::context::ProtocolHandler,
    },
    edge::{
        self, Endpoint, Ingress, Methods, Refusal, Service,
        admission::NotAdmitted,
        http::{answer, long::AnswerBody, query::Query},
        refusal::explained,
    },
    error::{Fault, Reply, reply_table},
    ids::AppId,
    limits,
    older::postoffice::{
        access::Principal,
        connection::Connection,
        shared::Shared,
        thread::{Thread, ThreadQuery},
    },
    store::StoreError,
};

/// The way in to PostOffice, of one worker thread.
pub type PostOffice = Service<Shared>;

/// A client whose token opens its mailbox.
pub struct Accepted {
    name: String,
    principal: Principal,
    /// In milliseconds.
    started: Option<u64>,
}

impl PostOffice {
    /// The mailbox that is named, and whose it is, if the token opens it.
    fn identify<'q>(&self, request: &HttpRequest, query: &'q Query) -> Result<(&'q str, Principal), Refused> {
        let name = query.text("clientID");
        let token = bearer(request).or_else(|| query.get("token")).unwrap_or_default();
        let principal = self.shared.access.get().check(token, name, self.shared.clock.now());
        let principal = principal.ok_or(Refused::Unauthorized)?;
        let name = name.ok_or(Refused::NoName)?;
        if is_name(name) { Ok((name, principal)) } else { Err(Refused::BadName) }
    }

    /// Whoever may open a mailbox may read its threads.
    async fn thread(&self, request: &HttpRequest) -> Result<AnswerBody, Refused> {
        let query = Query::of(request);
        let (name, _) = self.identify(request, &query).inspect_err(|refused| {
            if let Refused::Unauthorized = refused {
                let why = || "postoffice: a request is refused: the token does not open the mailbox".to_owned();
                self.ingress.note_refusal(request, Reason::Token, why);
            }
        })?;
        let query = ThreadQuery::parse(&query)?;
        let account = self.ingress.account_of_request(request, AppId::DEFAULT);
        let mut charge = account.charge(Kind::Answer, 0).map_err(Full::to_fault)?;
        let broker = &self.ingress.worker.broker;
        let thread = match self.shared.known(name).await? {
            Some(mailbox) => query.read(&mailbox, broker, &mut charge).await?,
            // A mailbox that nobody has opened has no letters.
            None => Thread::default(),
        };
        let json = serde_json::to_vec(&thread).map_err(|_| Fault::Internal)?;
        Ok(AnswerBody::whole(json.into()).paid_by(charge))
    }
}

impl Endpoint for PostOffice {
    const NAME: &'static str = "postoffice";
    type Accepted = Accepted;
    type Refused = Refused;

    fn check(&self, request: &HttpRequest) -> Result<Accepted, Refused> {
        let query = Query::of(request);
        let identified = self.identify(request, &query);
        let replaces = || identified.as_ref().is_ok_and(|(name, _)| self.shared.would_replace(name));
        if self.shared.is_full() && !replaces() {
            return Err(Refused::Full(self.shared.settings.max_connections));
        }
        let (name, principal) = identified?;
        // Unix seconds (§2); in milliseconds here, so that a quick reconnect is not the same moment.
        let started = query.get("startTime").and_then(|text| text.parse::<u64>().ok());
        let started = started.map(|seconds| seconds.saturating_mul(1_000));
        if self.shared.is_outdated(name, started) {
            return Err(Refused::Outdated);
        }
        Ok(Accepted { name: name.to_owned(), principal, started })
    }

    async fn open(&self, _: &HttpRequest, accepted: Accepted) -> Result<Box<dyn ProtocolHandler>, Refused> {
        let Accepted { name, principal, started } = accepted;
        if self.shared.is_outdated_elsewhere(&name, started, &self.ingress.worker.broker).await {
            return Err(Refused::Outdated);
        }
        let slot = self.shared.take_slot(&name).ok_or(Refused::Full(self.shared.settings.max_connections))?;
        self.shared.admit(&name).await?;
        let mailbox = self.shared.mailboxes.of(&name);
        Ok(Box::new(Connection::new(Arc::clone(&self.shared), mailbox, principal, slot, started)))
    }

    fn refuse(&self, refusal: &Refusal<Refused>) -> HttpResponse {
        refused(&match refusal {
            Refusal::NotAdmitted(NotAdmitted::TooOften(_)) => Reply::new(429, "Too Many Requests", refusal.to_string()),
            Refusal::NotAdmitted(_) => Reply::new(503, LIMIT_REACHED, refusal.to_string()),
            Refusal::Method | Refusal::NoHandshake(_) => Reply::new(400, "Bad Request", refusal.to_string()),
            Refusal::Own(own) => own.reply(),
        })
    }
}

const LIMIT_REACHED: &str = "Connection limit reached";

reply_table! {
    /// Why a request is refused: the bodies are the document's (`§2`), what they do not say stands beside them.
    #[derive(Debug)]
    pub enum Refused {
        Full(limit: usize) => Reply::new(503, LIMIT_REACHED, format!(
            "{limit} connections are open, as many as postoffice.max_connections allows; try later"
        )),
        Unauthorized => Reply::new(
            401,
            "Unauthorized",
            "the token does not open the mailbox: show one of postoffice.auth in the header Authorization (Bearer) or the \
             parameter token",
        ),
        NoName => Reply::new(400, "Client ID is required", "the parameter clientID is missing"),
        BadName => Reply::new(400, "Client ID is invalid", format!(
            "clientID may have {} bytes of UTF-8 and no control characters", limits::POST_NAME_BYTES
        )),
        Outdated => Reply::new(
            409,
            "Connection rejected: newer connection exists",
            "a connection with the same or a later startTime has the mailbox",
        ),
        TooManyMailboxes(limit: usize) => Reply::new(503, LIMIT_REACHED, format!(
            "{limit} mailboxes are known, as many as postoffice.max_mailboxes allows, and clientID is none of them"
        )),
        NoSubject => Reply::new(400, "subjectId is required", "the parameter subjectId is missing"),
        BadLimit => Reply::new(400, "limit is a number from 1 to 1000", ""),
        Busy => Reply::new(503, "The server is busy", ""),
        /// An account is full, which the reason names with its setting.
        NoRoom(why: String) => Reply::new(503, "The server is busy", why.clone()),
        Internal => Reply::new(500, "Internal error", ""),
    }
    fn reply(&self) -> Reply;
}

impl edge::Refused for Refused {
    fn reason(&self) -> Reason {
        match self {
            Self::Full(_) | Self::TooManyMailboxes(_) => Reason::Full,
            Self::Unauthorized => Reason::Token,
            _ => Reason::Request,
        }
    }
}

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reply().reason)
    }
}

/// Another machine does not answer.
impl From<StoreError> for Refused {
    fn from(_: StoreError) -> Self {
        Self::Busy
    }
}

/// What kept a thread from being read.
impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy | Fault::ShuttingDown => Self::Busy,
            Fault::AppChannels { .. } | Fault::MemoryFull { .. } => Self::NoRoom(fault.to_string()),
            fault => {
                tracing::error!(%fault, "a thread cannot be read");
                Self::Internal
            }
        }
    }
}

fn refused(reply: &Reply) -> HttpResponse {
    explained(answer::plain(reply.code, &reply.text), &reply.reason)
}

/// The same; who may come again soon is told so.
fn busy(why: &Refused) -> HttpResponse {
    let mut response = refused(&why.reply());
    if let Refused::Busy | Refused::NoRoom(_) = why {
        response.headers_mut().insert(RETRY_AFTER, 1.into());
    }
    response
}

/// Serves these paths; with `any_path` every other one, too.
pub fn routes(config: &mut web::ServiceConfig, ingress: Ingress, shared: Arc<Shared>) {
    let settings = &shared.settings;
    let endpoint = &Service::new(ingress.with_message_bytes(settings.max_message_bytes), Arc::clone(&shared));
    for path in settings.ws_paths() {
        config.route(path, web::get().to(edge::websocket(endpoint)));
    }
    edge::route(config, &settings.health_path, Methods::PlainRead, endpoint, async |_, _, _| {
        HttpResponse::Ok().json(json!({"status": "ok"}))
    });
    edge::route(config, &settings.stats_path, Methods::PlainRead, endpoint, async |endpoint, _, _| {
        match endpoint.shared.stats(&endpoint.ingress.worker.broker).await {
            Ok(stats) => HttpResponse::Ok().json(stats),
            Err(_) => busy(&Refused::Busy),
        }
    });
    if let Some(path) = &settings.threads_path {
        edge::route(config, path, Methods::PlainRead, endpoint, async |endpoint, request, _| {
            match endpoint.thread(request).await {
                Ok(thread) => HttpResponse::Ok().content_type("application/json").body(thread),
                Err(why) => busy(&why),
            }
        });
    }
    if settings.takes_any_path() {
        config.default_service(web::get().to(edge::websocket(endpoint)));
    }
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    Some(header.strip_prefix("Bearer ")?.trim()).filter(|token| !token.is_empty())
}

/// What can be the name of a mailbox (`§6`).
fn is_name(name: &str) -> bool {
    // Bytes that are not UTF-8 stand here as replacement characters: two such names would be one mailbox.
    let is_wrong = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    name.len() <= limits::POST_NAME_BYTES && !name.chars().any(is_wrong)
}
