//! Groups of the nodes of a cluster (`docs/design/cluster.md §6`): one store has all rows, and each node has in memory who is in which
//! group. Whoever changes that expects the rows as it knows them; what has changed is appended to a stream in the same script,
//! so every node hears of it, in one order, and whoever begins reads the rows and then what changes from there on.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use actix_web::rt;
use bytes::Bytes;
use parking_lot::{Mutex, RwLockReadGuard};
use serde_json::value::RawValue;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{Delivery, Groups};
use crate::{
    actors::{
        attendants::{Answering, Attendant},
        broker::Broker,
    },
    engines::redis::EntryId,
    ids::NodeId,
    limits,
    older::group::{
        code::Code,
        membership::{GroupInfo, Member, Membership},
        message::group_channel,
        reply,
        repository::{self, Numbers},
        streams::{Author, Change, Outgoing},
    },
    store::{Batch, Claims, Commit, StoreError},
};

/// What the protocol is called among the nodes.
pub const NAME: &str = "group";

/// What a node knows of the store.
pub(super) struct Nodes {
    claims: Claims,
    /// The rows were read: until then nobody can be told what there is not.
    is_read: AtomicBool,
    /// The number of the last change that was heard.
    heard: watch::Sender<u64>,
    /// How often rows of groups and members came from elsewhere; it moves under the lock of the membership.
    changes: AtomicU64,
    /// A change was given up that may be stored all the same: its rows have to be read.
    is_doubtful: AtomicBool,
    /// A message of a client here has its answer.
    settled: Notify,
    is_full: AtomicBool,
    /// Names the data of the store: another one, or none, and it has lost what it had.
    life: Mutex<Option<Vec<u8>>>,
}

impl Nodes {
    pub fn new(claims: Claims) -> Self {
        Self {
            claims,
            is_read: AtomicBool::new(false),
            heard: watch::Sender::new(0),
            changes: AtomicU64::new(0),
            is_doubtful: AtomicBool::new(false),
            settled: Notify::new(),
            is_full: AtomicBool::new(false),
            life: Mutex::default(),
        }
    }

    pub fn note_settled(&self) {
        self.settled.notify_waiters();
    }
}

