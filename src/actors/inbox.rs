//! What waits for users, on disk, until one of their connections has read it.
//!
//! A message is on its way to one connection at a time. Behind it goes a ping; its answer shows that the message was read,
//! and only then it leaves the mailbox. When the connection is gone before, the message waits again.
//!
//! On one server connections come online while the mailbox of their user is locked, and whoever leaves a message looks
//! under the same lock
//! whether the user is online. So a message either waits here, or the user was online before it came. Where nodes share the
//! mailboxes, whoever has left a message says so, and nodes where the user is online take it in hand ([`Inboxes::fetch`]): one of
//! them, until the connection that was sent it has confirmed it or is gone.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
};

use actix_web::rt;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use crate::{
    actors::{
        fanout::TransportHandle,
        online::{Online, Registration},
        transport::TransportContext,
    },
    clock::Clock,
    core::{budget::Account, frame},
    ids::Timestamp,
    limits,
    store::{
        Place, StoreError,
        mailbox::{self, Bounds, Contents, Full, Message, Owner, Posted, Sharing, Tables, Unconfirmed},
    },
};

/// The numbers of the messages that are on their way to a connection.
#[derive(Default)]
pub struct InFlight {
    numbers: HashSet<u64>,
}

impl Owner for InFlight {
    fn new(_: &str) -> Self {
        Self::default()
    }

    fn is_idle(&self) -> bool {
        self.numbers.is_empty()
    }
}

type Mailbox = mailbox::Mailbox<InFlight>;

/// The mailboxes of all users of a protocol; clones are the same.
#[derive(Clone)]
pub struct Inboxes {
    pub mailboxes: Arc<mailbox::Mailboxes<InFlight>>,
    pub online: Arc<Online<String>>,
    /// How much may wait for one user.
    bounds: Bounds,
    tell: Arc<OnceLock<Tell>>,
}

/// Says at the other nodes that something waits for a user.
type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// What became of a message that was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is on disk.
    Kept,
    /// It was only for a user who is away.
    Online,
    /// There is no room for it.
    Full(Full),
}

impl Inboxes {
    /// Finds what earlier runs have left; all users together may have `bytes` on disk, and `memory` pays for what is in memory.
    pub fn open(
        place: &Place,
        tables: Tables,
        bytes: usize,
        bounds: Bounds,
        memory: &Account,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let store = Arc::clone(&place.store);
        let mailboxes = match place.claims.clone() {
            None => mailbox::Mailboxes::open(store, tables, bytes, memory)?,
            Some(claims) => {
                let sharing = Sharing { claims, is_exclusive: true, seen: None, levels: None, clock };
                mailbox::Mailboxes::of_nodes(store, tables, bytes, memory, sharing)
            }
        };
        Ok(Self { mailboxes, online: Arc::default(), bounds, tell: Arc::default() })
    }

    /// What waits may be another node's to hand over: `tell` says there that something does.
    pub fn tell_by(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        let _ = self.tell.set(Box::new(tell));
    }

    /// Whether nodes share what waits.
    pub fn is_shared(&self) -> bool {
        self.mailboxes.sharing().is_some()
    }

    /// Leaves a message for a user; `if_away`: only if the user is not online. It waits from now on, and is on disk when the
    /// future ends; then the user's connections have heard of it, too. One with the key of another that waits is that one.
    ///
    /// # Errors
    /// Why it could not be written; it does not wait any more.
    pub fn leave(
        &self,
        user: &str,
        message: Message,
        if_away: bool,
    ) -> impl Future<Output = Result<Left, StoreError>> + use<> {
        let (inboxes, mailbox) = (self.clone(), self.mailboxes.of(user));
        let mut shared = None;
        let put = if self.is_shared() {
            shared = Some(message);
            Err(Left::Online)
        } else {
            let queue = &mut mailbox.lock().queue;
            if !message.key.is_empty() && queue.has(&message.key) {
                Err(Left::Kept)
            } else if if_away && self.online.is_online(user) {
                Err(Left::Online)
            } else {
                queue.put(message, self.bounds, 0, &self.mailboxes.payers).map_err(Left::Full)
            }
        };
        let written = put.map(|put| self.mailboxes.write(&mailbox, put));
        async move {
            if let Some(message) = shared {
                return inboxes.post(&mailbox, message, if_away).await;
            }
            let left = match written {
                Ok(written) => written.await.map(|_| Left::Kept),
                Err(left) => Ok(left),
            };
            if left == Ok(Left::Kept) {
                inboxes.nudge(&mailbox.name);
            } else {
                inboxes.mailboxes.release(&mailbox);
            }
            left
        }
    }

