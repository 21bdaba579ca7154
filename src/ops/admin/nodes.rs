//! Servers: this one, and the others of its cluster.

use actix_web::web::{self, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Admin, Answer, Refusal};
use crate::actors::nodes::{self, Seen};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    version: String,
    mode: String,
    uptime_seconds: u64,
    /// It takes new clients.
    ready: bool,
    /// Why it does not, if there is more to say than that it is about to end.
    why_not_ready: Option<String>,
    worker_threads: usize,
    connections: u64,
    channels: usize,
    ports: Vec<Port>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    address: String,
    protocols: String,
    is_encrypted: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Nodes {
    /// This one first.
    items: Vec<OneOfAll>,
}

/// What it says of itself is null where it has not answered in time.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OneOfAll {
    /// None: this server is alone.
    id: Option<String>,
    is_this: bool,
    version: Option<String>,
    mode: Option<String>,
    uptime_seconds: Option<u64>,
    ready: Option<bool>,
    connections: Option<u64>,
    channels: Option<usize>,
}

impl From<nodes::Node> for Node {
    fn from(node: nodes::Node) -> Self {
        let nodes::Node { about, uptime_seconds, ready, why_not_ready, worker_threads, connections, channels } = node;
        let ports = about.ports.into_iter();
        Self {
            version: about.version,
            mode: about.mode,
            uptime_seconds,
            ready,
            why_not_ready,
            worker_threads,
            connections,
            channels,
            ports: ports
                .map(|nodes::Port { address, protocols, is_encrypted }| Port { address, protocols, is_encrypted })
                .collect(),
        }
    }
}

impl From<Seen> for OneOfAll {
    fn from(Seen { id, is_this, node }: Seen) -> Self {
        Self {
            id: id.map(|id| id.to_string()),
            is_this,
            uptime_seconds: node.as_ref().map(|node| node.uptime_seconds),
            ready: node.as_ref().map(|node| node.ready),
            connections: node.as_ref().map(|node| node.connections),
            channels: node.as_ref().map(|node| node.channels),
            mode: node.as_ref().map(|node| node.about.mode.clone()),
            version: node.map(|node| node.about.version),
        }
    }
}

/// This server.
#[utoipa::path(get, path = "/admin/api/node", responses((status = 200, body = Node), (status = 401, body = Refusal)))]
pub(super) async fn this(admin: web::Data<Admin>) -> Answer<Node> {
    Ok(Json(admin.broker.this_node().await.into()))
}

/// The servers that share the channels of this one, as they are now: those that hold a lease.
#[utoipa::path(get, path = "/admin/api/nodes", responses((status = 200, body = Nodes), (status = 401, body = Refusal)))]
pub(super) async fn all(admin: web::Data<Admin>) -> Answer<Nodes> {
    Ok(Json(Nodes { items: admin.broker.all_nodes().await.into_iter().map(OneOfAll::from).collect() }))
}
