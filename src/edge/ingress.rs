//! What an endpoint needs of its worker thread and of the server: who asks, whether there is a place for it, and where
//! refusals are counted and logged.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use actix_web::HttpRequest;
use ipnet::IpNet;

use crate::{
    actors::{
        accounts::{Account, Charge, Kind},
        refusals::Reason,
        transport::{Peer, ProtocolHandler, Terms},
        worker::Worker,
    },
    edge::{
        admission::{Admission, NotAdmitted, Permit},
        client_address::{client_address_of, proxy_hint},
        guard::MessageLimits,
        http::{body, query::Query},
    },
    ids::AppId,
    limits,
    live::Live,
};

/// See the module; one per worker thread.
#[derive(Clone)]
pub struct Ingress {
    pub worker: Rc<Worker>,
    pub admission: Admission,
    pub trusted_proxies: Arc<Live<Vec<IpNet>>>,
    pub limits: MessageLimits,
}

/// A protocol on one worker thread, whose worker threads share one state; clones are the same.
pub struct Service<S> {
    pub ingress: Ingress,
    pub shared: Arc<S>,
}

impl<S> Service<S> {
    pub const fn new(ingress: Ingress, shared: Arc<S>) -> Self {
        Self { ingress, shared }
    }
}

impl<S> Clone for Service<S> {
    fn clone(&self) -> Self {
        Self { ingress: self.ingress.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S> AsRef<Ingress> for Service<S> {
    fn as_ref(&self) -> &Ingress {
        &self.ingress
    }
}

/// What a new connection has been given.
pub(super) struct Place {
    pub terms: Terms,
    /// Whatever is kept for it is charged here.
    pub account: Account,
    /// To be kept until the client has hung up.
    pub held: (Permit, Charge),
}

impl Ingress {
    /// The same for a protocol whose messages may have so many bytes.
    #[must_use]
    pub fn with_message_bytes(mut self, max_message_bytes: usize) -> Self {
        self.limits.max_message_bytes = max_message_bytes;
        self
    }

    /// Whose request it is.
    pub fn client_address(&self, request: &HttpRequest) -> IpAddr {
        client_address_of(request, &self.trusted_proxies.get())
    }

    /// Who sends `request`, and which SDK or browser that is: Ably's SDKs say it in `agent`, by parameter or header.
    pub(super) fn peer(&self, request: &HttpRequest, protocol: &'static str) -> Peer {
        let query = Query::parse(request.query_string());
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let agent = query.get("agent").or_else(|| header("ably-agent")).or_else(|| header("user-agent"));
        let agent = agent.unwrap_or_default();
        let agent = agent[..agent.floor_char_boundary(limits::AGENT_BYTES)].into();
        Peer { protocol, address: self.client_address(request), agent }
    }

    /// Takes a place for the WebSocket of `request`. The one place where the limits of a network for new connections stand.
    ///
    /// # Errors
    /// When a cap is reached, the network comes too often, or the server stops.
    pub fn take_place(&self, request: &HttpRequest) -> Result<Permit, NotAdmitted> {
        if self.worker.broker.closing.load(Ordering::Relaxed) {
            return Err(NotAdmitted::Draining);
        }
        self.admission.admit(self.client_address(request), self.worker.broker.clock.uptime())
    }

    /// Counts a plain request against its network's rate; what is read of it is its network's to pay for until its app is known.
    ///
    /// # Errors
    /// When the network asks too often.
    pub(super) fn take_request(&self, request: &HttpRequest) -> Result<(), NotAdmitted> {
        let broker = &self.worker.broker;
        let network = self.admission.request(self.client_address(request), broker.clock.uptime())?;
        body::charge_to(request, broker.accounts.requests(network));
        Ok(())
    }

    /// Takes what the connection itself costs, from the account of its app and network.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn take_memory(
        &self,
        permit: Permit,
        handler: &dyn ProtocolHandler,
        peer: Peer,
    ) -> Result<Place, NotAdmitted> {
        let broker = &self.worker.broker;
        let terms = Terms { peer, ..handler.terms(&broker.settings.get()) };
        let account = broker.accounts.client(terms.app, permit.network());
        let charge = account.charge(Kind::Connection, limits::CONNECTION_COST).map_err(NotAdmitted::NoMemory)?;
        Ok(Place { terms, account, held: (permit, charge) })
    }

    /// Who pays for what a plain request has kept.
    pub fn account_of_request(&self, request: &HttpRequest, app: AppId) -> Account {
        let network = self.admission.network(self.client_address(request));
        self.worker.broker.accounts.client(app, network)
    }

    /// Counts a client that is turned away before the upgrade, and logs why. Where clients are counted by
    /// address, the log also says that they may be clients behind one proxy.
    pub fn turn_away(&self, request: &HttpRequest, reason: Reason, why: impl FnOnce() -> String) {
        self.worker.count(|counters| counters.connections_refused += 1);
        let address = self.client_address(request);
        self.worker.broker.refused(reason, Some(address), || {
            let hint = match reason {
                Reason::AddressFull | Reason::TooOften => proxy_hint(request, address),
                _ => String::new(),
            };
            format!("WebSocket refused: {}{hint}", why())
        });
    }

    /// Counts a plain request that is refused, and logs why.
    pub fn note_refusal(&self, request: &HttpRequest, reason: Reason, why: impl FnOnce() -> String) {
        self.worker.broker.refused(reason, Some(self.client_address(request)), why);
    }
}
