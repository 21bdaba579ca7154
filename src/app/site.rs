//! What is served on each port: one server with several listeners, so that all share the worker threads.
//!
//! A worker thread builds an app for each listener.

use std::{rc::Rc, sync::Arc};

use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web,
};
use ipnet::IpNet;

use super::older::Older;
use crate::{
    actors::{broker::Broker, refusals::Reason, worker::Worker},
    auth::apps::Apps,
    config::{Config, Listener, Protocol, Route},
    edge::{
        Ingress,
        admission::Admission,
        client_address::client_address_of,
        fallback,
        guard::MessageLimits,
        http::{amend, cors},
        origin::{self, OriginPolicy},
        own_hosts::OwnHosts,
    },
    live::Live,
    ops::{self, Admin, OpsState},
    protocols::{
        ably::{self, Ably, nonces::StoredNonces, rest::Rest, revocations::StoredRevocations},
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
    pub admin: Admin,
    pub letshare: Arc<letshare::Shared>,
    pub older: Older,
    pub ably: Arc<ably::endpoint::Shared>,
    pub revocations: Option<Arc<StoredRevocations>>,
    pub nonces: Option<Arc<StoredNonces>>,
    pub apps: Arc<Apps>,
    pub origins: Arc<Live<Origins>>,
    pub trusted_proxies: Arc<Live<Vec<IpNet>>>,
}

/// Which pages may talk to whom.
pub struct Origins {
    common: Arc<OriginPolicy>,
    /// The paths of protocols with a list of their own.
    own: Vec<(Protocol, Route, Arc<OriginPolicy>)>,
}

impl Origins {
    pub fn new(config: &Config, own_hosts: &OwnHosts) -> Self {
        let (relay, chat) = (&config.relay, &config.chat);
        let (post, group) = (&config.postoffice, &config.group);
        let listed = |key, allowed| OriginPolicy::listed(key, allowed, own_hosts);
        let lists = [
            (
                Protocol::Relay,
                listed("relay.allowed_origins", &relay.allowed_origins)
                    .or_public()
                    .with_headers(&["X-API-KEY", "API-KEY"]),
            ),
            (Protocol::Chat, listed("chat.allowed_origins", &chat.allowed_origins).with_headers(&[&chat.jwt_header])),
            (Protocol::PostOffice, listed("postoffice.allowed_origins", &post.allowed_origins)),
            (Protocol::Group, listed("group.allowed_origins", &group.allowed_origins).with_headers(&["X-Service-Key"])),
        ];
        let own = lists.into_iter().flat_map(|(protocol, policy)| {
            let policy = Arc::new(policy);
            let routes = protocol.routes(config).into_iter();
            routes.map(move |route| (protocol, route, Arc::clone(&policy)))
        });
        Self { common: Arc::new(OriginPolicy::new(&config.cors, own_hosts)), own: own.collect() }
    }

    /// For a path as the router reads it.
    fn of(&self, listener: &Listener, path: &str) -> Arc<OriginPolicy> {
        let mut own = self.own.iter();
        let found = own
            .find(|(protocol, route, _)| listener.serves(*protocol) && route.matches(path))
            .map(|(_, _, policy)| policy);
        Arc::clone(found.unwrap_or(&self.common))
    }
}

impl Site {
    /// What is served on a listener.
    pub fn app(
        &self,
        listener: &Arc<Listener>,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<impl MessageBody + use<>>,
            Error = Error,
            InitError = (),
        > + use<>,
    > {
        let origins = Arc::clone(&self.origins);
        let asked = Arc::clone(listener);
        let others = listener.routes(&self.config).into_iter().filter(|route| route.protocol != Protocol::Ably);
        let others: Arc<[Route]> = others.collect();
        let (broker, proxies) = (Arc::clone(&self.broker), Arc::clone(&self.trusted_proxies));
        App::new()
            .app_data(web::Data::new(self.ops_state.clone()))
            .wrap(from_fn(fallback::catch_panic))
            .wrap(from_fn(move |request: ServiceRequest, next: Next<_>| {
                let (origins, listener, others) = (Arc::clone(&origins), Arc::clone(&asked), Arc::clone(&others));
                let (broker, proxies) = (Arc::clone(&broker), Arc::clone(&proxies));
                let answer = async move {
                    let path = request.match_info().as_str();
                    let is_console = |route: &&Route| route.protocol == Protocol::Console && route.matches(path);
                    if others.iter().any(|route| is_console(&route)) {
                        // It is for pages of this server: it refuses others itself, and tells none that it may read an answer.
                        return Ok(next.call(request).await?.map_into_left_body());
                    }
                    let others_have = |path: &str| others.iter().any(|route| route.matches(path));
                    if listener.serves(Protocol::Ably) && ably::is_meant(request.request(), others_have) {
                        cors::echo_origin(request, next).await
                    } else {
                        let policy = origins.get().of(&listener, request.match_info().as_str());
                        let refused = |request: &ServiceRequest, origin: &str| {
                            let address = client_address_of(request.request(), &proxies.get());
                            let why = || format!("a page of {origin} is refused: its origin is not allowed");
                            broker.refused(Reason::Origin, Some(address), why);
                        };
                        origin::enforce(policy, request, next, refused).await
                    }
                };
                amend::amended(answer, amend::for_browsers)
            }))
            .configure(|routes| self.routes(routes, listener))
    }

    fn routes(&self, routes: &mut web::ServiceConfig, listener: &Listener) {
        let config = &self.config;
        let ingress = Ingress {
            worker: Worker::on_this_thread(&self.broker),
            admission: self.admission.clone(),
            trusted_proxies: Arc::clone(&self.trusted_proxies),
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
                Protocol::Operations => ops::routes(routes, listener.serves(Protocol::Console)),
                Protocol::Console => ops::console_routes(routes, &self.admin),
                Protocol::Ably => {
                    let ably = self.ably(&ingress);
                    ably::routes(routes, &ably, fallback::not_found);
                }
                Protocol::LetShare => {
                    letshare::routes(routes, &LetShare::new(ingress.clone(), Arc::clone(&self.letshare)));
                }
                Protocol::Relay | Protocol::PostOffice | Protocol::Chat | Protocol::Group => {
                    self.older.routes(protocol, &ingress, routes);
                }
            }
        }
    }

    fn ably(&self, ingress: &Ingress) -> Ably {
        Ably {
            ingress: ingress.clone(),
            rest: Rest {
                worker: Rc::clone(&ingress.worker),
                shared: Arc::clone(&self.ably),
                apps: Arc::clone(&self.apps),
                revocations: self.revocations.clone(),
                nonces: self.nonces.clone(),
                sandbox: self.config.ably.sandbox,
            },
        }
    }
}
