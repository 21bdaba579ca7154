//! Connections: which there are, ending one, and keeping a client out.

use std::net::IpAddr;

use actix_web::web::{self, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Admin, Answer, Refusal, app, page_size};
use crate::{
    actors::listing::{Selection, Shown},
    auth::json_body::Object,
    error::CloseReason,
    ids::{ConnectionId, SessionId},
};

/// Whichever of them is said has to be met.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `next` of the page before.
    after: Option<u64>,
    /// At most 100.
    limit: Option<usize>,
    app: Option<String>,
    client_id: Option<String>,
    connection_id: Option<String>,
    /// As in the rows; case does not matter.
    protocol: Option<String>,
    #[param(value_type = Option<String>)]
    address: Option<IpAddr>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Connections {
    /// The oldest first.
    items: Vec<Connection>,
    /// There may be more, also when this page is not full: a filter looks at some thousand connections at a time.
    next: Option<u64>,
}

/// One connection as it is now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection {
    /// Of its transport. A client that comes back has the same connectionId and another id.
    id: u64,
    connection_id: String,
    app: String,
    client_id: Option<String>,
    protocol: &'static str,
    /// What its SDK or browser calls itself.
    agent: String,
    address: String,
    age_seconds: u64,
    /// What waits for its socket.
    bytes_waiting: usize,
    frames_sent: u64,
    /// Frames that it has sent lately and that its rate (limits.publishes_per_second) has not earned back.
    burst_spent: Option<u64>,
    attachments: usize,
    /// The first 100 of its channels.
    channels: Vec<String>,
}

impl Connection {
    fn new(shown: &Shown, admin: &Admin) -> Self {
        let now = admin.broker.clock.now().millis();
        Self {
            id: shown.session.number(),
            connection_id: shown.connection.to_string(),
            app: shown.app.to_string(),
            client_id: shown.client_id.clone(),
            protocol: shown.peer.protocol,
            agent: shown.peer.agent.to_string(),
            address: shown.peer.address.to_string(),
            age_seconds: now.saturating_sub(shown.opened.millis()) / 1_000,
            bytes_waiting: shown.bytes_waiting,
            frames_sent: shown.frames_sent,
            burst_spent: shown.burst_spent,
            attachments: shown.attachments,
            channels: shown.channels.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The connections of this server.
#[utoipa::path(get, path = "/admin/api/connections", params(Wanted), responses(
    (status = 200, body = Connections), (status = 400, body = Refusal)))]
pub(super) async fn list(admin: web::Data<Admin>, wanted: web::Query<Wanted>) -> Answer<Connections> {
    let wanted = wanted.into_inner();
    let connection = wanted.connection_id.as_deref().map(|text| {
        ConnectionId::parse(text).ok_or_else(|| Refusal::new(40000, "connectionId: 12 characters of base64url"))
    });
    let selection = Selection {
        after: wanted.after.map(SessionId::from_number),
        limit: page_size(wanted.limit),
        app: wanted.app.as_ref().map(|text| app(Some(text))).transpose()?,
        client_id: wanted.client_id,
        connection: connection.transpose()?,
        protocol: wanted.protocol,
        address: wanted.address,
    };
    let listing = admin.broker.list_connections(&selection).await;
    let items = listing.rows.iter().map(|row| Connection::new(row, &admin)).collect();
    Ok(Json(Connections { items, next: listing.next.map(SessionId::number) }))
}

const GONE: &str = "no connection of this server has this id: it has ended, or come back by another transport";

/// One connection.
#[utoipa::path(get, path = "/admin/api/connections/{id}", params(("id" = u64, Path)), responses(
    (status = 200, body = Connection), (status = 404, body = Refusal)))]
pub(super) async fn one(admin: web::Data<Admin>, id: web::Path<u64>) -> Answer<Connection> {
    let found = admin.broker.find_connection(SessionId::from_number(*id), None).await;
    found.map(|shown| Json(Connection::new(&shown, &admin))).ok_or_else(|| Refusal::new(40400, GONE))
}

/// Ends one connection. Its client may come back: see /admin/api/block.
#[utoipa::path(delete, path = "/admin/api/connections/{id}", params(("id" = u64, Path)), responses(
    (status = 200, body = Connection, description = "As it was"), (status = 404, body = Refusal)))]
pub(super) async fn disconnect(admin: web::Data<Admin>, id: web::Path<u64>) -> Answer<Connection> {
    let found = admin.broker.find_connection(SessionId::from_number(*id), Some(CloseReason::Disconnected)).await;
    let shown = found.ok_or_else(|| Refusal::new(40400, GONE))?;
    tracing::info!(connection = %shown.connection, client = ?shown.client_id, "the operator has ended a connection");
    Ok(Json(Connection::new(&shown, &admin)))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Block {
    /// The app `shared` unless it is said.
    app: Option<String>,
    client_id: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blocked {
    /// Connections that were ended.
    ended: usize,
    /// Of each key of the app.
    keys: Vec<KeyOutcome>,
    /// What it cannot keep out.
    caveat: &'static str,
}

/// Revocations are by the clientId that a token names (`docs/protocols/ably.md §12.7`).
const CAVEAT: &str = "what was revoked are tokens that name this client: whoever has a token for any clientId (*), a token without \
                      one, or a key can still come in under this name; revoke those by their own key";

/// What came of revoking the tokens of one key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyOutcome {
    /// The name, `<app>.<key>`.
    pub key: String,
    /// Tokens of the client that this key has issued until now are refused from now on.
    pub revoked: bool,
    /// Why not: whoever has such a token, or the key itself, can come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Takes back the tokens that a client has (by revocation), and ends its connections.
#[utoipa::path(post, path = "/admin/api/block", request_body = Block, responses(
    (status = 200, body = Blocked), (status = 400, body = Refusal)))]
pub(super) async fn block(admin: web::Data<Admin>, wanted: Json<Object<Block>>) -> Answer<Blocked> {
    let Object(Block { app: named, client_id }) = wanted.into_inner();
    let app = app(named.as_ref())?;
    if client_id.is_empty() {
        return Err(Refusal::new(40000, "clientId: a text that is not empty"));
    }
    let keys = admin.hooks.revoke(app, client_id.clone()).await?;
    let ended = admin.broker.end_client(app, &client_id, CloseReason::Disconnected).await;
    tracing::info!(%app, client = client_id, ended, "the operator has blocked a client");
    Ok(Json(Blocked { ended, keys, caveat: CAVEAT }))
}
