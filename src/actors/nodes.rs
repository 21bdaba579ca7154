//! What a server says to the other nodes of its cluster, and answers them: whose connections are where, which channels an app
//! uses, what it has counted (`docs/design/cluster.md §2, §5`). A server of its own asks nobody.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use futures_util::future;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    actors::{
        broker::Broker,
        connections::Owner,
        fanout::Probe,
        metrics::Totals,
        stats::{self, Wanted},
    },
    clock::Clock,
    core::stats::{Interval, Record},
    error::Fault,
    ids::{AppId, ChannelName, ConnectionId, NodeId, Timestamp},
    limits,
    log::{
        StoreError,
        shared::nodes::{Question, Standing, Word},
    },
};

pub use crate::log::shared::nodes::{Change, News, Nodes, Table};

/// What nodes ask each other.
#[derive(Serialize, Deserialize)]
enum Asked {
    /// Names of an app's channels, as [`crate::actors::channels::Directory::names`] gives them.
    Channels {
        app: String,
        prefix: String,
        after: Option<String>,
        limit: usize,
    },
    Stats {
        app: String,
        wanted: Wanted,
    },
    /// A [`Node`].
    Node,
    /// Apps and names of the metachannels that are open at the node that says so; there is nothing to be answered.
    Listening(Vec<(String, String)>),
    /// Something that only this protocol understands.
    Protocol {
        name: String,
        question: Box<RawValue>,
    },
}

/// What does not change while a server runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct About {
    pub version: String,
    pub mode: String,
    pub ports: Vec<Port>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Port {
    pub address: String,
    pub protocols: String,
    pub is_encrypted: bool,
}

/// A server as operators see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    pub about: About,
    pub uptime_seconds: u64,
    pub ready: bool,
    pub why_not_ready: Option<String>,
    pub worker_threads: usize,
    pub connections: u64,
    pub channels: usize,
}

/// One of the servers that share their channels.
pub struct Seen {
    /// None: it is alone.
    pub id: Option<NodeId>,
    pub is_this: bool,
    /// None: it has not answered.
    pub node: Option<Node>,
}

/// Answers the other nodes from now on, and tells them of the connections that are open here.
pub fn attend(broker: &Arc<Broker>, nodes: &Nodes) {
    let losing = Arc::downgrade(broker);
    nodes.on_loss(move || {
        if let Some(broker) = losing.upgrade() {
            broker.attendants.all().into_iter().for_each(|attendant| attendant.lost());
        }
    });
    let listening = Arc::downgrade(broker);
    nodes.on_word(move |word| {
        let Some(broker) = listening.upgrade() else { return };
        match word {
            Word::Look(connection) => broker.look_at(connection),
            Word::Question(question) => drop(tokio::spawn(answer(broker, question))),
            Word::Letter { from, protocol, body } => {
                if let Some(attendant) = str::from_utf8(&protocol).ok().and_then(|name| broker.attendants.of(name)) {
                    attendant.hear(&broker, from, body);
                }
            }
        }
    });
}

async fn answer(broker: Arc<Broker>, question: Question) -> Option<()> {
    let answer = match serde_json::from_slice(&question.body).ok()? {
        Asked::Channels { app, prefix, after, limit } => {
            let limit = limit.min(limits::PAGE_ITEMS_MAX + 1);
            let names = broker.directory.names(AppId::parse(&app)?, &prefix, after.as_deref(), limit);
            let names: Vec<&str> = names.iter().map(ChannelName::as_str).collect();
            serde_json::to_vec(&names)
        }
        Asked::Stats { app, wanted } => {
            let (app, limit) = (AppId::parse(&app)?, wanted.limit.min(limits::PAGE_ITEMS_MAX));
            let page = broker.stats.send(Wanted { app, limit, ..wanted }).await.ok()?.ok()?;
            let intervals = page.intervals.into_iter();
            let intervals: Vec<_> = intervals.map(|(interval, record)| (interval.start.millis(), record)).collect();
            serde_json::to_vec(&(intervals, page.has_more))
        }
        Asked::Node => serde_json::to_vec(&broker.this_node().await),
        Asked::Listening(names) => {
            let known = |(app, name): &(String, String)| Some(ChannelName::new(AppId::parse(app)?, name));
            let until = broker.clock.uptime() + broker.log.shared()?.lease();
            broker.listening.learn(question.from, names.iter().filter_map(known).collect(), until);
            serde_json::to_vec(&())
        }
        Asked::Protocol { name, question } => {
            // Whoever asks must not have to wait for a protocol that is not served here.
            let attendant = broker.attendants.of(&name);
            let answer = match attendant {
                Some(attendant) => attendant.answer(Arc::clone(&broker), question).await,
                None => None,
            };
            Ok(answer.unwrap_or_else(|| b"null".to_vec()))
        }
    };
    broker.nodes()?.answer(&question, &answer.ok()?);
    None
}

