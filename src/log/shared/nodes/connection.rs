//! Whose a connection is, for all nodes. Who opens it is the one that has it; whoever had it before is told to look again.

use bytes::Bytes;

use super::{CONNECTION, Nodes, inbox::LOOK};
use crate::{
    ids::{AppId, ClientId, ConnectionId, NodeId},
    limits,
    log::shared::lease::{node_bytes, read_node},
    store::StoreError,
};

/// What the nodes know of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub node: NodeId,
    pub app: AppId,
    /// None: anonymous, or any.
    pub client_id: Option<ClientId>,
    /// For good.
    pub has_ended: bool,
}

/// Whether a connection is at this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Here,
    Elsewhere,
}

impl Nodes {
    /// None: nobody knows of it any more.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn connection(&self, id: ConnectionId) -> Result<Option<Row>, StoreError> {
        let read = |parts: &[Bytes]| match parts {
            [none] if none.is_empty() => Some(None),
            [node, app, client_id, ended] => Some(Some(Row {
                node: read_node(node)?,
                app: AppId::parse(str::from_utf8(app).ok()?)?,
                client_id: ClientId::new(str::from_utf8(client_id).ok()?),
                has_ended: !ended.is_empty(),
            })),
            _ => None,
        };
        self.ask_line(CONNECTION, vec![key(id)], vec![Bytes::from_static(b"look")], read).await
    }

    /// It is open here from now on, with this client for good if it has one.
    pub fn claim(
        &self,
        id: ConnectionId,
        app: AppId,
        client_id: Option<&ClientId>,
        done: impl FnOnce(Result<Standing, StoreError>) + Send + 'static,
    ) {
        let (nodes, own) = (self.clone(), self.own());
        let read = move |parts: &[Bytes]| match parts {
            [taken, before] if &taken[..] == b"taken" => {
                if let Some(before) = read_node(before).filter(|before| *before != own) {
                    nodes.tell(before, LOOK, 0, &id.to_bytes(), drop);
                }
                Some(Standing::Here)
            }
            // Somebody else has come to it meanwhile, or ended it.
            _ => Some(Standing::Elsewhere),
        };
        self.call(CONNECTION, vec![key(id)], args("claim", self, app, client_id), read, done);
    }

    /// It is still open here, unless it was opened elsewhere.
    pub fn keep(
        &self,
        id: ConnectionId,
        app: AppId,
        client_id: Option<&ClientId>,
        done: impl FnOnce(Result<Standing, StoreError>) + Send + 'static,
    ) {
        let read = |parts: &[Bytes]| {
            let is_kept = &parts.first()?[..] == b"kept";
            Some(if is_kept { Standing::Here } else { Standing::Elsewhere })
        };
        self.call(CONNECTION, vec![key(id)], args("keep", self, app, client_id), read, done);
    }

    /// It has ended for good, unless it was opened elsewhere.
    pub fn end(
        &self,
        id: ConnectionId,
        app: AppId,
        client_id: Option<&ClientId>,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        self.call(CONNECTION, vec![key(id)], args("end", self, app, client_id), |_| Some(()), done);
    }
}

fn args(what: &'static str, nodes: &Nodes, app: AppId, client_id: Option<&ClientId>) -> Vec<Bytes> {
    vec![
        Bytes::from_static(what.as_bytes()),
        node_bytes(nodes.own()),
        Bytes::copy_from_slice(app.as_str().as_bytes()),
        client_id.map_or_else(Bytes::new, |client| Bytes::copy_from_slice(client.as_str().as_bytes())),
        limits::CONNECTION_ROW.as_millis().to_string().into(),
    ]
}

fn key(id: ConnectionId) -> Vec<u8> {
    let part = crc32fast::hash(&id.to_bytes()) % limits::CONNECTION_PARTS;
    format!("ls:{{conn{part}}}{id}").into_bytes()
}
