//! From a request on `/` with a protocol version to an Ably connection (`docs/protocols/ably.md §1.2, §4.1 - §4.3`).
//!
//! A WebSocket is always upgraded: whatever is wrong is told by a frame.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, dev::RequestHead, web};

use crate::{
    actors::{
        broker::{self, FrameRate},
        link::Translator,
    },
    auth::ably::{Access, AllowedClient, ConnectionKeys, Credential, Gate},
    core::vitals::Patience,
    edge::{admission::Refusal as NotAdmitted, http::query::Query, websocket::Entrance},
    error::Fault,
    ids::ConnectionId,
    limits,
    protocols::ably::{
        connection::{AblyConnection, HEARTBEAT_INTERVAL, Opening},
        refusal::Refusal,
        version,
        wire::{ConnectionDetails, Format},
    },
};

/// What all Ably doors of a server share.
pub struct Shared {
    pub gate: Gate,
    pub connection_keys: ConnectionKeys,
    pub settings: Settings,
    syncs: AtomicU64,
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
    pub fn patience(&self, server: &broker::Settings) -> Patience {
        Patience {
            ping_interval: HEARTBEAT_INTERVAL,
            idle_timeout: limits::ABLY_IDLE_TIMEOUT,
            stall_timeout: server.patience.stall_timeout,
        }
    }
}

impl Shared {
    pub fn new(gate: Gate, connection_keys: ConnectionKeys, settings: Settings) -> Self {
        Self { gate, connection_keys, settings, syncs: AtomicU64::new(0) }
    }

    /// An id for a presence sync; each sync has another one.
    pub fn next_sync_id(&self) -> u64 {
        self.syncs.fetch_add(1, Ordering::Relaxed)
    }

    /// What a client is told about its connection (§2.5).
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
            // Of objects, which this server does not have yet.
            objects_gc_grace_period: None,
            site_code: None,
        }
    }
}

/// The Ably door of one worker thread.
#[derive(Clone)]
pub struct Door {
    pub entrance: Entrance,
    pub shared: Arc<Shared>,
}

impl Door {
    /// Serves a request that asks for a WebSocket with a protocol version.
    pub async fn connect(&self, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
        let permit = match self.entrance.admit(request) {
            Ok(permit) => permit,
            // Not upgraded: a server that is full has no room for that. Clients come back later.
            Err(refusal) => return not_admitted(&refusal),
        };
        let query = Query::parse(request.query_string());
        let format = format(&query);
        let translator: Box<dyn Translator> = match self.open(request, &query, format) {
            Ok(opening) => Box::new(AblyConnection::new(opening, Arc::clone(&self.shared))),
            Err(fault) => {
                self.entrance.refused();
                tracing::debug!(%fault, "an Ably client is refused");
                Box::new(Refusal { format, fault })
            }
        };
        let upgraded = self.entrance.upgrade(request, payload, permit, translator).await;
        upgraded.unwrap_or_else(|_| {
            HttpResponse::BadRequest()
                .content_type("text/plain")
                .body("This is a WebSocket: it needs an upgrade request.\n")
        })
    }

    fn open(&self, request: &HttpRequest, query: &Query, format: Format) -> Result<Opening, Fault> {
        let named = query.get("v").unwrap_or_default();
        let version = version::parse(named).ok_or(Fault::UnsupportedVersion)?;
        let is_tls = request.app_config().secure();
        let broker = &self.entrance.worker.broker;
        let credential = Credential::find(None, query.pairs())?;
        let access = self.shared.gate.check(credential.as_ref(), broker.clock.now(), is_tls)?;
        let identity = access.claim(query.get("clientId"))?;
        let (id, is_resumed, resume_fault) = match self.resume(query, &access, &identity)? {
            Resume::No => (ConnectionId::random(), false, None),
            // To such a client the same connection would mean that its channels go on by themselves.
            Resume::Same(_) if !version::attaches_again(named) => {
                (ConnectionId::random(), false, Some(Fault::ConnectionExpired))
            }
            Resume::Same(id) => (id, true, None),
            Resume::Another(fault) => (ConnectionId::random(), false, Some(fault)),
        };
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
        })
    }

    /// Whether the client comes back to a connection (§4.3).
    fn resume(&self, query: &Query, access: &Access, identity: &AllowedClient) -> Result<Resume, Fault> {
        let key = query.get("resume").or_else(|| query.get("recover"));
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Ok(Resume::No);
        };
        let id = match self.shared.connection_keys.verify(access.app.id, key) {
            Ok(id) => id,
            Err(fault @ Fault::IncompatibleCredentials { .. }) => return Err(fault),
            Err(fault) => return Ok(Resume::Another(fault)),
        };
        let broker = &self.entrance.worker.broker;
        let owner = broker.connections.owner(id, broker.clock.uptime());
        let before = owner.and_then(|owner| owner.client_id);
        match (before, identity.known()) {
            (Some(before), Some(now)) if before != *now => {
                let why = "the connection belongs to another clientId";
                Err(Fault::IncompatibleCredentials { why })
            }
            _ => Ok(Resume::Same(id)),
        }
    }
}

/// What comes of a client's wish to come back.
enum Resume {
    /// It has none.
    No,
    Same(ConnectionId),
    /// It gets a new connection, and is told why.
    Another(Fault),
}

fn not_admitted(refusal: &NotAdmitted) -> HttpResponse {
    let mut response = match refusal {
        NotAdmitted::AddressFull { .. } => HttpResponse::TooManyRequests(),
        NotAdmitted::Full { .. } | NotAdmitted::Draining => HttpResponse::ServiceUnavailable(),
    };
    response.content_type("text/plain").body(format!("{refusal}\n"))
}

/// Whether a request asks for an Ably connection; all others on `/` are for LetShare.
pub fn names_a_version(head: &RequestHead) -> bool {
    let query = head.uri.query().unwrap_or_default();
    query.split('&').any(|pair| pair.starts_with("v="))
}

fn format(query: &Query) -> Format {
    match query.get("format") {
        Some("msgpack") => Format::Msgpack,
        _ => Format::Json,
    }
}
