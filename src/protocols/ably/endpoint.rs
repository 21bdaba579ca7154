//! From a request on `/` with a protocol version to an Ably connection (`docs/protocols/ably.md §1.2, §4.1 - §4.3`).
//!
//! A WebSocket for which there is a place is always upgraded: whatever is wrong, a frame says.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, dev::RequestHead};
use parking_lot::Mutex;

use crate::{
    actors::{broker, refusals::Reason, transport::context::ProtocolHandler},
    auth::ably::{Access, AllowedClient, ConnectionKeys, Credential, Gate, Proven},
    core::objects::SITE_CODE,
    core::{keepalive::Timeouts, rate::FrameRate},
    edge::{Endpoint, Ingress, Refusal, admission::NotAdmitted, http::query::Query, websocket},
    error::{Fault, Found},
    ids::{AppId, ConnectionId},
    limits,
    protocols::ably::{
        Ably,
        comet::{Conversations, Door},
        connection::{AblyConnection, HEARTBEAT_INTERVAL, Opening},
        refusal::{self, RefusedConnection},
        rest, version,
        wire::{ConnectionDetails, Format},
    },
};

/// What the Ably endpoints of all worker threads share.
pub struct Shared {
    pub gate: Gate,
    pub connection_keys: ConnectionKeys,
    pub settings: Settings,
    pub conversations: Conversations,
    syncs: AtomicU64,
    /// Apps whose channels are being listed: one at a time for each.
    pub enumerating: Mutex<HashSet<AppId>>,
}

/// How Ably connections behave on this server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest publish, in bytes (§3.7).
    pub max_message_bytes: usize,
    /// Largest frame, in bytes.
    pub max_frame_bytes: usize,
}

impl Settings {
    pub fn timeouts(&self, server: &broker::Settings) -> Timeouts {
        Timeouts {
            ping_interval: HEARTBEAT_INTERVAL,
            idle_timeout: limits::ABLY_IDLE_TIMEOUT,
            stall_timeout: server.timeouts.stall_timeout,
        }
    }
}

impl Shared {
    pub fn new(gate: Gate, connection_keys: ConnectionKeys, settings: Settings) -> Self {
        let conversations = Conversations::default();
        Self { gate, connection_keys, settings, conversations, syncs: AtomicU64::new(0), enumerating: Mutex::default() }
    }

    /// An id for a presence sync; each sync has another one.
    pub fn next_sync_id(&self) -> u64 {
        self.syncs.fetch_add(1, Ordering::Relaxed)
    }

    /// What CONNECTED says about the connection (§2.5).
    pub fn details<'a>(
        &'a self,
        identity: &'a AllowedClient,
        connection_key: &'a str,
        rate: Option<FrameRate>,
    ) -> ConnectionDetails<'a> {
        ConnectionDetails {
            client_id: identity.as_str(),
            connection_key,
            max_message_size: self.settings.max_message_bytes,
            max_frame_size: self.settings.max_frame_bytes,
            max_inbound_rate: rate.map_or(u32::MAX, |rate| rate.per_second.get()),
            connection_state_ttl: limits::CONNECTION_STATE_TTL,
            server_id: env!("CARGO_PKG_NAME"),
            max_idle_interval: limits::MAX_IDLE_INTERVAL,
            objects_gc_grace_period: Some(limits::OBJECTS_GRACE),
            site_code: Some(SITE_CODE),
        }
    }
}

impl AsRef<Ingress> for Ably {
    fn as_ref(&self) -> &Ingress {
        &self.ingress
    }
}

impl Endpoint for Ably {
    const NAME: &'static str = "Ably";
    type Accepted = ();
    type Refused = Infallible;

    /// Everybody is let in as far as there is a place: a frame says what else is wrong.
    fn check(&self, _: &HttpRequest) -> Result<(), Infallible> {
        Ok(())
    }

    async fn open(&self, request: &HttpRequest, (): ()) -> Result<Box<dyn ProtocolHandler>, Infallible> {
        let query = Query::parse(request.query_string());
        Ok(self.handler(request, &query, format(&query), None).await)
    }

    fn refuse_request(&self, request: &HttpRequest, refusal: NotAdmitted) -> HttpResponse {
        rest::refuse(request, Fault::TooManyRequests { why: refusal.to_string().into() })
    }

    fn refuse(&self, refusal: &Refusal<Infallible>) -> HttpResponse {
        let (mut response, text) = match refusal {
            // Not upgraded: a server that is full has no room for that. Clients come back later.
            Refusal::NotAdmitted(NotAdmitted::AddressFull { .. } | NotAdmitted::TooOften(_)) => {
                (HttpResponse::TooManyRequests(), refusal.to_string())
            }
            Refusal::NotAdmitted(NotAdmitted::Full { .. } | NotAdmitted::NoMemory(_) | NotAdmitted::Draining) => {
                (HttpResponse::ServiceUnavailable(), refusal.to_string())
            }
            Refusal::Method => (HttpResponse::BadRequest(), format!("Only WebSockets are served here: {refusal}.")),
            Refusal::NoHandshake(_) => {
                (HttpResponse::BadRequest(), format!("Only WebSockets are served here, and this request is {refusal}."))
            }
            Refusal::Own(never) => match *never {},
        };
        response.content_type("text/plain").body(format!("{text}\n"))
    }
}

