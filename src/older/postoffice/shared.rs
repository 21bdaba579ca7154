//! What the endpoints and connections of all worker threads share: the settings, the mailboxes, and how many connections
//! are open.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use anyhow::Context as _;

use crate::{
    auth::Leeway,
    clock::{Clock, OncePerSecond},
    config::{self, OfflineLetters, PostOfficeErrors},
    core::budget::Account,
    error::CloseReason,
    ids::SessionId,
    limits,
    live::Live,
    older::postoffice::{
        access::Access,
        owner::{MailboxOwner, Reader, ReaderHandle, Storage},
    },
    store::{
        Batch, Place, Store,
        mailbox::{self, Bounds, Sharing},
    },
};

pub type Mailboxes = mailbox::Mailboxes<MailboxOwner>;
pub type Mailbox = mailbox::Mailbox<MailboxOwner>;

/// Names of the mailboxes that outlive their connections; where nodes share them with the node that reads one.
pub(super) const REMEMBERED: &str = "po_mailboxes";
/// The letters of the last minutes that have an id, where nodes share the mailboxes.
const SEEN: &str = "po_seen";
/// The letters that wait, in the order in which they give way, where nodes share the mailboxes.
const LEVELS: &str = "po_levels";
const LETTERS: mailbox::Tables = mailbox::Tables { facts: "po_waiting", bodies: "po_letters" };

pub struct Shared {
    pub settings: config::PostOffice,
    pub access: Live<Access>,
    pub mailboxes: Arc<Mailboxes>,
    pub clock: Clock,
    pub(super) store: Arc<dyn Store>,
    pub(super) connections: AtomicUsize,
    /// Letters that had to make room for others, or could not be kept.
    pub(super) dropped: AtomicU64,
    pub(super) disk_warning: OncePerSecond,
    pub(super) full_warning: OncePerSecond,
}

/// One of the connections that `max_connections` counts.
pub struct ConnectionSlot {
    shared: Arc<Shared>,
    /// False once it was given back, or went over to the connection that replaces this one.
    is_taken: AtomicBool,
}

