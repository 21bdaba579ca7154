//! REST: one request, one answer (`docs/protocols/ably.md §1.8, §11`).
//!
//! `path` says which endpoint it is, `form` how the answer has to look, `call` holds both and the credentials; the
//! endpoints stand in `publish`, `batch`, `message`, `history`, `objects`, `presence`, `channels`, `chat`, `token` and `apps`; `answer` puts the
//! outcome on the wire. Everything about a channel is asked of its actor
//! ([`crate::actors::channels::questions`]).

mod annotate;
mod answer;
mod apps;
mod batch;
mod call;
mod channels;
mod chat;
mod form;
mod history;
mod links;
mod message;
mod objects;
mod path;
mod presence;
mod publish;
mod revocation;
mod stats;
mod token;

use std::{rc::Rc, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{ACCESS_CONTROL_REQUEST_HEADERS, AUTHORIZATION, CONTENT_TYPE, HeaderMap},
    },
    web,
};

pub(super) use {
    answer::respond,
    call::{body, credential},
    form::Form,
    path::ROOTS,
};

use crate::{
    actors::{refusals::Reason, worker::Worker},
    auth::apps::Apps,
    edge::{Ingress, http::query::Query},
    error::Fault,
    ids::AppId,
    protocols::ably::{
        Ably,
        endpoint::{self, Shared, reason_of},
        nonces::StoredNonces,
        rest::{answer::RestAnswer, call::Call, path::Endpoint},
        revocations::StoredRevocations,
    },
};

/// The REST interface of one worker thread.
#[derive(Clone)]
pub struct Rest {
    pub worker: Rc<Worker>,
    pub shared: Arc<Shared>,
    pub apps: Arc<Apps>,
    /// None: there is no data folder to keep them in; a server with Ably has one.
    pub revocations: Option<Arc<StoredRevocations>>,
    /// None as `revocations`.
    pub nonces: Option<Arc<StoredNonces>>,
    /// Apps can be made without credentials: for test suites (§11.13).
    pub sandbox: bool,
}

impl Ably {
    /// Answers any request that is meant for the Ably interface.
    pub async fn rest(&self, request: &HttpRequest, payload: &mut web::Payload) -> HttpResponse {
        let query = Query::parse(request.query_string());
        let form = Form::of(request.headers(), &query);
        let fault = match self.rest.answer(&self.ingress, request, payload, query, form).await {
            Ok(Said::RestAnswer(answer)) => return respond(form, Ok(answer)),
            Ok(Said::Yes) => return HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain")).body("yes"),
            Err(fault) => fault,
        };
        self.refused(request, form, fault)
    }

    /// The answer to a request that is refused.
    pub(super) fn refused(&self, request: &HttpRequest, form: Form, fault: Fault) -> HttpResponse {
        let path = request.path();
        tracing::debug!(%fault, code = fault.ably_code(), path, "a request is refused");
        if reason_of(&fault) == Reason::Token {
            let why = || format!("a request is refused: Ably: {fault}");
            self.ingress.note_refusal(request, Reason::Token, why);
        }
        let response = respond(form, Err(fault));
        if response.status().is_success() {
            // In an envelope, which is no error of HTTP.
            self.ingress.worker.count(|counters| counters.errors_sent += 1);
        }
        response
    }
}

/// The answer to a request that is not looked at.
pub fn refuse(request: &HttpRequest, fault: Fault) -> HttpResponse {
    let query = Query::parse(request.query_string());
    respond(Form::of(request.headers(), &query), Err(fault))
}

