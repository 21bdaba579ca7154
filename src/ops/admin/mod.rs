//! `/admin/api`: what an operator sees and does, as JSON; `openapi.json` below it describes it (docs/operate.md). The console and
//! `letshare-server admin` are its clients. Who may ask is decided in [`door`], once for all paths.

mod channels;
mod connections;
pub mod door;
mod figures;
mod nodes;

use std::{future::ready, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse, Resource, ResponseError,
    http::{StatusCode, header::ALLOW},
    middleware::from_fn,
    web::{self, Json},
};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

pub use channels::NewMessage;
pub use connections::KeyOutcome;
use door::{Caller, Door};

use crate::{actors::broker::Broker, error::Fault, ids::AppId, limits};

/// What the handlers here need; `app` puts it into the app data as `web::Data<Admin>`.
#[derive(Clone)]
pub struct Admin {
    pub broker: Arc<Broker>,
    pub door: Arc<Door>,
    pub hooks: Arc<dyn Hooks>,
}

/// What rooms do that this one may not name; `app` brings it.
pub trait Hooks: Send + Sync {
    /// Who asks; the error says why nobody from there may.
    ///
    /// # Errors
    /// A foreign `Host` or `Origin`.
    fn caller(&self, request: &HttpRequest) -> Result<Caller, &'static str>;

    /// Publishes to a channel of an app, by the name that Ably's clients give it; the position of the message.
    fn publish(&self, app: AppId, message: NewMessage) -> LocalBoxFuture<'static, Result<String, Fault>>;

    /// Takes back all tokens of a client, of every key of the app.
    fn revoke(&self, app: AppId, client_id: String) -> LocalBoxFuture<'static, Result<Vec<KeyOutcome>, Fault>>;

    /// A token for everything in an app: what an operator looks at its channels with.
    ///
    /// # Errors
    /// There is no key that could give one.
    fn token(&self, app: AppId) -> Result<String, Fault>;

    /// A token that lets `user` into a LetShare room.
    ///
    /// # Errors
    /// LetShare is switched off.
    fn room_token(&self, user: &str, room: &str) -> Result<String, Fault>;
}

/// Why a request is refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refusal {
    error: Error,
}

#[derive(Debug, Serialize, ToSchema)]
struct Error {
    /// The HTTP status, and two digits.
    code: u32,
    message: String,
}

impl Refusal {
    fn new(code: u32, message: impl Into<String>) -> Self {
        Self { error: Error { code, message: message.into() } }
    }

    const fn is_too_often(&self) -> bool {
        self.error.code == door::TOO_OFTEN
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.error.message)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        let status = u16::try_from(self.error.code / 100).ok();
        status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status_code()).json(self)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::new(u32::from(fault.http_status()) * 100, fault.to_string())
    }
}

type Answer<T> = Result<Json<T>, Refusal>;

/// An app by its id; the default one unless one is named.
fn app(named: Option<&String>) -> Result<AppId, Refusal> {
    let no_app = || Refusal::new(40000, "app: six of the characters A-Z a-z 0-9 _ -");
    named.map_or(Ok(AppId::DEFAULT), |text| AppId::parse(text).ok_or_else(no_app))
}

/// How many items a page has, of those that were asked for.
fn page_size(asked: Option<usize>) -> usize {
    asked.unwrap_or(limits::ADMIN_PAGE).clamp(1, limits::ADMIN_PAGE)
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "letshare-server: admin API",
        description = "What an operator sees and does. Lists have pages: `next` of one is `after` of the next."
    ),
    paths(
        door::log_in,
        door::log_out,
        nodes::this,
        nodes::all,
        figures::kept,
        figures::refusals,
        connections::list,
        connections::one,
        connections::disconnect,
        connections::block,
        channels::list,
        channels::publish,
        channels::token,
        channels::room_token
    )
)]
struct Description;

/// The document; it has the version of the server.
async fn description() -> HttpResponse {
    HttpResponse::Ok().json(Description::openapi())
}

/// One path of the document; a method that it has not is refused by what the document says.
fn path(path: &str) -> Resource {
    web::resource(path).default_service(web::to(other_method))
}

async fn other_method(request: HttpRequest, body: web::Payload) -> HttpResponse {
    // A body that nobody takes stops the connection.
    drop(body);
    let document = serde_json::to_value(Description::openapi()).unwrap_or_default();
    let pattern = request.match_pattern().unwrap_or_default();
    let methods = document["paths"][&pattern].as_object().into_iter().flatten();
    let allowed = methods.map(|(method, _)| method.to_ascii_uppercase()).collect::<Vec<_>>().join(", ");
    let mut response = Refusal::new(40500, format!("{pattern} takes {allowed}")).error_response();
    if let Ok(allowed) = allowed.parse() {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// Paths and methods are those of the document (tests/admin/openapi.rs).
pub fn routes(config: &mut web::ServiceConfig, admin: &Admin) {
    let too_long = || Refusal::new(41300, format!("a body of at most {} bytes", limits::ADMIN_BODY));
    let unreadable = |error: &dyn std::fmt::Display| Refusal::new(40000, error.to_string());
    let bodies =
        web::JsonConfig::default().limit(limits::ADMIN_BODY).error_handler(move |error, _| match error.status_code() {
            StatusCode::PAYLOAD_TOO_LARGE => too_long().into(),
            _ => unreadable(&error).into(),
        });
    // Neither says which part it is that cannot be read.
    let in_path = move |error: &dyn std::fmt::Display| unreadable(&format_args!("{error}; see openapi.json"));
    let queries = web::QueryConfig::default().error_handler(move |error, _| in_path(&error).into());
    let segments = web::PathConfig::default().error_handler(move |error, _| in_path(&error).into());
    let scope = web::scope("/admin/api")
        .app_data(web::Data::new(admin.clone()))
        .app_data(bodies)
        .app_data(queries)
        .app_data(segments)
        .wrap(from_fn(door::guard))
        .route("/openapi.json", web::get().to(description))
        .service(path("/login").route(web::post().to(door::log_in)))
        .service(path("/logout").route(web::post().to(door::log_out)))
        .service(path("/node").route(web::get().to(nodes::this)))
        .service(path("/nodes").route(web::get().to(nodes::all)))
        .service(path("/kept").route(web::get().to(figures::kept)))
        .service(path("/refusals").route(web::get().to(figures::refusals)))
        .service(path("/connections").route(web::get().to(connections::list)))
        .service(
            path("/connections/{id}")
                .route(web::get().to(connections::one))
                .route(web::delete().to(connections::disconnect)),
        )
        .service(path("/block").route(web::post().to(connections::block)))
        .service(path("/channels").route(web::get().to(channels::list)))
        .service(path("/publish").route(web::post().to(channels::publish)))
        .service(path("/token").route(web::post().to(channels::token)))
        .service(path("/room-token").route(web::post().to(channels::room_token)))
        .default_service(web::to(|body: web::Payload| {
            drop(body);
            ready(HttpResponse::from_error(Refusal::new(40400, "no such path: see openapi.json")))
        }));
    config.service(scope);
}
