//! The relay's paths, and what its worker threads share (`docs/protocols/relay.md §2`).

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::{Arc, Once},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{HeaderName, HeaderValue},
    },
    rt, web,
};
use anyhow::Context as _;
use futures_util::FutureExt as _;

use crate::{
    actors::{
        broker::{self, FrameLimiter},
        refusals::Reason,
        transport::ProtocolHandler,
    },
    auth::{ApiKey, JwtKey, Leeway, Proof},
    clock::Clock,
    config::{self, Identify},
    core::budget::Account,
    edge::{
        self, Endpoint, Ingress, Methods, Refusal, Service,
        admission::NotAdmitted,
        http::{answer, query::Query},
        refusal::explained,
    },
    limits,
    live::Live,
    older::relay::{delivery::Delivery, pages, push, reply::RelayError, schedule::Schedule, socket::Socket},
    store::Place,
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");

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

/// What the relay has in common on all worker threads.
pub struct Shared {
    pub settings: config::Relay,
    pub keys: Live<Keys>,
    pub delivery: Delivery,
    pub schedule: Schedule,
    /// Of pushes.
    pub limiter: Option<FrameLimiter>,
    /// Warns that keys do not belong into URLs.
    key_in_url: Once,
    /// Held by the worker thread that sends delayed pushes.
    sender: Arc<tokio::sync::Mutex<()>>,
}

impl Shared {
    /// Finds what earlier runs have left in `store`.
    pub fn open(
        settings: &config::Relay,
        place: Place,
        account: &Account,
        clock: Clock,
        leeway: &Leeway,
    ) -> anyhow::Result<Self> {
        let delivery = Delivery::open(&place, account, clock.clone(), settings.offline_ttl)
            .context("cannot read the relay's pushes for users who are away in the data folder")?;
        Ok(Self {
            keys: Live::new(Keys::new(settings, leeway)),
            delivery,
            schedule: Schedule::new(place, clock.clone(), settings.max_lateness, settings.overdue_grace),
            limiter: broker::limiter(settings.pushes_per_second, &clock),
            key_in_url: Once::new(),
            sender: Arc::default(),
            settings: settings.clone(),
        })
    }
}

/// The relay on one worker thread.
pub type Relay = Service<Shared>;

/// One worker thread sends what is delayed; when it ends, the next one that is made takes over.
fn send_delayed(Service { ingress, shared }: &Relay) {
    if let Ok(turn) = Arc::clone(&shared.sender).try_lock_owned() {
        let (shared, broker) = (Arc::clone(shared), Arc::clone(&ingress.worker.broker));
        rt::spawn(async move {
            let _turn = turn;
            // A panic in one push must not end what serves all of them.
            while AssertUnwindSafe(shared.schedule.run(&shared.delivery, &broker)).catch_unwind().await.is_err() {
                tracing::error!("sending delayed pushes has panicked; it begins anew");
                rt::time::sleep(limits::RELAY_SCHEDULE_CHECK).await;
            }
        });
    }
}

impl Relay {
    /// The first key that is shown decides (§2).
    fn check_key(&self, request: &HttpRequest) -> Result<(), RelayError> {
        let header =
            |name: HeaderName| request.headers().get(name).map(HeaderValue::as_bytes).filter(|key| !key.is_empty());
        let query = Query::of(request);
        let shown = header(X_API_KEY).or_else(|| header(API_KEY)).or_else(|| {
            let key = query.text("api_key")?;
            self.shared.key_in_url.call_once(|| {
                tracing::warn!("a relay push has its key in the URL, where proxies log it; use the header X-API-KEY");
            });
            Some(key.as_bytes())
        });
        let missing = match shown {
            Some(shown) if self.shared.keys.get().api_key.matches(shown) => return Ok(()),
            Some(_) => "is wrong",
            None => "is missing",
        };
        let why = || format!("relay: a push is refused: its api key {missing}");
        self.ingress.note_refusal(request, Reason::Token, why);
        Err(RelayError::InvalidKey)
    }
}

impl Endpoint for Relay {
    const NAME: &'static str = "relay";
    type Accepted = Option<String>;
    type Refused = Infallible;

    /// Anybody may come in; a token is judged as that of a frame.
    fn check(&self, request: &HttpRequest) -> Result<Option<String>, Infallible> {
        Ok(Query::of(request).text("token").map(str::to_owned))
    }

    async fn open(&self, _: &HttpRequest, token: Option<String>) -> Result<Box<dyn ProtocolHandler>, Infallible> {
        Ok(Box::new(Socket::new(Arc::clone(&self.shared), token)))
    }

    fn refuse_request(&self, _: &HttpRequest, refusal: NotAdmitted) -> HttpResponse {
        explained(RelayError::TooManyRequests.into(), &refusal.to_string())
    }

    fn refuse(&self, refusal: &Refusal<Infallible>) -> HttpResponse {
        let answer = match refusal {
            Refusal::Method => return RelayError::MethodNotAllowed("GET").into(),
            Refusal::NotAdmitted(refusal) if refusal.status() == 429 => RelayError::TooManyConnections.into(),
            Refusal::NotAdmitted(_) => RelayError::Busy.into(),
            Refusal::NoHandshake(_) => answer::plain(400, "Bad Request"),
            Refusal::Own(never) => match *never {},
        };
        explained(answer, &refusal.to_string())
    }
}

/// Serves the paths of the relay's settings.
pub fn routes(config: &mut web::ServiceConfig, ingress: Ingress, shared: Arc<Shared>) {
    let relay = &Service::new(ingress, shared);
    send_delayed(relay);
    let settings = &relay.shared.settings;
    config.service(web::resource(&*settings.ws_path).to(edge::websocket(relay)));
    let push_path = settings.push_path.trim_end_matches('/');
    serve(config, relay, push_path, &Method::POST, push::push);
    serve(config, relay, &format!("{push_path}/scheduled"), &Method::GET, pages::list);
    serve(config, relay, &format!("{push_path}/scheduled/{{id}}"), &Method::DELETE, pages::cancel);
    if let Some(path) = &settings.stats_path {
        serve(config, relay, path, &Method::GET, pages::stats);
    }
    let health = async || HttpResponse::Ok().content_type("application/json").body(r#"{"status":"ok"}"#);
    config.service(web::resource(&*settings.health_path).to(health));
}

/// Serves `path` for back ends: with this method and the key, `command` is carried out.
fn serve<C>(config: &mut web::ServiceConfig, relay: &Relay, path: &str, method: &'static Method, command: C)
where
    C: AsyncFn(&Relay, &HttpRequest, &mut web::Payload) -> Result<HttpResponse, RelayError> + Copy + 'static,
{
    let handler = async move |relay: &Relay, request: &HttpRequest, payload: &mut web::Payload| {
        let asked = request.method();
        let is_allowed = asked == method || (method == Method::GET && asked == Method::HEAD);
        let answer = async {
            if !is_allowed {
                return Err(RelayError::MethodNotAllowed(method.as_str()));
            }
            relay.check_key(request)?;
            command(relay, request, payload).await
        };
        answer.await.unwrap_or_else(HttpResponse::from)
    };
    edge::route(config, path, Methods::Any, relay, handler);
}
