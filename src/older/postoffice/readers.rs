//! Who reads a mailbox, where several nodes share them (`docs/cluster.md`). Whoever opens one writes its node into the row by which
//! the mailbox is known, over that of whoever had it before, and tells the others to look: a connection whose row names another
//! node is closed. So of several that come in one moment one stays, the one whose node is in the row; a word that comes late, or
//! twice, does no harm, and one that is lost is made good by the next sweep.

use std::sync::{Arc, atomic::Ordering};

use actix_web::rt::time::sleep;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use crate::{
    actors::{
        attendants::{Answering, Attendant},
        broker::Broker,
    },
    ids::{NodeId, SessionId},
    limits,
    older::postoffice::{
        endpoint::Refused,
        shared::{Mailbox, REMEMBERED, Shared},
    },
    store::{Batch, Read, StoreError, claims::Mark},
};

/// What the post office is called among the nodes. What it tells the others is the name of a mailbox to look at.
const NAME: &str = "postoffice";

/// The counter of the mailboxes that are known to all nodes.
const KNOWN: &str = "po mailboxes";

/// What it asks itself at the other nodes.
#[derive(Serialize, Deserialize)]
enum Asked {
    /// Whether a connection that started then is too late for a mailbox.
    IsOutdated {
        name: String,
        started: u64,
    },
    Figures,
}

/// What a node has counted.
#[derive(Serialize, Deserialize)]
struct Figures {
    connections: usize,
    max_connections: usize,
    dropped: u64,
}

impl Shared {
    /// Hears the other nodes from now on.
    pub fn attend(self: &Arc<Self>, broker: &Broker) {
        if self.mailboxes.sharing().is_some() {
            broker.attendants.add(NAME, Arc::clone(self) as Arc<_>);
        }
    }

    /// Whether another node has a connection as `name` that is newer (`docs/protocols/postoffice.md §2`, 409).
    pub async fn is_outdated_elsewhere(&self, name: &str, started: Option<u64>, broker: &Broker) -> bool {
        let Some(started) = started.filter(|_| self.mailboxes.sharing().is_some()) else { return false };
        let asked = Asked::IsOutdated { name: name.to_owned(), started };
        broker.ask_protocol(NAME, &asked, |is_outdated: &bool| *is_outdated).await.contains(&true)
    }

