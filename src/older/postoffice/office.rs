//! All mailboxes of a server: who may come in, what is on disk, what is told about it
//! (`docs/protocols/postoffice.md §4, §5`). Shared by all worker threads.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    actors::fanout::hub::TransportHandle,
    clock::{Clock, OncePerSecond},
    config::{self, FromCheck, OfflineLetters, PostOfficeErrors},
    error::{CloseReason, Fault},
    ids::{ChannelName, ConnectionId, SessionId},
    limits,
    older::postoffice::{
        mailbox::{Bounds, Mailbox, Posted, Reader, Row, Taken, Waiting},
        reply::{Code, PREFIX},
        shelf::Shelf,
        validation::Rules,
    },
    store::{Store, StoreError},
};

mod disk;

/// How letters are read and kept.
#[derive(Clone, Debug)]
pub struct Settings {
    pub max_connections: usize,
    pub rules: Rules,
    pub from_check: FromCheck,
    pub forward_token: bool,
    pub is_silent: bool,
    pub max_recipients: usize,
    pub multi_device: bool,
    bounds: Bounds,
    /// A letter waits no longer.
    age: Duration,
    /// Of all letters together.
    bytes: u64,
}

impl Settings {
    pub const fn new(settings: &config::PostOffice) -> Self {
        Self {
            max_connections: settings.max_connections,
            rules: Rules { level: settings.validation, require_base64: settings.require_base64 },
            from_check: settings.from_check,
            forward_token: settings.forward_token,
            is_silent: matches!(settings.errors, PostOfficeErrors::Silent),
            max_recipients: settings.max_recipients,
            multi_device: settings.multi_device,
            bounds: Bounds {
                letters: settings.mailbox_messages,
                stores: matches!(settings.offline, OfflineLetters::Store),
            },
            age: settings.mailbox_age,
            bytes: settings.stored_bytes,
        }
    }
}

/// One mailbox, shared by its connections and by those who write to it.
pub struct Room {
    pub name: Arc<str>,
    pub channel: ChannelName,
    /// Names its letters among the entries of the channel, together with their numbers. Not to be guessed, so
    /// nobody publishes under it.
    pub postmark: ConnectionId,
    pub mailbox: Mutex<Mailbox<Visitor>>,
}

/// A connection as the others see it.
#[derive(Clone)]
pub struct Visitor {
    pub handle: TransportHandle,
    pub place: Arc<AtomicBool>,
}

/// One of the places that `max_connections` counts; given back when it is dropped.
pub struct Place {
    office: Arc<Office>,
    /// False once it went over to the connection that replaces this one.
    pub counted: Arc<AtomicBool>,
}

/// Whom to tell that a letter could not be kept.
pub struct Sender {
    pub handle: TransportHandle,
    /// None: errors are not told.
    pub error: Option<Bytes>,
}

/// Why a letter was not taken.
pub type Refused = (Code, String);

/// What `/stats` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    pub connections: usize,
    pub mailboxes: usize,
    /// Letters on disk.
    pub stored: u64,
    /// Letters that had to make room for others, or could not be kept.
    pub dropped: u64,
}

/// See the module.
pub struct Office {
    pub settings: Settings,
    pub clock: Clock,
    rooms: Mutex<HashMap<Arc<str>, Arc<Room>>>,
    shelf: Shelf,
    open: Mutex<usize>,
    stored: AtomicU64,
    dropped: AtomicU64,
    bytes: AtomicU64,
    warning: OncePerSecond,
}

