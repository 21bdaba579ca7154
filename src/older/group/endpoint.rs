//! The way in to the group protocol, and what its worker threads share (`docs/protocols/group.md §2`).

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    rt, web,
};
use serde_json::json;
use thiserror::Error;

use crate::{
    actors::{metrics::GroupFigures, refusals::Reason, transport::context::ProtocolHandler},
    auth::Leeway,
    config,
    edge::{self, Endpoint, Ingress, Methods, Refusal, admission::NotAdmitted, http::query::Query, refusal::explained},
    error::reply_table,
    limits,
    live::Live,
    older::group::{
        access::Access,
        api,
        groups::Groups,
        ip_filter::{BLOCKED, Blacklist, IpFilter},
        rates::Buckets,
        socket::Socket,
    },
};

/// What the endpoints of all worker threads share.
pub struct Shared {
    pub groups: Arc<Groups>,
    pub access: Live<Access>,
    pub ip_filter: IpFilter,
    /// Of users.
    pub rates: Buckets<Arc<str>>,
    open: AtomicUsize,
}

/// One of the places that `group.max_connections` counts; given back when it is dropped.
pub struct ConnectionPlace(Arc<Shared>);

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub fn new(groups: Arc<Groups>, blacklist: Blacklist, leeway: &Leeway) -> Self {
        let (settings, clock) = (&groups.settings, groups.clock.clone());
        let rates = Buckets::new(settings.messages_per_second, settings.message_burst, clock.clone());
        Self {
            access: Live::new(Access::new(settings, leeway)),
            ip_filter: IpFilter::new(settings, blacklist, clock),
            rates,
            open: AtomicUsize::new(0),
            groups,
        }
    }

    /// Other keys of tokens and services from now on; whoever is connected stays.
    pub fn set_keys(&self, settings: &config::Group, leeway: &Leeway) {
        self.access.set(Access::new(settings, leeway));
    }

    /// Somebody there did not prove who it is.
    pub fn note_failure(&self, address: IpAddr) {
        self.groups.counters.count(|figures| figures.failed_auth += 1);
        if self.ip_filter.note_failure(address) {
            tracing::warn!(%address, "banned for a while: too many attempts to authenticate");
        }
    }

    /// What was counted, for `/metrics`.
    pub fn figures(&self) -> GroupFigures {
        GroupFigures { connections: self.open.load(Ordering::Relaxed) as u64, ..self.groups.figures() }
    }

    fn take_place(self: &Arc<Self>) -> Result<ConnectionPlace, Refused> {
        let most = self.groups.settings.max_connections;
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        // Made first, so that the count is given back either way.
        let place = ConnectionPlace(Arc::clone(self));
        if most == 0 || before < most { Ok(place) } else { Err(Refused::Full { most }) }
    }
}

/// The endpoint of one worker thread.
#[derive(Clone)]
pub struct GroupEndpoint {
    pub(super) ingress: Ingress,
    pub(super) shared: Arc<Shared>,
}

impl GroupEndpoint {
    /// The first worker thread that comes brings messages to the channels, and hears what other instances say.
    pub fn new(ingress: Ingress, shared: Arc<Shared>) -> Self {
        let ingress = ingress.with_message_bytes(limits::GROUP_FRAME_BYTES);
        let (groups, broker) = (Arc::clone(&shared.groups), Arc::clone(&ingress.worker.broker));
        rt::spawn(async move { groups.deliver(&broker).await });
        let groups = Arc::clone(&shared.groups);
        rt::spawn(async move { groups.listen().await });
        Self { ingress, shared }
    }
}

reply_table! {
    /// Why the group protocol itself refuses a client, with what it is counted as and answered.
    #[derive(Debug, Error, PartialEq, Eq)]
    pub enum Refused {
        /// On the blacklist, or banned.
        #[error("{BLOCKED}")]
        Blocked => (Reason::Address, StatusCode::FORBIDDEN, "Forbidden\n"),
        #[error("too many handshakes from this address (group.handshakes_per_second); try later")]
        TooOften => (Reason::TooOften, StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n"),
        #[error("{most} connections are open, as many as group.max_connections allows; try later")]
        Full { most: usize } => (Reason::Full, StatusCode::SERVICE_UNAVAILABLE, "Too many connections\n"),
    }
    fn row(&self) -> (Reason, StatusCode, &'static str);
}

impl edge::Refused for Refused {
    fn reason(&self) -> Reason {
        self.row().0
    }
}

impl AsRef<Ingress> for GroupEndpoint {
    fn as_ref(&self) -> &Ingress {
        &self.ingress
    }
}

impl Endpoint for GroupEndpoint {
    const NAME: &'static str = "group";
    type Accepted = ConnectionPlace;
    type Refused = Refused;

    fn check(&self, request: &HttpRequest) -> Result<ConnectionPlace, Refused> {
        let checked = self.shared.ip_filter.check_handshake(self.ingress.client_address(request));
        checked.inspect_err(|_| self.shared.groups.counters.count(|figures| figures.refused += 1))?;
        self.shared.take_place()
    }

    async fn open(&self, request: &HttpRequest, place: ConnectionPlace) -> Result<Box<dyn ProtocolHandler>, Refused> {
        let address = self.ingress.client_address(request);
        Ok(Box::new(Socket::new(Arc::clone(&self.shared), address, place)))
    }

    fn refuse_request(&self, _: &HttpRequest, refusal: NotAdmitted) -> HttpResponse {
        explained(api::too_frequent(), &refusal.to_string())
    }

    fn refuse(&self, refusal: &Refusal<Refused>) -> HttpResponse {
        let (status, text) = match refusal {
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"),
            Refusal::NoHandshake(_) => (StatusCode::BAD_REQUEST, "Bad Request\n"),
            Refusal::NotAdmitted(NotAdmitted::AddressFull { .. }) => {
                (StatusCode::TOO_MANY_REQUESTS, "Too many connections\n")
            }
            Refusal::NotAdmitted(NotAdmitted::TooOften(_)) => (StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n"),
            Refusal::NotAdmitted(_) => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable\n"),
            Refusal::Own(refused) => {
                let (_, status, text) = refused.row();
                (status, text)
            }
        };
        explained(plain(status, text), &refusal.to_string())
    }
}

/// Serves the paths of the group settings.
pub fn routes(config: &mut web::ServiceConfig, group: &GroupEndpoint) {
    let settings = &group.shared.groups.settings;
    config.service(web::resource(&settings.ws_path).to(edge::websocket(group)));
    edge::route(config, &settings.health_path, Methods::Any, group, async |_, _, _| plain(StatusCode::OK, "OK"));
    edge::route(config, &settings.stats_path, Methods::Any, group, async |group, request, _| {
        let query = Query::parse(request.query_string());
        let users = group.shared.groups.online_users(query.get("scope") == Some("instance")).await;
        HttpResponse::Ok().json(json!({"online_users": users}))
    });
    api::routes(config, group, &settings.api_path);
}

fn plain(status: StatusCode, text: &'static str) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.insert_header((header::RETRY_AFTER, "1"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.insert_header((header::ALLOW, "GET"));
    }
    response.content_type("text/plain; charset=utf-8").body(text)
}