impl Broker {
    /// The other nodes, if this server has any.
    pub fn nodes(&self) -> Option<Nodes> {
        self.log.shared().map(|log| log.nodes().clone())
    }

    /// A transport has opened a connection, or its client is known by now: whoever had it at another node loses it. What Redis does
    /// not take is tried again for as long as the connection is open here.
    pub fn claim_connection(self: &Arc<Self>, id: ConnectionId, owner: &Owner) {
        let Some(nodes) = self.nodes() else { return };
        let (broker, claimed) = (Arc::downgrade(self), owner.clone());
        nodes.claim(id, owner.app, owner.client_id.as_ref(), move |standing| {
            let Some(broker) = broker.upgrade() else { return };
            match standing {
                Ok(Standing::Here) => {}
                Ok(Standing::Elsewhere) => broker.connections.moved(id),
                Err(_) => drop(tokio::spawn(async move {
                    tokio::time::sleep(limits::NODE_BEAT).await;
                    if broker.connections.is_open(id) {
                        broker.claim_connection(id, &claimed);
                    }
                })),
            }
        });
    }

    /// A connection has ended for good. What Redis does not take is tried again for as long as that is remembered here.
    pub fn end_connection(self: &Arc<Self>, id: ConnectionId, owner: &Owner) {
        let Some(nodes) = self.nodes() else { return };
        let (broker, ended) = (Arc::downgrade(self), owner.clone());
        nodes.end(id, owner.app, owner.client_id.as_ref(), move |told| {
            let (Err(_), Some(broker)) = (told, broker.upgrade()) else { return };
            tokio::spawn(async move {
                tokio::time::sleep(limits::NODE_BEAT).await;
                if broker.connections.has_ended(id, broker.clock.uptime()) {
                    broker.end_connection(id, &ended);
                }
            });
        });
    }

    /// Whose a connection is that this server need not know: none if no node does.
    ///
    /// # Errors
    /// [`Fault::ConnectionExpired`]: it has ended for good. [`Fault::Busy`]: Redis does not answer.
    pub async fn connection_elsewhere(&self, id: ConnectionId) -> Result<Option<Owner>, Fault> {
        let Some(nodes) = self.nodes() else { return Ok(None) };
        match nodes.connection(id).await {
            Ok(Some(row)) if row.has_ended => Err(Fault::ConnectionExpired),
            Ok(row) => Ok(row.map(|row| Owner { app: row.app, client_id: row.client_id })),
            Err(error) => Err(error.to_fault()),
        }
    }

