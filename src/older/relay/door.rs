//! The relay's paths, and what its worker threads share (`docs/protocols/relay.md §2`).

use std::{
    num::NonZeroU32,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    rt, web,
};
use anyhow::Context as _;
use futures_util::{FutureExt as _, future};
use governor::{Quota, RateLimiter};

use crate::{
    actors::broker::FrameLimiter,
    auth::{ApiKey, JwtKey, Leeway, Proof},
    clock::Clock,
    config::{self, Identify, UnresolvedToken},
    edge::{admission::Refusal, http::query::Query, refusal::explained, websocket::Entrance},
    limits,
    live::Live,
    older::relay::{
        away::Away,
        delivery::Delivery,
        groups::Groups,
        http::{self, Answer},
        push::Rules,
        schedule::Schedule,
        socket::Socket,
    },
    store::Store,
};

/// What back ends and users show.
pub struct Keys {
    pub api_key: ApiKey,
    pub proof: Proof,
}

impl Keys {
    pub fn new(settings: &config::Relay, leeway: &Leeway) -> Self {
        let secret = &settings.identify_secret;
        Self {
            api_key: ApiKey::new(&settings.api_key),
            proof: match settings.identify {
                Identify::Open => Proof::None,
                Identify::Jwt => Proof::Jwt(Box::new(JwtKey::new(secret).with_leeway(leeway.clone()))),
                Identify::Signed => Proof::Signed(secret.clone()),
            },
        }
    }
}

/// What the relay doors of all worker threads share.
pub struct Shared {
    pub settings: config::Relay,
    pub keys: Live<Keys>,
    pub delivery: Delivery,
    pub schedule: Schedule,
    pub rules: Rules,
    pub limiter: Option<FrameLimiter>,
    /// Somebody was told that keys do not belong into URLs.
    pub key_in_query: AtomicBool,
    is_sending: AtomicBool,
}

impl Shared {
    /// Finds what earlier runs have left in `store`.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn open(
        settings: &config::Relay,
        store: Arc<dyn Store>,
        clock: Clock,
        leeway: &Leeway,
    ) -> anyhow::Result<Self> {
        let away = Away::open(Arc::clone(&store), clock.clone(), settings.offline_ttl)
            .context("cannot read the relay's pushes for users who are away in the data folder")?;
        let rate = NonZeroU32::new(settings.pushes_per_second);
        Ok(Self {
            keys: Live::new(Keys::new(settings, leeway)),
            delivery: Delivery { groups: Groups::default(), away },
            schedule: Schedule::new(store, clock.clone(), settings.max_lateness, settings.overdue_grace),
            rules: Rules {
                lenient: settings.lenient_push,
                reject_unresolved: settings.unresolved_token == UnresolvedToken::Reject,
            },
            limiter: rate.map(|rate| RateLimiter::direct_with_clock(Quota::per_second(rate), clock)),
            key_in_query: AtomicBool::new(false),
            is_sending: AtomicBool::new(false),
            settings: settings.clone(),
        })
    }
}

/// Ends with the thread that sends what is delayed: the next one that comes takes over.
struct Sending(Arc<Shared>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.is_sending.store(false, Ordering::Relaxed);
    }
}

/// A panic in one push must not end what serves all of them: the task begins anew.
async fn for_ever<F: Future<Output = ()>>(what: &'static str, task: impl Fn() -> F) {
    while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
        tracing::error!("{what} has panicked; it begins anew");
        rt::time::sleep(limits::RELAY_SCHEDULE_CHECK).await;
    }
}

/// The relay door of one worker thread.
#[derive(Clone)]
pub struct Relay {
    pub(super) entrance: Entrance,
    pub(super) shared: Arc<Shared>,
}

impl Relay {
    /// The first worker thread that comes sends what is delayed.
    pub fn new(entrance: Entrance, shared: Arc<Shared>) -> Self {
        if !shared.is_sending.swap(true, Ordering::Relaxed) {
            let (shared, broker) = (Arc::clone(&shared), Arc::clone(&entrance.worker.broker));
            let sending = Sending(shared);
            rt::spawn(async move {
                let Shared { schedule, delivery, .. } = &*sending.0;
                let sent = for_ever("sending delayed pushes", || schedule.run(delivery, &broker));
                let swept = for_ever("sweeping kept pushes", || delivery.away.sweep());
                future::join(sent, swept).await;
            });
        }
        Self { entrance, shared }
    }

    async fn connect(&self, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
        if request.method() != Method::GET {
            return Answer::MethodNotAllowed("GET").into();
        }
        let permit = match self.entrance.admit(request) {
            Ok(permit) => permit,
            Err(refusal) => {
                let answer = match refusal {
                    Refusal::AddressFull { .. } => Answer::TooManyConnections,
                    Refusal::Full { .. } | Refusal::Draining => Answer::Busy,
                };
                return explained(answer.into(), &refusal.to_string());
            }
        };
        let query = Query::parse(request.query_string());
        let token = query.get("token").filter(|token| !token.is_empty());
        let socket = Socket::new(Arc::clone(&self.shared), token.map(str::to_owned));
        let upgraded = self.entrance.upgrade(request, payload, permit, Box::new(socket)).await;
        upgraded.unwrap_or_else(|fault| {
            let refused = HttpResponse::BadRequest()
                .insert_header((header::SEC_WEBSOCKET_VERSION, "13"))
                .content_type("text/plain; charset=utf-8")
                .body("Bad Request\n");
            explained(refused, &fault.to_string())
        })
    }
}

/// Serves the paths of the relay's settings.
pub fn routes(config: &mut web::ServiceConfig, relay: &Relay) {
    let settings = &relay.shared.settings;
    let push_path = settings.push_path.trim_end_matches('/');
    let resource = |path: &str| web::resource(path);
    let door = relay.clone();
    let connect = move |request: HttpRequest, payload: web::Payload| {
        let door = door.clone();
        async move { door.connect(&request, payload).await }
    };
    config.service(resource(&settings.ws_path).to(connect));
    http::routes(config, relay, push_path);
    let health = async || HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ok"}"#);
    config.service(resource(&settings.health_path).to(health));
}
