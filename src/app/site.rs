//! What is served on each port: one server with several listeners, so that all share the worker threads.
//!
//! A worker thread builds an app for each listener; which protocols it serves is told by the address that
//! requests come in by.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, OnceLock},
};

use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{AppConfig, ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
    web,
};

use super::older::Older;
use crate::{
    actors::{broker::Broker, worker::Worker},
    auth::apps::Apps,
    config::{self, Config, Listener, Protocol, Route},
    edge::{
        admission::Admission,
        fallback,
        guard::MessageLimits,
        http::{cors, to_the_end::to_the_end},
        origin::{self, OriginPolicy},
        websocket::Entrance,
    },
    ops::{self, OpsState},
    protocols::{
        ably::{self, Ably, door::Door, rest::Rest, revocations::KeptRevocations},
        letshare::{self, LetShare},
    },
};

/// What the worker threads of one server build their apps from.
#[derive(Clone)]
pub struct Site {
    pub config: Arc<Config>,
    pub broker: Arc<Broker>,
    pub admission: Admission,
    pub ops_state: OpsState,
    pub letshare: letshare::Shared,
    pub older: Older,
    pub ably: Arc<ably::door::Shared>,
    pub revocations: Option<Arc<KeptRevocations>>,
    pub apps: Arc<Apps>,
    pub origins: Arc<Origins>,
    /// What was bound: told before the first app is built.
    pub bound: Arc<OnceLock<Vec<(SocketAddr, Listener)>>>,
}

/// Which pages may talk to whom.
pub struct Origins {
    common: Arc<OriginPolicy>,
    /// The paths of protocols with a list of their own.
    own: Vec<(Protocol, Route, Arc<OriginPolicy>)>,
}

impl Origins {
    pub fn new(config: &Config) -> Self {
        let relay = Arc::new(OriginPolicy::listed(&config.relay.allowed_origins));
        let chat = &config.chat;
        let chat = OriginPolicy::listed_with_header(&chat.allowed_origins, &chat.jwt_header);
        let lists = [
            (Protocol::Chat, Arc::new(chat)),
            (Protocol::Relay, relay),
            (Protocol::PostOffice, same_host_and(&config.postoffice.allowed_origins)),
            (Protocol::Group, same_host_and(&config.group.allowed_origins)),
        ];
        let own = lists.into_iter().flat_map(|(protocol, policy)| {
            let routes = protocol.routes(config).into_iter();
            routes.map(move |route| (protocol, route, Arc::clone(&policy)))
        });
        Self { common: Arc::new(OriginPolicy::new(&config.cors)), own: own.collect() }
    }

    fn of(&self, listener: &Listener, path: &str) -> Arc<OriginPolicy> {
        let mut own = self.own.iter();
        let found = own
            .find(|(protocol, route, _)| listener.serves(*protocol) && route.matches(path))
            .map(|(_, _, policy)| policy);
        Arc::clone(found.unwrap_or(&self.common))
    }
}

/// Pages of the same host and these; `*` is every page.
fn same_host_and(allowed: &[String]) -> Arc<OriginPolicy> {
    Arc::new(if allowed.iter().any(|origin| origin == "*") {
        OriginPolicy::listed(&[])
    } else {
        OriginPolicy::new(&config::Cors { allowed_origins: allowed.to_vec(), allow_lan: false })
    })
}

impl Site {
    /// The app of the listener that `app` is told the address of.
    pub fn app(
        &self,
        app: &AppConfig,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody + use<>>,
            Error = Error,
            InitError = (),
        > + use<>,
    > {
        let bound = self.bound.get().map(Vec::as_slice).unwrap_or_default();
        let own = bound.iter().find(|(address, _)| *address == app.local_addr());
        // TLS is the shared listener in other clothes, or, where nobody is on that, the next.
        let is_used = |(_, own): &&(SocketAddr, Listener)| own.protocols != [Protocol::Operations];
        let used = || bound.iter().find(is_used).or_else(|| bound.first());
        let listener = own.or_else(used).map(|(_, own)| own.clone());
        let listener = Arc::new(listener.unwrap_or_else(|| self.config.listeners().swap_remove(0)));
        let origins = Arc::clone(&self.origins);
        let asked = Arc::clone(&listener);
        App::new()
            .app_data(web::Data::new(self.ops_state.clone()))
            .wrap(from_fn(to_the_end))
            .wrap(from_fn(fallback::catch_panic))
            .wrap(from_fn(move |request: ServiceRequest, next| {
                let (origins, listener) = (Arc::clone(&origins), Arc::clone(&asked));
                async move {
                    if listener.serves(Protocol::Ably) && ably::is_meant(request.request()) {
                        cors::echo_origin(request, next).await
                    } else {
                        let policy = origins.of(&listener, request.path());
                        origin::enforce(policy, request, next).await
                    }
                }
            }))
            .configure(|routes| self.routes(routes, &listener))
    }

    fn routes(&self, routes: &mut web::ServiceConfig, listener: &Listener) {
        let config = &self.config;
        let entrance = Entrance {
            worker: Worker::on_this_thread(&self.broker),
            admission: self.admission.clone(),
            trusted_proxies: config.server.trusted_proxies.clone(),
            limits: MessageLimits {
                max_message_bytes: config.websocket.max_message_bytes,
                max_fragments: config.websocket.max_fragments,
            },
        };
        if !listener.serves(Protocol::Ably) {
            routes.default_service(web::to(fallback::not_found));
        }
        // Plain paths first: each of Ably's patterns is a regular expression, and they are tried one after the
        // other: about a tenth of what a push cost, by the profile. Only Ably and LetShare share a path.
        let mut protocols = listener.protocols.clone();
        protocols.sort_by_key(|protocol| matches!(protocol, Protocol::Ably | Protocol::LetShare));
        for protocol in protocols {
            match protocol {
                Protocol::Operations => ops::routes(routes),
                Protocol::Ably => {
                    let ably = self.ably(&entrance);
                    ably::routes(routes, &ably, fallback::not_found);
                }
                Protocol::LetShare => {
                    let letshare = LetShare::new(config, entrance.clone(), self.letshare.clone());
                    letshare::routes(routes, &letshare);
                }
                Protocol::Relay | Protocol::PostOffice | Protocol::Chat | Protocol::Group => {
                    self.older.routes(protocol, config, &entrance, routes);
                }
            }
        }
    }

    fn ably(&self, entrance: &Entrance) -> Ably {
        Ably {
            door: Door { entrance: entrance.clone(), shared: Arc::clone(&self.ably) },
            rest: Rest {
                worker: Rc::clone(&entrance.worker),
                shared: Arc::clone(&self.ably),
                apps: Arc::clone(&self.apps),
                revocations: self.revocations.clone(),
                sandbox: self.config.ably.sandbox,
            },
        }
    }
}