impl Shared {
    /// Finds the mailboxes and letters that earlier runs have left in `store`; `account` pays for what is in memory.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open(
        settings: &config::PostOffice,
        place: Place,
        account: &Account,
        clock: Clock,
        leeway: &Leeway,
    ) -> anyhow::Result<Arc<Self>> {
        let bytes = usize::try_from(settings.stored_bytes).unwrap_or(usize::MAX);
        let Place { store, claims } = place;
        let mailboxes = match claims {
            None => Mailboxes::open(Arc::clone(&store), LETTERS, bytes, account)
                .context("cannot read the letters in the data folder")?,
            Some(claims) => {
                let (seen, levels, clock) = (Some(SEEN), Some(LEVELS), clock.clone());
                let sharing = Sharing { claims, is_exclusive: false, seen, levels, clock };
                Mailboxes::of_nodes(Arc::clone(&store), LETTERS, bytes, account, sharing)
            }
        };
        for name in &settings.mailboxes {
            mailboxes.of(name);
        }
        if mailboxes.sharing().is_none() {
            for row in store.scan(REMEMBERED, b"", limits::MAILBOX_ROWS) {
                let name = row.map(|row| String::from_utf8_lossy(&row.key).into_owned());
                mailboxes.of(&name.context("cannot read the mailboxes in the data folder")?);
            }
        }
        for mailbox in mailboxes.all() {
            mailbox.lock().owner.is_remembered = true;
        }
        Ok(Arc::new(Self {
            settings: settings.clone(),
            access: Live::new(Access::new(settings, leeway)),
            mailboxes,
            clock,
            store,
            connections: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            disk_warning: OncePerSecond::default(),
            full_warning: OncePerSecond::default(),
        }))
    }

    /// Tokens are held against other keys from now on; whoever is connected stays.
    pub fn set_keys(&self, settings: &config::PostOffice, leeway: &Leeway) {
        self.access.set(Access::new(settings, leeway));
    }

    /// Senders are not told of errors.
    pub const fn is_silent(&self) -> bool {
        matches!(self.settings.errors, PostOfficeErrors::Silent)
    }

    pub const fn storage(&self) -> Storage {
        let bounds = Bounds { messages: self.settings.mailbox_messages, bytes: usize::MAX };
        Storage { is_on: matches!(self.settings.offline, OfflineLetters::Store), bounds }
    }

    pub fn is_full(&self) -> bool {
        self.connections.load(Ordering::Relaxed) >= self.settings.max_connections
    }

    /// The mailbox whose connection a new one as `name` replaces, if it has any (`§6`).
    fn replaceable(&self, name: &str) -> Option<Arc<Mailbox>> {
        self.mailboxes.find(name).filter(|_| !self.settings.multi_device)
    }

    pub fn would_replace(&self, name: &str) -> bool {
        self.replaceable(name).is_some_and(|mailbox| !mailbox.lock().owner.readers.is_empty())
    }

    /// Whether a connection as `name` that started at `started` comes too late (`§2`, 409).
    pub fn is_outdated(&self, name: &str, started: Option<u64>) -> bool {
        self.replaceable(name).is_some_and(|mailbox| mailbox.lock().owner.is_outdated(started))
    }

    /// A slot for a connection as `name`: one that is free, or that of the connection which it replaces.
    pub fn take_slot(self: &Arc<Self>, name: &str) -> Option<Arc<ConnectionSlot>> {
        let one_more = |open| (open < self.settings.max_connections).then_some(open + 1);
        if self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            let mailbox = self.replaceable(name)?;
            let contents = mailbox.lock();
            let mut readers = contents.owner.readers.iter();
            readers.find(|reader| reader.handle.slot.is_taken.swap(false, Ordering::Relaxed))?;
        }
        Some(Arc::new(ConnectionSlot { shared: Arc::clone(self), is_taken: AtomicBool::new(true) }))
    }

    /// A connection begins to read its mailbox; an older one is closed. False: it is the older one itself.
    pub fn enter(self: &Arc<Self>, mailbox: &Arc<Mailbox>, reader: Reader<ReaderHandle>) -> bool {
        let mut contents = mailbox.lock();
        let owner = &mut contents.owner;
        if !self.settings.multi_device {
            if owner.is_outdated(reader.started) {
                return false;
            }
            for older in owner.readers.drain(..) {
                older.handle.transport.close(CloseReason::Replaced);
            }
        }
        owner.readers.push(reader);
        let is_new = self.mailboxes.sharing().is_none() && !std::mem::replace(&mut owner.is_remembered, true);
        drop(contents);
        if is_new {
            let written = self.store.commit(Batch::new().put(REMEMBERED, &*mailbox.name, ""));
            self.watch(written, "a mailbox is remembered only until the server stops", || {});
        }
        true
    }

    /// A connection has gone: what it has not confirmed waits for the next one.
    pub fn leave(self: &Arc<Self>, mailbox: &Arc<Mailbox>, session: SessionId) {
        let mut contents = mailbox.lock();
        let mailbox::Contents { queue, owner } = &mut *contents;
        if self.mailboxes.sharing().is_some() {
            owner.readers.retain(|reader| reader.session != session);
            let is_last = owner.readers.is_empty();
            drop(contents);
            if is_last {
                self.mailboxes.let_go(mailbox);
            }
            return self.mailboxes.release(mailbox);
        }
        let removed = owner.leave(session, self.storage(), queue);
        drop(contents);
        self.mailboxes.discard(mailbox, removed);
        self.mailboxes.release(mailbox);
        self.spill(mailbox);
    }
}

impl ConnectionSlot {
    pub fn give_back(&self) {
        if self.is_taken.swap(false, Ordering::Relaxed) {
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A connection that never opened.
impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.give_back();
    }
}