    async fn post(&self, mailbox: &Arc<Mailbox>, message: Message, if_away: bool) -> Result<Left, StoreError> {
        let posted = match if_away && self.online.is_online(&*mailbox.name) {
            true => Ok(Left::Online),
            false => self.mailboxes.post(mailbox, message, self.bounds, None).await.map(|posted| match posted {
                Posted::Kept { .. } | Posted::Known => Left::Kept,
                Posted::Full(full) => Left::Full(full),
            }),
        };
        if posted == Ok(Left::Kept) {
            self.fetch(&mailbox.name);
        }
        self.mailboxes.release(mailbox);
        posted
    }

    /// Takes in hand what waits for a user who is online here, and tells the user's connections. What another node has is looked
    /// for again as long as the user is here.
    pub fn fetch(&self, user: &str) {
        if !self.is_shared() || !self.online.is_online(user) {
            return;
        }
        let (mailbox, online, inboxes) = (self.mailboxes.of(user), Arc::clone(&self.online), self.clone());
        let gone = (self.clone(), Arc::clone(&mailbox));
        self.mailboxes.fetch(
            &mailbox,
            move |mailbox| online.is_online(&*mailbox.name),
            move |mailbox| inboxes.nudge(&mailbox.name),
            async move { gone.0.hand_back(&gone.1).await },
        );
    }

    /// What is in hand and on its way to nobody is another node's to hand over.
    async fn hand_back(&self, mailbox: &Arc<Mailbox>) {
        let idle: Vec<u64> = {
            let Contents { queue, owner } = &*mailbox.lock();
            queue.behind(0).map(|(number, _)| number).filter(|number| !owner.numbers.contains(number)).collect()
        };
        if !idle.is_empty() {
            self.mailboxes.hand_back(mailbox, idle).await;
            if let Some(tell) = self.tell.get() {
                tell(&mailbox.name);
            }
        }
    }

    /// The server ends: what is in hand here is another node's to hand over at once, or when the claims of this one are void.
    pub async fn end(&self) {
        let back =
            stream::iter(self.mailboxes.all()).for_each_concurrent(limits::MAILBOX_BACK_AT_ONCE, async |mailbox| {
                let in_hand = mailbox.lock().queue.behind(0).map(|(number, _)| number).collect();
                self.mailboxes.hand_back(&mailbox, in_hand).await;
            });
        let _: Result<(), _> = rt::time::timeout(limits::DRAIN_LAST_WORDS, back).await;
    }

    /// Removes what is older, and finds what was not told to this node, or could not be written.
    pub async fn sweep(&self, before: Timestamp) {
        let owners = self.mailboxes.sweep(before).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "what waits for users is swept later");
            Vec::new()
        });
        for (user, has_some) in owners {
            if self.online.is_online(&user) {
                self.fetch(&user);
            } else if has_some {
                let mailbox = self.mailboxes.of(&user);
                // What cannot be read now is found by the next sweep.
                let _ = self.mailboxes.load(&mailbox).await;
                self.hand_back(&mailbox).await;
                self.mailboxes.release(&mailbox);
            }
        }
    }

    fn nudge(&self, user: &str) {
        let connections = self.online.registered(user);
        connections.iter().filter_map(|one| one.handle()).for_each(TransportHandle::nudge);
    }
}

/// The frame of a message, by the begin of its age and its body; none when it is no good any more: then it goes.
type Frame = dyn Fn(Timestamp, &[u8]) -> Option<Bytes>;

/// The inbox of one connection: whose it is, and what it was sent and has not shown to have read. Its user may change;
/// then what the former one was sent is still waited for.
pub struct Inbox {
    pub inboxes: Inboxes,
    /// The user, once online.
    registration: Option<Registration<String>>,
    unread: Unconfirmed<(Arc<Mailbox>, u64)>,
    frame: Box<Frame>,
}

impl Inbox {
    pub fn new(inboxes: Inboxes, frame: impl Fn(Timestamp, &[u8]) -> Option<Bytes> + 'static) -> Self {
        Self { inboxes, registration: None, unread: Unconfirmed::default(), frame: Box::new(frame) }
    }

    /// The user who is online by this connection.
    pub fn user(&self) -> Option<&str> {
        self.registration.as_ref().map(|registration| &*registration.user)
    }