    /// A mailbox may be opened if it is known, or as long as there are not too many; then it is known, to all nodes. Who come in one
    /// moment may all find room.
    pub async fn admit(&self, name: &str) -> Result<(), Refused> {
        let most = self.settings.max_mailboxes;
        if self.known(name).await?.is_some_and(|mailbox| mailbox.lock().owner.is_kept()) {
            return Ok(());
        }
        if self.count().await? >= most as u64 {
            return Err(Refused::TooManyMailboxes(most));
        }
        let Some(sharing) = self.mailboxes.sharing() else { return Ok(()) };
        match self.store.commit(first(name, sharing.claims.own())).await {
            Ok(_) | Err(StoreError::Changed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How many mailboxes there are, at all nodes.
    async fn count(&self) -> Result<u64, StoreError> {
        match self.mailboxes.sharing() {
            None => Ok(self.mailboxes.count() as u64),
            Some(_) => self.store.read_one(Read::Cursor { name: KNOWN.to_owned() }).await?.number(),
        }
    }

    /// A connection here reads its mailbox: those at other nodes do no more. Tried until it is written, or the connection is gone.
    pub fn claim(self: &Arc<Self>, mailbox: &Arc<Mailbox>, session: SessionId, broker: &Arc<Broker>) {
        let Some(sharing) = self.mailboxes.sharing() else { return };
        let own = sharing.claims.own();
        let (shared, mailbox, broker) = (Arc::clone(self), Arc::clone(mailbox), Arc::clone(broker));
        tokio::spawn(async move {
            while let Err(error) = shared.write(&mailbox.name, own).await {
                if let Some(more) = shared.disk_warning.allows(&shared.clock) {
                    tracing::warn!(%error, more, "a mailbox is not known to the other servers yet");
                }
                sleep(limits::NODE_BEAT).await;
                if mailbox.lock().owner.reader_mut(session).is_none() {
                    return;
                }
            }
            {
                let owner = &mut mailbox.lock().owner;
                owner.is_known = true;
                owner.reader_mut(session).into_iter().for_each(|reader| reader.is_claimed = true);
            }
            broker.tell_protocol(NAME, mailbox.name.as_bytes());
            // What was written behind it, by a node that has told this one before.
            shared.look_later(mailbox).await;
        });
    }

    async fn write(&self, name: &str, own: Mark) -> Result<(), StoreError> {
        loop {
            let is_new = self.store.read_one(Read::get(REMEMBERED, name)).await?.value()?.is_none();
            let batch = if is_new { first(name, own) } else { Batch::new().put(REMEMBERED, name, own) };
            match self.store.commit(batch).await {
                Err(StoreError::Changed) => {}
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Looks at all mailboxes that are read here, some at a time.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn look_at_all(&self) -> Result<(), StoreError> {
        let mut read = self.mailboxes.all();
        read.retain(|mailbox| !mailbox.lock().owner.readers.is_empty());
        for some in read.chunks(limits::POST_LOOKED) {
            self.look(some).await?;
        }
        Ok(())
    }

    /// Closes the connections here whose mailbox another node has by now, and makes known again what Redis has lost.
    async fn look(&self, mailboxes: &[Arc<Mailbox>]) -> Result<(), StoreError> {
        let Some(own) = self.mailboxes.sharing().map(|sharing| sharing.claims.own()) else { return Ok(()) };
        // Who has not written yet, or comes meanwhile, writes behind what is read here.
        let claimed = mailboxes.iter().map(|mailbox| (mailbox, mailbox.lock().owner.claimed()));
        let claimed: Vec<_> = claimed.filter(|(_, sessions)| !sessions.is_empty()).collect();
        let reads = claimed.iter().map(|(mailbox, _)| Read::get(REMEMBERED, &*mailbox.name)).collect();
        let rows = self.store.read(reads).await?;
        for ((mailbox, sessions), row) in claimed.into_iter().zip(rows) {
            let is_own = match row.value()? {
                Some(mark) => mark == own,
                None => match self.store.commit(first(&mailbox.name, own)).await {
                    // Another node was faster; or another connection of this one, which has closed these.
                    Err(StoreError::Changed) => false,
                    outcome => outcome.map(|_| true)?,
                },
            };
            if !is_own && !self.settings.multi_device {
                mailbox.lock().owner.close(&sessions);
            }
        }
        Ok(())
    }

    /// The same; what cannot be read now is looked at by the next sweep.
    async fn look_later(&self, mailbox: Arc<Mailbox>) {
        if let Err(error) = self.look(&[mailbox]).await {
            tracing::debug!(%error, "who reads a mailbox is looked at later");
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            connections: self.connections.load(Ordering::Relaxed),
            max_connections: self.settings.max_connections,
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    /// What `/stats` says (`docs/protocols/postoffice.md §5`), of all nodes.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn stats(&self, broker: &Broker) -> Result<Value, StoreError> {
        let elsewhere = match self.mailboxes.sharing() {
            Some(_) => broker.ask_protocol(NAME, &Asked::Figures, |_| false).await,
            None => Vec::new(),
        };
        let all = elsewhere.iter().fold(self.figures(), |sum, one: &Figures| Figures {
            connections: sum.connections + one.connections,
            max_connections: sum.max_connections + one.max_connections,
            dropped: sum.dropped + one.dropped,
        });
        Ok(json!({
            "connections": all.connections,
            "max_connections": all.max_connections,
            "mailboxes": self.count().await?,
            "stored": self.mailboxes.stored().await?,
            "dropped": all.dropped,
        }))
    }
}

/// Makes a mailbox known that was not.
fn first(name: &str, own: Mark) -> Batch {
    Batch::new().expect(REMEMBERED, name, None).put(REMEMBERED, name, own).add(KNOWN, 1)
}

impl Attendant for Shared {
    fn answer(self: Arc<Self>, _: Arc<Broker>, question: Box<RawValue>) -> Answering {
        let answer = match serde_json::from_str(question.get()) {
            Ok(Asked::IsOutdated { name, started }) => serde_json::to_vec(&self.is_outdated(&name, Some(started))).ok(),
            Ok(Asked::Figures) => serde_json::to_vec(&self.figures()).ok(),
            Err(_) => None,
        };
        Box::pin(std::future::ready(answer))
    }

    fn hear(self: Arc<Self>, _: &Arc<Broker>, _: NodeId, letter: Bytes) {
        if let Some(mailbox) = str::from_utf8(&letter).ok().and_then(|name| self.mailboxes.find(name)) {
            tokio::spawn(async move { self.look_later(mailbox).await });
        }
    }

    fn lost(self: Arc<Self>) {
        tokio::spawn(async move {
            while self.look_at_all().await.is_err() {
                sleep(limits::NODE_BEAT).await;
            }
        });
    }
}