    /// A token request is used up at all nodes.
    ///
    /// # Errors
    /// [`Fault::NonceReplayed`]; [`Fault::Busy`]: Redis does not answer, and the request may come again.
    pub async fn spend(&self, request: &[u8]) -> Result<(), Fault> {
        let Some(nodes) = self.nodes() else { return Ok(()) };
        match nodes.once(request, limits::NONCE_LIFE).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::NonceReplayed),
            Err(error) => Err(error.to_fault()),
        }
    }

    /// Changes rows that all nodes have.
    ///
    /// # Errors
    /// [`Fault::Busy`]: Redis does not answer, or there are too many.
    pub async fn share(&self, change: &Change) -> Result<(), Fault> {
        match self.nodes() {
            None => Ok(()),
            Some(nodes) => nodes.change_rows(change).await.map_err(|error| match error {
                StoreError::Full => Fault::Busy,
                error => error.to_fault(),
            }),
        }
    }

    /// Some of the connections are told to the nodes again, each once in [`limits::CONNECTION_ROW_AGAIN`].
    pub fn keep_connections(self: &Arc<Self>, clock: &Clock) {
        if let Some(nodes) = self.nodes() {
            let parts = limits::CONNECTION_ROW_AGAIN.as_secs();
            for (id, owner) in self.connections.open_of_part(clock.uptime().as_secs() % parts, parts) {
                nodes.keep(id, owner.app, owner.client_id.as_ref(), self.unless_here(id));
            }
        }
    }

    /// Another node may have a connection by now.
    fn look_at(self: &Arc<Self>, id: ConnectionId) {
        if let (Some(nodes), Some(owner)) = (self.nodes(), self.connections.owner(id, self.clock.uptime())) {
            nodes.keep(id, owner.app, owner.client_id.as_ref(), self.unless_here(id));
        }
    }

    /// What is done when a connection turns out to be elsewhere.
    fn unless_here(self: &Arc<Self>, id: ConnectionId) -> impl FnOnce(Result<Standing, StoreError>) + Send + 'static {
        let broker = Arc::downgrade(self);
        move |standing| {
            if let (Ok(Standing::Elsewhere), Some(broker)) = (standing, broker.upgrade()) {
                broker.connections.moved(id);
            }
        }
    }

    /// The first `limit` channels of an app whose names begin with `prefix` and come behind `after`, in their order: those that are
    /// in use at any node.
    ///
    /// # Errors
    /// [`Fault::Busy`]: a node does not answer.
    pub async fn channel_names(
        &self,
        app: AppId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ChannelName>, Fault> {
        let mut names = self.directory.names(app, prefix, after, limit);
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        let asked = Asked::Channels { app: app.as_str().to_owned(), prefix, after, limit };
        let others: Vec<Vec<String>> = self.ask_others(&asked).await?;
        if !others.is_empty() {
            names.extend(others.iter().flatten().map(|name| ChannelName::new(app, name)));
            names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
            names.dedup();
            names.truncate(limit);
        }
        Ok(names)
    }

    /// The statistics of all nodes together.
    ///
    /// # Errors
    /// [`Fault::Busy`]: a node does not answer. What the statistics of this one cannot be read for.
    pub async fn statistics(&self, wanted: Wanted) -> Result<stats::Page, Fault> {
        let (limit, unit, forwards) = (wanted.limit, wanted.unit, wanted.forwards);
        let asked = Asked::Stats { app: wanted.app.as_str().to_owned(), wanted: wanted.clone() };
        let page = self.stats.send(wanted).await.map_err(|_| Fault::Busy)??;
        let others: Vec<(Vec<(u64, Record)>, bool)> = self.ask_others(&asked).await?;
        if others.is_empty() {
            return Ok(page);
        }
        let mut has_more = page.has_more;
        let mut all: BTreeMap<u64, Record> =
            page.intervals.into_iter().map(|(interval, record)| (interval.start.millis(), record)).collect();
        for (intervals, more) in others {
            has_more |= more;
            intervals.into_iter().for_each(|(start, record)| all.entry(start).or_default().merge(record));
        }
        has_more |= all.len() > limit;
        let interval = |(start, record)| (Interval { unit, start: Timestamp::from_millis(start) }, record);
        let all = all.into_iter().map(interval);
        let intervals = if forwards { all.take(limit).collect() } else { all.rev().take(limit).collect() };
        Ok(stats::Page { intervals, has_more })
    }

    /// Tells the other nodes which metachannels are open here, and waits until they know. Who does not hear it is told again with the
    /// next renewal of the lease.
    pub async fn tell_listening(&self) {
        let here = self.listening.here();
        let names = here.iter().map(|name| (name.app().as_str().to_owned(), name.as_str().to_owned())).collect();
        let _: Result<Vec<()>, Fault> = self.ask_others(&Asked::Listening(names)).await;
    }

    /// This server.
    pub async fn this_node(&self) -> Node {
        let totals = self.metrics.send(Totals).await.unwrap_or_default();
        let why_not_ready = self.nodes().and_then(|nodes| nodes.check_ready().err()).map(|unready| unready.why);
        Node {
            about: self.about.get().cloned().unwrap_or_default(),
            uptime_seconds: self.clock.uptime().as_secs(),
            ready: self.ready.load(Ordering::Relaxed) && why_not_ready.is_none(),
            why_not_ready,
            worker_threads: self.hubs.lock().len(),
            connections: totals.connections_opened.saturating_sub(totals.connections_closed),
            channels: self.directory.len(),
        }
    }

    /// All servers that hold a lease, this one first.
    pub async fn all_nodes(&self) -> Vec<Seen> {
        let nodes = self.nodes();
        let this = Seen { id: nodes.as_ref().map(Nodes::own), is_this: true, node: Some(self.this_node().await) };
        let Some(nodes) = nodes else { return vec![this] };
        let question = serde_json::to_vec(&Asked::Node).unwrap_or_default();
        let answers = nodes.ask_each(&question).await.into_iter();
        let others = answers.map(|(node, answer)| Seen {
            id: Some(node),
            is_this: false,
            node: answer.and_then(|answer| serde_json::from_slice(&answer).ok()),
        });
        [this].into_iter().chain(others).collect()
    }

    /// Asks all worker threads, and notes how long the slowest took.
    pub async fn measure_round_trip(&self) {
        let hubs = self.hubs.lock().clone();
        let asked = self.clock.uptime();
        let answers = hubs.iter().map(|hub| hub.address.send(Probe));
        future::join_all(answers).await;
        let micros = self.clock.uptime().saturating_sub(asked).as_micros();
        self.round_trip.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What the parts of a protocol at the other nodes answer, up to the first answer that is enough. Who does not answer in time
    /// has nothing to say: what a node that is stopped has, nobody can reach.
    pub async fn ask_protocol<T: for<'a> Deserialize<'a>>(
        &self,
        name: &str,
        question: &impl Serialize,
        is_enough: impl Fn(&T) -> bool,
    ) -> Vec<T> {
        let Some(nodes) = self.nodes() else { return Vec::new() };
        // Cannot fail: texts and numbers are written into memory.
        let Ok(question) = serde_json::value::to_raw_value(question) else { return Vec::new() };
        let asked = serde_json::to_vec(&Asked::Protocol { name: name.to_owned(), question }).unwrap_or_default();
        let read = |answer: &[u8]| serde_json::from_slice::<Option<T>>(answer).ok().flatten();
        let (answers, _) = nodes.gather(&asked, |answer| read(answer).is_some_and(|answer| is_enough(&answer))).await;
        answers.iter().filter_map(|answer| read(answer)).collect()
    }

    /// Tells the parts of a protocol at all other nodes something; it may be lost.
    pub fn tell_protocol(&self, name: &str, letter: &[u8]) {
        if let Some(nodes) = self.nodes() {
            nodes.others().into_iter().for_each(|node| nodes.send(node, name, &[letter], drop));
        }
    }

    async fn ask_others<T: for<'a> Deserialize<'a>>(&self, asked: &Asked) -> Result<Vec<T>, Fault> {
        let Some(nodes) = self.nodes() else { return Ok(Vec::new()) };
        // Cannot fail: texts and numbers are written into memory.
        let question = serde_json::to_vec(asked).unwrap_or_default();
        let answers = nodes.ask(&question).await.map_err(|error| error.to_fault())?;
        answers.iter().map(|answer| serde_json::from_slice(answer).map_err(|_| Fault::Busy)).collect()
    }
}