impl Groups {
    /// Who is in which group.
    ///
    /// # Errors
    /// [`Code::Busy`] until a node has read it.
    pub fn known(&self) -> Result<RwLockReadGuard<'_, Membership>, Code> {
        match &self.nodes {
            Some(nodes) if !nodes.is_read.load(Ordering::Acquire) => Err(Code::Busy),
            _ => Ok(self.membership.read()),
        }
    }

    /// Why no client is to be sent here; none: they may be. Whether the Redis of the cluster is one server need not have been known
    /// at the start.
    pub fn why_not_ready(&self, is_one_server: bool) -> Option<String> {
        if self.is_shared() && self.settings.redis.is_none() && !is_one_server {
            let why = "groups need one server of redis, and cluster.endpoint is a Redis Cluster: name another one in \
                       group.redis";
            return Some(why.to_owned());
        }
        self.known().is_err().then(|| "the groups of the cluster have not been read yet".to_owned())
    }

    /// Whether other nodes have the same rows.
    pub(super) const fn is_shared(&self) -> bool {
        self.nodes.is_some()
    }

    /// Whether this server is the one that removes what is too old: of nodes, one.
    pub(super) fn is_sweeper(&self) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| nodes.claims.is_first())
    }

    /// # Errors
    /// [`Code::NoMemory`] when the store of all nodes has as much as it may.
    pub(super) fn check_room(&self) -> Result<(), Code> {
        let Some(nodes) = &self.nodes else { return Ok(()) };
        match nodes.is_full.load(Ordering::Relaxed) {
            true => Err(Code::NoMemory(format!(
                "groups have the {} bytes of the cluster's Redis that they may have (group.stored_bytes)",
                self.settings.stored_bytes
            ))),
            false => Ok(()),
        }
    }

    /// Tells the other nodes, with the batch that it is committed with.
    pub(super) fn tell_nodes(&self, change: &Change) -> Option<Outgoing> {
        let bus = self.bus.as_ref().filter(|_| self.is_shared())?;
        bus.changed(change).ok()
    }

    /// Waits until a message that was sent here has been answered, so that its sender knows it when it comes back.
    pub(super) async fn until_settled(&self, message: &str) {
        let Some(nodes) = &self.nodes else { return };
        loop {
            let settled = nodes.settled.notified();
            if !self.storing.lock().contains_key(message) {
                return;
            }
            settled.await;
        }
    }

    /// As [`Self::until_stored`]; it is heard here as well when this returns. Not for who hears: that would wait for itself.
    pub(super) async fn until_taken<T>(
        self: &Arc<Self>,
        group: &str,
        users: &[String],
        change: impl Fn() -> Result<(T, Option<Commit>), Code>,
    ) -> Result<T, Code> {
        let (what, place) = self.until_stored(group, users, change).await?;
        if let Some(place) = place {
            self.until_heard(place).await;
        }
        Ok(what)
    }

    /// Carries out a change of a group and these users; of nodes, again when another one was first, by what that has changed. It is
    /// stored when this returns, and where it stands in the stream. `change` may find that there is nothing to be written.
    pub(super) async fn until_stored<T>(
        self: &Arc<Self>,
        group: &str,
        users: &[String],
        change: impl Fn() -> Result<(T, Option<Commit>), Code>,
    ) -> Result<(T, Option<u64>), Code> {
        for _ in 0..limits::GROUP_TRIES {
            if let Some(nodes) = &self.nodes {
                drop(self.known()?);
                let changes = nodes.changes.load(Ordering::Relaxed);
                let (info, members) = self.read(self.repository.members(group, users).await)?;
                let mut membership = self.membership.write();
                // What was heard meanwhile may be newer than what was read.
                if nodes.changes.load(Ordering::Relaxed) != changes {
                    continue;
                }
                self.learn(&mut membership, group, info, users.iter().cloned().zip(members));
            }
            let (what, commit) = change()?;
            let Some(commit) = commit else { return Ok((what, None)) };
            match commit.await {
                Ok(done) => return Ok((what, done.place)),
                Err(StoreError::Changed) => {}
                Err(error) => return Err(self.not_stored(&error)),
            }
        }
        Err(Code::Busy)
    }

    async fn until_heard(&self, place: u64) {
        let Some(nodes) = &self.nodes else { return };
        // Later than that, it is stored all the same.
        let _ = timeout(limits::NODE_ANSWER, nodes.heard.subscribe().wait_for(|heard| *heard >= place)).await;
    }

    /// Waits until all nodes that answer know what this one knows.
    pub async fn until_known_everywhere(&self, broker: &Broker) {
        let Some(nodes) = &self.nodes else { return };
        let heard = *nodes.heard.borrow();
        let _: Vec<bool> = broker.ask_protocol(NAME, &heard, |_| false).await;
    }

    /// What rows of a group are; who is a member by that attaches, who is none any more is detached.
    fn learn(
        &self,
        membership: &mut Membership,
        group: &str,
        info: Option<GroupInfo>,
        members: impl IntoIterator<Item = (String, Option<Member>)>,
    ) {
        if let Some(info) = info {
            membership.put(group, info);
        }
        for (user, member) in members {
            let is_member = member.is_some();
            if membership.set(group, &user, member) {
                let delivery = if is_member { Delivery::Attach { user } } else { Delivery::Detach { user } };
                self.deliveries.push(group_channel(group), delivery);
            }
        }
    }

    /// A node has changed rows of a group.
    pub(super) fn hear_change(&self, change: Change, at: EntryId, author: Author) {
        let Some(nodes) = &self.nodes else { return };
        let Change { group, info, members, read } = change;
        let mut membership = self.membership.write();
        if info.is_some() || !members.is_empty() {
            nodes.changes.fetch_add(1, Ordering::Relaxed);
        }
        self.learn(&mut membership, &group, info, members);
        let has_moved = read.as_ref().is_some_and(|read| membership.mark(&group, &read.user, read.number).is_some());
        drop(membership);
        if let Some(read) = read
            && has_moved
            && author != Author::Own
            && self.settings.read_events
        {
            let frame = reply::read(&group, &read.message, self.clock.now());
            self.connections_of(&read.user).iter().for_each(|(handle, _)| handle.send(vec![frame.clone()]));
        }
        nodes.heard.send_replace(Numbers::of(at));
    }

    /// However many there are.
    async fn all_rows(self: &Arc<Self>) -> Result<Membership, Code> {
        let groups = Arc::clone(self);
        self.read(self.readers.read_to_the_end(move || groups.repository.membership()).await.flatten())
    }

    /// Reads all rows; what is heard from now on changes them.
    pub(super) async fn read_again(self: &Arc<Self>) -> Result<(), Code> {
        let Some(nodes) = &self.nodes else { return Ok(()) };
        let read = self.all_rows().await?;
        let mut membership = self.membership.write();
        for user in self.online.list(None, usize::MAX) {
            let [before, after] = [&*membership, &read].map(|all| BTreeSet::from_iter(all.groups_of(&user)));
            for group in before.symmetric_difference(&after) {
                let user = user.to_string();
                let is_member = after.contains(group);
                let delivery = if is_member { Delivery::Attach { user } } else { Delivery::Detach { user } };
                self.deliveries.push(group_channel(group), delivery);
            }
        }
        membership.replace_by(read);
        nodes.changes.fetch_add(1, Ordering::Relaxed);
        nodes.is_read.store(true, Ordering::Release);
        Ok(())
    }

    /// Looks whether the store has as much as it may, and whether it still has what it had; else writes what is known here and reads
    /// what there is then. With `anew` that is read in any case.
    pub(super) async fn look_at_store(self: &Arc<Self>, anew: bool) -> Result<(), Code> {
        let Some(nodes) = &self.nodes else { return Ok(()) };
        let mut anew = anew;
        let (bytes, life) = self.read(self.repository.state().await)?;
        nodes.is_full.store(bytes >= self.settings.stored_bytes, Ordering::Relaxed);
        if let Some(bus) = self.bus.as_ref().filter(|_| nodes.claims.is_first()) {
            // Tried again in a second.
            let _ = bus.trim().await;
        }
        let known = nodes.life.lock().clone();
        match life {
            Some(life) if known.as_ref().is_none_or(|known| *known == life) => *nodes.life.lock() = Some(life),
            life => {
                if known.is_some() {
                    tracing::error!("the groups in redis are lost; this node writes those that it knows");
                    self.teach().await?;
                    anew = true;
                }
                let new: [u8; 8] = rand::random();
                let named = match life {
                    Some(life) => Some(life),
                    None => match self.repository.commit(repository::put_life(Batch::new(), new)).await {
                        Ok(_) => Some(new.to_vec()),
                        // Another node was first: taken when it is looked at next.
                        Err(StoreError::Changed) => None,
                        Err(error) => return Err(self.not_stored(&error)),
                    },
                };
                *nodes.life.lock() = named;
            }
        }
        // Before the rows are read: what becomes doubtful meanwhile is read next time.
        if !nodes.is_doubtful.swap(false, Ordering::AcqRel) && !anew {
            return Ok(());
        }
        self.read_again().await.inspect_err(|_| nodes.is_doubtful.store(true, Ordering::Release))
    }

    /// A change that is undone in memory has failed. It may be stored all the same, and its answer lost.
    pub(super) fn doubt(&self, error: &StoreError) {
        if let Some(nodes) = &self.nodes
            && !matches!(error, StoreError::Changed | StoreError::Busy)
        {
            nodes.is_doubtful.store(true, Ordering::Release);
        }
    }

    /// Writes the groups that the store has not got; what was said in them is lost.
    async fn teach(self: &Arc<Self>) -> Result<(), Code> {
        let there = self.all_rows().await?;
        let missing = self.membership.read().all_but(&there);
        for (name, group) in missing {
            let members: Vec<_> = group.members.iter().collect();
            for first in (0..members.len().max(1)).step_by(limits::GROUP_ROWS) {
                let before = (first > 0).then_some(&group.info);
                let batch = repository::expect_group(Batch::new(), &name, before);
                let mut batch = repository::put_group(batch, &name, &group.info);
                let mut change =
                    Change { group: name.to_string(), info: Some(group.info.clone()), ..Change::default() };
                for (user, member) in members.iter().skip(first).take(limits::GROUP_ROWS) {
                    batch = repository::put_member(batch, &name, user, member);
                    if member.read > 0 {
                        batch = repository::put_marker(batch, &name, user, member.read);
                    }
                    change.members.push((user.to_string(), Some((*member).clone())));
                }
                match self.commit(batch, self.tell_nodes(&change), |_, _| {}).await {
                    Ok(_) => {}
                    // Another node has written it.
                    Err(StoreError::Changed) => break,
                    Err(error) => return Err(self.not_stored(&error)),
                }
            }
        }
        Ok(())
    }

    /// Somebody has become a member by taking part, and counts as one: of nodes, it is tried again where another one was first.
    pub(super) fn see_to(self: &Arc<Self>, group: &str, user: &str, commit: Commit) {
        if !self.is_shared() {
            return;
        }
        let (groups, group, user) = (Arc::clone(self), group.to_owned(), user.to_owned());
        rt::spawn(async move {
            if commit.await == Err(StoreError::Changed)
                && let Err(code) = groups.add_once(&group, &user, true).await
            {
                tracing::warn!(?code, "somebody who has joined a group is no member of it");
            }
        });
    }
}

impl Attendant for Groups {
    /// How far this node has to have heard.
    fn answer(self: Arc<Self>, _: Arc<Broker>, question: Box<RawValue>) -> Answering {
        Box::pin(async move {
            self.until_heard(serde_json::from_str(question.get()).ok()?).await;
            serde_json::to_vec(&true).ok()
        })
    }

    fn hear(self: Arc<Self>, _: &Arc<Broker>, _: NodeId, _: Bytes) {}
}