impl Rest {
    async fn answer(
        &self,
        ingress: &Ingress,
        request: &HttpRequest,
        payload: &mut web::Payload,
        query: Query,
        form: Form,
    ) -> Result<Said, Fault> {
        let endpoint = Endpoint::of(request.method(), request.uri().path())?;
        let call = Call::new(self, ingress, request, query, form)?;
        let asked = match &endpoint {
            Endpoint::RequestToken(key_name) => Asked::Token(self.app_of(key_name)),
            _ => Asked::Other,
        };
        let answer = match endpoint {
            Endpoint::Connectivity => return Ok(Said::Yes),
            Endpoint::Time => self.time(&call),
            Endpoint::RequestToken(key_name) => token::request(&call, &key_name, payload).await,
            Endpoint::RevokeTokens(key_name) => revocation::revoke(&call, &key_name, payload).await,
            Endpoint::Publish(channel) => publish::publish(&call, channel, payload).await,
            Endpoint::BatchPublish => batch::publish(&call, payload).await,
            Endpoint::BatchPresence => batch::presence(&call).await,
            Endpoint::Message(channel, serial) => message::get(&call, channel, &serial).await,
            Endpoint::Change(channel, serial) => message::change(&call, channel, &serial, payload).await,
            Endpoint::Versions(channel, serial) => message::versions(&call, channel, &serial).await,
            Endpoint::Messages(channel) => history::messages(&call, channel).await,
            Endpoint::PresenceHistory(channel) => history::presence(&call, channel).await,
            Endpoint::Presence(channel) => presence::members(&call, channel).await,
            Endpoint::Annotations(channel, serial) => annotate::annotations(&call, channel, &serial).await,
            Endpoint::Annotate(channel, serial) => annotate::annotate(&call, channel, &serial, payload).await,
            Endpoint::ClientSummary(channel, serial) => annotate::client_summary(&call, channel, &serial).await,
            Endpoint::Objects(channel, id) => objects::get(&call, channel, id.as_deref()).await,
            Endpoint::Operate(channel) => objects::operate(&call, channel, payload).await,
            Endpoint::Chat(room, ask) => chat::answer(&call, &room, ask, payload).await,
            Endpoint::Status(channel) => channels::status(&call, channel).await,
            Endpoint::Channels => channels::enumerate(&call).await,
            Endpoint::Stats => stats::page(&call).await,
            Endpoint::AddStats => stats::add(&call, payload).await,
            Endpoint::CreateApp => apps::create(&call, payload).await,
            Endpoint::DeleteApp(app) => apps::delete(&call, &app).await,
        };
        self.count(&call, asked, &answer);
        Ok(Said::RestAnswer(answer?))
    }

    /// Counts a request for the app that it is of, if it is one of ours.
    fn count(&self, call: &Call<'_>, asked: Asked, answer: &Result<RestAnswer, Fault>) {
        let status = answer.as_ref().map_or_else(Fault::http_status, RestAnswer::status);
        match asked {
            Asked::Token(Some(app)) => self.worker.count_for(app, |traffic| traffic.token_requests.count(status)),
            Asked::Token(None) => {}
            Asked::Other => {
                if let Some(app) = call.app.get() {
                    self.worker.count_for(app, |traffic| traffic.requests.count(status));
                }
            }
        }
    }

    fn app_of(&self, key_name: &str) -> Option<AppId> {
        let app = AppId::parse(key_name.split('.').next()?)?;
        self.apps.find(app).map(|app| app.id)
    }

    /// An array, because that is what clients take the first item of (T11).
    fn time(&self, call: &Call<'_>) -> Result<RestAnswer, Fault> {
        let now = self.worker.broker.clock.now().millis();
        Ok(RestAnswer::ok(call.encode(&[now])))
    }
}

/// What is counted apart.
enum Asked {
    Token(Option<AppId>),
    Other,
}

enum Said {
    RestAnswer(RestAnswer),
    /// The one page that is no answer of the protocol.
    Yes,
}

/// Whether a request is meant for the Ably interface: by its path, or, on paths without a route, by what
/// only its clients send. So they get a 404 that they understand, and all others the plain one.
///
/// A path for which another protocol has a route is not Ably's. `others_have` decides that by the path as the router reads it, which takes `/%77s` for `/ws`.
pub fn is_meant(request: &HttpRequest, others_have: impl FnOnce(&str) -> bool) -> bool {
    let path = request.match_info().as_str();
    let root = path.trim_start_matches('/').split('/').next();
    if root.is_some_and(|root| path::ROOTS.contains(&root)) {
        return true;
    }
    if path == "/" {
        // The WebSocket, which shares its path with LetShare's.
        return endpoint::names_a_version(request.head());
    }
    if others_have(path) {
        return false;
    }
    if path.starts_with("/chat/v4/") {
        return true;
    }
    let query = Query::parse(request.query_string());
    let head = request.head();
    let is_ably = |name: &str| name.starts_with("x-ably-") || name == "ably-agent";
    // A preflight names the headers that will come.
    let announced = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
    let announced = announced.filter(|_| head.method == Method::OPTIONS);
    let announced = announced.and_then(|names| names.to_str().ok());
    let announced = announced.unwrap_or_default().to_ascii_lowercase();
    query.has("v")
        || query.has("envelope")
        || has_credentials(&head.headers, &query)
        || form::names_a_format(&head.headers)
        || head.headers.keys().any(|name| is_ably(name.as_str()))
        || announced.split(',').any(|name| is_ably(name.trim()))
}

/// On a path without a route, only clients of an API send them.
fn has_credentials(headers: &HeaderMap, query: &Query) -> bool {
    headers.contains_key(AUTHORIZATION) || ["key", "accessToken", "access_token"].iter().any(|name| query.has(name))
}
