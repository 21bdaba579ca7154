//! The paths of the group protocol, and what its worker threads share (`docs/protocols/group.md §2`).

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
    rt, web,
};
use ipnet::IpNet;
use serde_json::json;

use crate::{
    actors::{metrics::GroupFigures, refusals::Reason},
    auth::Leeway,
    edge::{
        admission::Refusal, client_address::client_address_of, guard::MessageLimits, http::query::Query,
        refusal::explained, websocket::Entrance,
    },
    limits,
    live::Live,
    older::group::{
        access::Access,
        api,
        barrier::{Barred, Barrier},
        forum::Forum,
        rates::UserRates,
        socket::Socket,
    },
};

/// What the doors of all worker threads share.
pub struct Shared {
    pub forum: Arc<Forum>,
    pub access: Live<Access>,
    pub barrier: Barrier,
    pub rates: UserRates,
    open: AtomicUsize,
}

/// One of the places that `group.max_connections` counts; given back when it is dropped.
pub struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// `blacklist` is what `group.blacklist_file` has.
    pub fn new(forum: Arc<Forum>, blacklist: Vec<IpNet>, leeway: &Leeway) -> Self {
        let (settings, clock) = (&forum.settings, forum.clock.clone());
        let rates = UserRates::new(settings.messages_per_second, settings.message_burst, clock.clone());
        Self {
            access: Live::new(Access::new(settings, leeway)),
            barrier: Barrier::new(settings, blacklist, clock),
            rates,
            open: AtomicUsize::new(0),
            forum,
        }
    }

    /// Tokens and services are held against other keys from now on; whoever is in stays.
    pub fn set_keys(&self, settings: &crate::config::Group, leeway: &Leeway) {
        self.access.set(Access::new(settings, leeway));
    }

    /// Reads the file of the blacklist again and tells the log what came of it.
    pub fn reload(&self) -> Result<usize, String> {
        match self.barrier.reload() {
            Ok(networks) => {
                tracing::info!(networks, "the blacklist of the group protocol was read again");
                Ok(networks)
            }
            Err(error) => {
                tracing::error!("the old blacklist of the group protocol stays in use: {error}");
                Err(error.to_string())
            }
        }
    }

    /// Somebody there did not prove who it is.
    pub fn note_failure(&self, address: IpAddr) {
        self.forum.figures.failed_auth();
        if self.barrier.failed(address) {
            tracing::warn!(%address, "banned for a while: too many attempts to authenticate");
        }
    }

    /// What was counted, for `/metrics`.
    pub fn figures(&self) -> GroupFigures {
        GroupFigures { connections: self.open.load(Ordering::Relaxed) as u64, ..self.forum.read_figures() }
    }

    fn take_place(self: &Arc<Self>) -> Option<Place> {
        let most = self.forum.settings.max_connections;
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        // Made first, so that the count is given back either way.
        let place = Place(Arc::clone(self));
        (most == 0 || before < most).then_some(place)
    }
}

/// The group door of one worker thread.
#[derive(Clone)]
pub struct Group {
    pub(super) entrance: Entrance,
    pub(super) shared: Arc<Shared>,
}

impl Group {
    /// The first worker thread that comes brings messages to the channels, and hears what other instances say.
    pub fn new(mut entrance: Entrance, shared: Arc<Shared>) -> Self {
        entrance.limits = MessageLimits { max_message_bytes: limits::GROUP_FRAME_BYTES, ..entrance.limits };
        let (forum, broker) = (Arc::clone(&shared.forum), Arc::clone(&entrance.worker.broker));
        rt::spawn(async move { forum.deliver(&broker).await });
        let forum = Arc::clone(&shared.forum);
        rt::spawn(async move { forum.listen().await });
        Self { entrance, shared }
    }

    pub(super) fn address_of(&self, request: &HttpRequest) -> IpAddr {
        client_address_of(request, &self.entrance.trusted_proxies.get())
    }

    async fn connect(&self, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
        if request.method() != Method::GET {
            return explained(
                plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"),
                "a WebSocket begins with GET",
            );
        }
        let address = self.address_of(request);
        if let Err(barred) = self.shared.barrier.knock(address) {
            let (reason, why) = match barred {
                Barred::Listed => (
                    Reason::Address,
                    "the address is on the blacklist (group.blacklist, group.blacklist_file), or banned for a while",
                ),
                Barred::TooOften => {
                    (Reason::TooOften, "too many handshakes from this address (group.handshakes_per_second); try later")
                }
            };
            self.entrance.turn_away(request, reason, || format!("group: {why}"));
            self.shared.forum.figures.barred();
            let refused = match barred {
                Barred::Listed => plain(StatusCode::FORBIDDEN, "Forbidden\n"),
                Barred::TooOften => plain(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests\n"),
            };
            return explained(refused, why);
        }
        let Some(place) = self.shared.take_place() else {
            let most = self.shared.forum.settings.max_connections;
            let why = format!("{most} connections are open, as many as group.max_connections allows; try later");
            self.entrance.turn_away(request, Reason::Full, || format!("group: {why}"));
            return explained(plain(StatusCode::SERVICE_UNAVAILABLE, "Too many connections\n"), &why);
        };
        let permit = match self.entrance.admit(request) {
            Ok(permit) => permit,
            Err(refusal) => {
                let refused = match refusal {
                    Refusal::AddressFull { .. } => plain(StatusCode::TOO_MANY_REQUESTS, "Too many connections\n"),
                    Refusal::Full { .. } | Refusal::Draining => {
                        plain(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable\n")
                    }
                };
                return explained(refused, &refusal.to_string());
            }
        };
        let socket = Socket::new(Arc::clone(&self.shared), address, place);
        let upgraded = self.entrance.upgrade(request, payload, permit, Box::new(socket));
        upgraded.await.unwrap_or_else(|fault| {
            let mut refused = plain(StatusCode::BAD_REQUEST, "Bad Request\n");
            let version = header::HeaderValue::from_static("13");
            refused.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
            explained(refused, &fault.to_string())
        })
    }

    async fn stats(&self, request: &HttpRequest) -> HttpResponse {
        let query = Query::parse(request.query_string());
        let here_only = query.get("scope") == Some("instance");
        let users = self.shared.forum.online_users(here_only).await;
        HttpResponse::Ok().json(json!({"online_users": users}))
    }
}

/// Serves the paths of the group settings.
pub fn routes(config: &mut web::ServiceConfig, group: &Group) {
    let settings = &group.shared.forum.settings;
    let door = group.clone();
    let connect = move |request: HttpRequest, payload: web::Payload| {
        let door = door.clone();
        async move { door.connect(&request, payload).await }
    };
    config.service(web::resource(&settings.ws_path).to(connect));
    let health = async || plain(StatusCode::OK, "OK");
    config.service(web::resource(&settings.health_path).to(health));
    let door = group.clone();
    let stats = move |request: HttpRequest| {
        let door = door.clone();
        async move { door.stats(&request).await }
    };
    config.service(web::resource(&settings.stats_path).to(stats));
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