    /// The user is online by this connection, `tell` is called, and what waits is sent behind what that sends.
    pub fn enter(
        &mut self,
        user: &str,
        transport: &mut TransportContext<'_>,
        tell: impl FnOnce(&mut TransportContext<'_>),
    ) {
        let registration = self.inboxes.online.register(user.to_owned(), ());
        let frames = self.take(user, || drop(registration.enter(transport.handle(), transport.now(), false)));
        self.registration = Some(registration);
        tell(transport);
        self.send(frames, transport);
        self.inboxes.fetch(user);
    }

    /// The user is not online by this connection any more.
    pub fn leave(&mut self) {
        self.registration = None;
    }

    /// Sends what waits for the user and is on its way to nobody.
    pub fn deliver(&mut self, transport: &mut TransportContext<'_>) {
        if let Some(user) = self.user().map(str::to_owned) {
            let frames = self.take(&user, || {});
            self.send(frames, transport);
        }
    }

    fn send(&mut self, frames: Vec<Bytes>, transport: &mut TransportContext<'_>) {
        transport.send_missed(frames);
        self.ping(transport);
    }

    /// The frames of what waits for a user, in order. `enter` is called while nobody can leave the user a message.
    pub fn take(&mut self, user: &str, enter: impl FnOnce()) -> Vec<Bytes> {
        let mailboxes = &self.inboxes.mailboxes;
        let mailbox = mailboxes.of(user);
        let waiting: Vec<_> = {
            let Contents { queue, owner } = &mut *mailbox.lock();
            enter();
            let new = queue.behind(0).filter(|(number, _)| owner.numbers.insert(*number));
            new.map(|(number, waiting)| (number, waiting.since, waiting.body.clone())).collect()
        };
        let mut frames = Vec::new();
        for (number, since, body) in waiting {
            // Without the lock: the store's thread takes it, and everybody's writes would wait for these reads.
            let body = body.map_or_else(|| mailboxes.body(user, number), |body| Ok(Some(body)));
            let body = body.unwrap_or_else(|error| {
                tracing::error!(%error, "a message that waited for a user cannot be read; it is dropped");
                None
            });
            match body.and_then(|body| (self.frame)(since, &body)) {
                Some(frame) => {
                    self.unread.push((Arc::clone(&mailbox), number), frame.len());
                    frames.push(frame);
                }
                None => self.remove(&mailbox, number),
            }
        }
        frames
    }

    fn ping(&mut self, transport: &mut TransportContext<'_>) {
        if let Some(payload) = self.unread.ping() {
            transport.send_frame(frame::ping_with(&payload));
        }
    }

    /// The client has answered a ping.
    pub fn ponged(&mut self, payload: &[u8], transport: &mut TransportContext<'_>) {
        self.pong(payload);
        self.ping(transport);
    }

    pub fn pong(&mut self, payload: &[u8]) {
        for (mailbox, number) in self.unread.pong(payload) {
            self.remove(&mailbox, number);
            if mailbox.lock().queue.is_left() {
                self.inboxes.fetch(&mailbox.name);
            }
        }
    }

    /// The connection is gone: what it has not shown to have read goes to another one of the user, or waits.
    pub fn close(&mut self) {
        self.leave();
        let mut unread = self.unread.drain();
        for (mailbox, number) in &unread {
            mailbox.lock().owner.numbers.remove(number);
        }
        unread.dedup_by(|(next, _), (mailbox, _)| Arc::ptr_eq(next, mailbox));
        for (mailbox, _) in unread {
            self.inboxes.nudge(&mailbox.name);
            if self.inboxes.is_shared() && !self.inboxes.online.is_online(&*mailbox.name) {
                let inboxes = self.inboxes.clone();
                tokio::spawn(async move {
                    inboxes.hand_back(&mailbox).await;
                    inboxes.mailboxes.release(&mailbox);
                });
                continue;
            }
            self.inboxes.mailboxes.release(&mailbox);
        }
    }

    fn remove(&self, mailbox: &Arc<Mailbox>, number: u64) {
        let removed = {
            let Contents { queue, owner } = &mut *mailbox.lock();
            owner.numbers.remove(&number);
            queue.remove(number)
        };
        self.inboxes.mailboxes.discard(mailbox, Vec::from_iter(removed));
        self.inboxes.mailboxes.release(mailbox);
    }
}