impl Office {
    /// Finds what earlier runs have left in `store`.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn open(settings: &config::PostOffice, store: Arc<dyn Store>, clock: Clock) -> anyhow::Result<Arc<Self>> {
        let office = Self {
            settings: Settings::new(settings),
            clock,
            rooms: Mutex::default(),
            shelf: Shelf::new(store),
            open: Mutex::default(),
            stored: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            warning: OncePerSecond::default(),
        };
        let known = |name: &str| {
            let room = office.room(name);
            room.mailbox.lock().is_kept = true;
            room
        };
        for name in &settings.mailboxes {
            known(name);
        }
        let read = office.shelf.mailboxes(|name| drop(known(name)));
        read.context("cannot read the mailboxes in the data folder")?;
        let read = office.shelf.waiting(|name, number, waiting| {
            office.stored.fetch_add(1, Ordering::Relaxed);
            office.bytes.fetch_add(waiting.bytes as u64, Ordering::Relaxed);
            known(name).mailbox.lock().recall(number, waiting);
        });
        read.context("cannot read the letters in the data folder")?;
        Ok(Arc::new(office))
    }

    /// A mailbox that somebody has connected as, or that the settings list.
    pub fn find(&self, name: &str) -> Option<Arc<Room>> {
        self.rooms.lock().get(name).cloned()
    }

    /// The mailbox, made when it is missing.
    pub fn room(&self, name: &str) -> Arc<Room> {
        let mut rooms = self.rooms.lock();
        if let Some(room) = rooms.get(name) {
            return Arc::clone(room);
        }
        let name: Arc<str> = name.into();
        let room = Arc::new(Room {
            channel: ChannelName::from(&*format!("{PREFIX}{name}")),
            name: Arc::clone(&name),
            postmark: ConnectionId::random(),
            mailbox: Mutex::default(),
        });
        rooms.insert(name, Arc::clone(&room));
        room
    }

    pub fn stats(&self) -> Stats {
        Stats {
            connections: *self.open.lock(),
            mailboxes: self.rooms.lock().len(),
            stored: self.stored.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    pub fn is_full(&self) -> bool {
        *self.open.lock() >= self.settings.max_connections
    }

    /// Whether a connection as `name` takes the place of another one (`§6`).
    pub fn would_replace(&self, name: &str) -> bool {
        let room = self.find(name).filter(|_| !self.settings.multi_device);
        room.is_some_and(|room| !room.mailbox.lock().readers.is_empty())
    }

    /// Whether a connection as `name` that started at `started` comes too late (`§2`, 409).
    pub fn is_outdated(&self, name: &str, started: Option<u64>) -> bool {
        let (Some(started), false) = (started, self.settings.multi_device) else {
            return false;
        };
        let is_newer = |reader: &Reader<Visitor>| reader.started.is_some_and(|known| known >= started);
        self.find(name).is_some_and(|room| room.mailbox.lock().readers.iter().any(is_newer))
    }

    /// Takes a place for a connection as `name`: one that is free, or that of the connection which it replaces.
    /// None when there is neither.
    pub fn take_place(self: &Arc<Self>, name: &str) -> Option<Place> {
        let room = self.find(name).filter(|_| !self.settings.multi_device);
        let mut open = self.open.lock();
        if *open < self.settings.max_connections {
            *open += 1;
        } else {
            let mailbox = room.as_ref()?.mailbox.lock();
            let gives = |reader: &Reader<Visitor>| reader.handle.place.swap(false, Ordering::Relaxed);
            mailbox.readers.iter().find(|reader| gives(reader))?;
        }
        Some(Place { office: Arc::clone(self), counted: Arc::new(AtomicBool::new(true)) })
    }

    /// A connection begins to empty its mailbox; an older one is closed. False: it is the older one itself.
    pub fn enter(self: &Arc<Self>, room: &Arc<Room>, reader: Reader<Visitor>) -> bool {
        // Before the other lock: `leave` takes them in this order.
        let has_room = self.rooms.lock().len() <= limits::POST_MAILBOXES;
        let mut mailbox = room.mailbox.lock();
        if !self.settings.multi_device {
            let is_outdated = mailbox
                .readers
                .iter()
                .any(|known| known.started.is_some() && known.started >= reader.started && reader.started.is_some());
            if is_outdated {
                return false;
            }
            for older in mailbox.readers.drain(..) {
                older.handle.handle.close(CloseReason::Replaced);
            }
        }
        mailbox.readers.push(reader);
        let is_new = !mailbox.is_kept && has_room;
        mailbox.is_kept |= is_new;
        drop(mailbox);
        if is_new {
            let office = Arc::clone(self);
            let done = Box::new(move |outcome: Result<_, StoreError>| {
                if let Err(error) = outcome {
                    office.warn(&error, "a mailbox is remembered only until the server stops");
                }
            });
            self.shelf.keep(&room.name, done);
        }
        true
    }

    /// A connection has gone: what it has not confirmed waits for the next one.
    pub fn leave(self: &Arc<Self>, room: &Arc<Room>, session: SessionId) {
        let mut mailbox = room.mailbox.lock();
        let gone = mailbox.leave(session, self.settings.bounds);
        let is_over = mailbox.readers.is_empty() && !mailbox.is_kept;
        drop(mailbox);
        self.discard(room, gone);
        if is_over {
            let mut rooms = self.rooms.lock();
            // Somebody may have come in between.
            let is_over = |room: &Arc<Room>| {
                let mailbox = room.mailbox.lock();
                mailbox.readers.is_empty() && !mailbox.is_kept
            };
            if rooms.get(&room.name).is_some_and(is_over) {
                rooms.remove(&room.name);
            }
        } else {
            self.spill(room);
        }
    }

    /// Puts a letter into a mailbox. `publish` sends it to the channel, under its number: while nobody else can
    /// put one in, so that the channel has them in the order of their numbers.
    ///
    /// # Errors
    /// What its sender is told.
    pub fn post(
        self: &Arc<Self>,
        room: &Arc<Room>,
        posted: Posted,
        sender: impl FnOnce() -> Sender,
        publish: impl FnOnce(u64) -> Result<(), Fault>,
    ) -> Result<(), Refused> {
        let (text, level, came) = (posted.text.clone(), posted.level, posted.came);
        let bytes = text.len() as u64;
        if self.bytes.load(Ordering::Relaxed) + bytes > self.settings.bytes {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Err((Code::MailboxFull, "the post office holds as many bytes as it may".into()));
        }
        let mut gone = Vec::new();
        let mut mailbox = room.mailbox.lock();
        let uptime = self.clock.uptime();
        let taken = mailbox.post(posted, self.settings.bounds, uptime, &mut gone);
        self.dropped.fetch_add(gone.len() as u64, Ordering::Relaxed);
        if let Taken::In { number, .. } = taken {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            if publish(number).is_err() {
                // Its reader finds it with the next sign of life.
                mailbox.readers.iter().for_each(|reader| reader.handle.handle.probe());
            }
        }
        drop(mailbox);
        if taken == Taken::Full {
            // It never counted.
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        self.discard(room, gone);
        match taken {
            Taken::In { number, to_disk: true } => {
                let waiting = Waiting { level, came, bytes: text.len(), text: Some(text), row: Row::Writing };
                self.write(room, vec![(number, waiting)], Some(sender()));
                Ok(())
            }
            Taken::Full => Err((
                Code::MailboxFull,
                format!("the mailbox holds {} letters, all of a higher level", self.settings.bounds.letters),
            )),
            Taken::Dropped => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Taken::In { .. } | Taken::Again => Ok(()),
        }
    }

    /// The reader has these letters.
    pub fn confirm(self: &Arc<Self>, room: &Arc<Room>, numbers: impl IntoIterator<Item = u64>) {
        let mut mailbox = room.mailbox.lock();
        let gone = numbers.into_iter().filter_map(|number| mailbox.remove(number));
        let gone = gone.collect();
        drop(mailbox);
        self.discard(room, gone);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.counted.swap(false, Ordering::Relaxed) {
            *self.office.open.lock() -= 1;
        }
    }
}