impl Ably {
    /// What speaks with a client; with one that is refused as well. `door`: of a comet conversation.
    pub(super) async fn handler(
        &self,
        request: &HttpRequest,
        query: &Query,
        format: Format,
        door: Option<Box<Door>>,
    ) -> Box<dyn ProtocolHandler> {
        match self.connection(request, query, format).await {
            Ok(opening) => Box::new(AblyConnection::new(Opening { door, ..opening }, Arc::clone(&self.rest.shared))),
            Err(fault) => {
                let fault = refusal::of_connection(fault);
                self.ingress.turn_away(request, reason_of(&fault), || format!("{}: {fault}", Self::NAME));
                Box::new(RefusedConnection { format, fault })
            }
        }
    }

    async fn connection(&self, request: &HttpRequest, query: &Query, format: Format) -> Result<Opening, Fault> {
        let named = query.get("v");
        let version = named.and_then(version::parse);
        let version = version.ok_or_else(|| Fault::UnsupportedVersion { found: Found::optional(named) })?;
        let is_tls = websocket::is_encrypted(request);
        let broker = &self.ingress.worker.broker;
        let credential = Credential::find(None, query.pairs())?;
        let access = self.rest.shared.gate.check(credential.as_ref(), broker.clock.now(), is_tls)?;
        let identity = access.claim(query.get("clientId"))?;
        let attaches_again = named.is_some_and(version::attaches_again);
        let resumed = self.resume(query, &access, identity, attaches_again).await?;
        let Resumed { id, identity, is_resumed, is_from_elsewhere, fault: resume_fault } = resumed;
        let hold = query.get("remainPresentFor").and_then(|hold| hold.parse().ok());
        let hold = hold.map_or(limits::PRESENCE_HOLD, Duration::from_millis);
        Ok(Opening {
            id,
            format,
            version,
            access,
            identity,
            is_resumed,
            resume_fault,
            echo: query.get("echo") != Some("false"),
            hold: hold.min(limits::CONNECTION_STATE_TTL),
            waits: is_resumed && query.has("upgrade"),
            is_from_elsewhere,
            door: None,
        })
    }

    /// The connection that the client comes back to, or a new one and why (§4.3). A connection keeps its clientId for
    /// life: whoever may speak for any client comes back as the one that it has, anybody else must be that one.
    async fn resume(
        &self,
        query: &Query,
        access: &Access,
        identity: AllowedClient,
        attaches_again: bool,
    ) -> Result<Resumed, Fault> {
        let key = query.get_any(&["resume", "recover", "upgrade"]);
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Ok(Resumed::new_connection(identity, None));
        };
        let Proven { connection: id, client_id } = match self.rest.shared.connection_keys.verify(access.app.id, key) {
            Ok(proven) => proven,
            Err(fault @ Fault::IncompatibleCredentials { .. }) => return Err(fault),
            Err(fault) => return Ok(Resumed::new_connection(identity, Some(fault))),
        };
        if !attaches_again {
            // To such a client the same connection would mean that its channels go on by themselves.
            return Ok(Resumed::new_connection(identity, Some(Fault::ConnectionExpired)));
        }
        let broker = &self.ingress.worker.broker;
        let now = broker.clock.uptime();
        if broker.connections.has_ended(id, now) {
            return Ok(Resumed::new_connection(identity, Some(Fault::ConnectionExpired)));
        }
        let elsewhere = match broker.connection_elsewhere(id).await {
            Ok(owner) => owner,
            Err(fault @ Fault::ConnectionExpired) => return Ok(Resumed::new_connection(identity, Some(fault))),
            // Redis away, it is known by its key alone, as after a restart.
            Err(_) => None,
        };
        let is_from_elsewhere = elsewhere.is_some();
        let shared = elsewhere.and_then(|owner| owner.client_id);
        let identity = broker.connections.succeed(id, now, |before| {
            // A server that has restarted knows of the client by the key alone.
            let next = match shared.as_ref().or(before).or(client_id.as_ref()) {
                Some(own) => AllowedClient::Only(own.clone()).succeeded_by(&identity)?,
                None => identity,
            };
            Ok((next.known().cloned(), next))
        })?;
        Ok(Resumed { id, identity, is_resumed: true, is_from_elsewhere, fault: None })
    }
}

/// Which connection a client is on, and as whom.
struct Resumed {
    id: ConnectionId,
    identity: AllowedClient,
    /// It is the one that was asked for.
    is_resumed: bool,
    /// The nodes of a cluster know of it.
    is_from_elsewhere: bool,
    /// Why it is not.
    fault: Option<Fault>,
}

impl Resumed {
    fn new_connection(identity: AllowedClient, fault: Option<Fault>) -> Self {
        Self { id: ConnectionId::random(), identity, is_resumed: false, is_from_elsewhere: false, fault }
    }
}

/// What the operator's counts call a refusal with this fault.
pub fn reason_of(fault: &Fault) -> Reason {
    if fault.http_status() == 401 { Reason::Token } else { Reason::Request }
}

/// Whether a request on `/` is Ably's; all others there are LetShare's. The one rule for both, the route and who may
/// come by it: two ways of reading one query would let a page in by the rule of a protocol that does not serve it.
pub fn names_a_version(head: &RequestHead) -> bool {
    Query::parse(head.uri.query().unwrap_or_default()).has("v")
}

fn format(query: &Query) -> Format {
    match query.get("format") {
        Some("msgpack") => Format::Msgpack,
        _ => Format::Json,
    }
}
