//! What the nodes of a cluster have in common of Ably's administration: the tokens that were revoked, the apps that were made by
//! `POST /apps` (`docs/design/cluster.md §5`). A row of each is on Redis; every node takes what it hears of, and reads all rows
//! when it may have missed some.

use std::{collections::BTreeSet, sync::Arc};

use actix_web::rt;
use futures_util::future::join_all;
use tokio::sync::mpsc::unbounded_channel;

use crate::{
    actors::{
        accounts::Kind,
        broker::Broker,
        nodes::{Change, News, Nodes, Table},
    },
    auth::apps::{Apps, setup::AppSetup},
    ids::AppId,
    limits,
    protocols::ably::{endpoint::Shared, revocations::StoredRevocations},
};

/// What is changed by what other nodes tell.
pub struct Common {
    pub broker: Arc<Broker>,
    pub shared: Arc<Shared>,
    pub apps: Arc<Apps>,
    pub revocations: Arc<StoredRevocations>,
}

impl Common {
    /// Follows the other nodes, from the rows that there are on.
    pub fn follow(self, nodes: Nodes) {
        let (told, mut changes) = unbounded_channel();
        let asked = nodes.clone();
        self.apps.are_those_of_all(move || asked.check_ready().is_err());
        nodes.follow_rows(move |change| drop(told.send(change)));
        rt::spawn(async move {
            while let Some(change) = changes.recv().await {
                match change {
                    News::Changed(change) => self.take(change),
                    News::Missed => self.read_all(&nodes).await,
                    News::Lost => self.teach(&nodes, &[]).await,
                }
            }
        });
    }

    fn take(&self, Change { table, put, gone }: Change) {
        match table {
            Table::Revocations => self.take_revocations(&put),
            Table::Apps => {
                for (id, setup) in &put {
                    self.take_app(id, setup);
                }
                self.remove_apps(gone.iter().filter_map(|id| AppId::parse(id)));
            }
        }
    }

    /// Reads until Redis answers; what is told meanwhile is taken afterwards.
    async fn read_all(&self, nodes: &Nodes) {
        let rows = loop {
            match (nodes.rows(Table::Revocations).await, nodes.rows(Table::Apps).await) {
                (Ok(revocations), Ok(apps)) => break (revocations, apps),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(%error, "what other servers have revoked cannot be read; it is tried again");
                    rt::time::sleep(limits::NODE_BEAT).await;
                }
            }
        };
        let (revocations, apps) = rows;
        self.take_revocations(&revocations);
        let known: BTreeSet<&str> = apps.iter().map(|(id, _)| &**id).collect();
        self.remove_apps(self.apps.made_by_request().into_iter().filter(|id| !known.contains(id.as_str())));
        for (id, setup) in &apps {
            self.take_app(id, setup);
        }
        self.teach(nodes, &revocations).await;
        nodes.rows_are_read();
    }

    /// A Redis that has lost its data learns again what was revoked, and which token requests were granted.
    async fn teach(&self, nodes: &Nodes, rows: &[(String, String)]) {
        let known: BTreeSet<&str> = rows.iter().map(|(name, _)| &**name).collect();
        let mut own = StoredRevocations::all(&self.shared.gate);
        own.retain(|(name, _)| !known.contains(&**name));
        for put in own.chunks(limits::ABLY_ROWS) {
            let change = Change { table: Table::Revocations, put: put.to_vec(), gone: Vec::new() };
            if let Err(error) = nodes.change_rows(&change).await {
                tracing::warn!(%error, "revocations could not be told to the other servers");
            }
        }
        // Each server knows the requests that it has granted itself.
        let spent = self.shared.gate.spent(self.broker.clock.now());
        for some in spent.chunks(limits::ABLY_ROWS) {
            let told = some.iter().map(|spent| async { nodes.once(&spent.to_bytes(), limits::NONCE_LIFE).await });
            join_all(told).await;
        }
    }

    fn take_revocations(&self, rows: &[(String, String)]) {
        let (gate, now) = (&self.shared.gate, self.broker.clock.now());
        if self.revocations.take(gate, rows.iter().map(|(_, row)| row.as_bytes()), now) {
            self.broker.credentials_changed();
        }
    }

    fn remove_apps(&self, gone: impl Iterator<Item = AppId>) {
        // Some may be gone already.
        if gone.filter(|id| self.apps.remove(*id).is_ok()).count() > 0 {
            self.broker.credentials_changed();
        }
    }

    fn take_app(&self, id: &str, setup: &str) {
        if AppId::parse(id).is_none_or(|id| self.apps.find(id).is_some()) {
            return;
        }
        let cost = limits::APP_COST + limits::APP_BYTE_COST * setup.len();
        // It is there at the node that was asked for it, whose network has paid.
        let charge = self.broker.accounts.requests(None).charge_anyway(Kind::App, cost);
        let adopted = AppSetup::from_json(setup.as_bytes()).map(|setup| self.apps.adopt(setup, charge));
        if !matches!(adopted, Ok(true)) {
            tracing::warn!(app = id, "an app that another server has made cannot be taken");
        }
    }
}
