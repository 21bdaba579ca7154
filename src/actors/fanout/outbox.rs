//! The frames that wait for one socket: bounded in bytes, written by the thread's [`Flusher`] straight to the
//! socket, or by the response body where that cannot be.
//!
//! The short way exists because after the response head actix-http has nothing of its own to write:
//! waking its dispatcher costs more than all the rest of a delivery but the system call. The
//! body's way stays for TLS and, from the first write that the kernel does not take whole, for good:
//! actix-http waits for the socket, and two writers never take turns.
//!
//! What is large is put into frames only as the socket drains: a [`Source`] keeps its place among the frames, and what comes
//! behind it waits until it has given all of them.
//!
//! One thread owns it, so it needs no atomics. It never blocks and never drops a frame in silence:
//! a frame that does not fit is the end of the connection (`docs/design/hot-path.md §3`, points 4 and 8).

mod drain;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Poll, Waker},
};

use bytes::Bytes;

use crate::{
    actors::{
        accounts::{Account, Charge, Full, Kind},
        fanout::flusher::Flusher,
        transport::Socket,
    },
    error::CloseReason,
    limits,
};

pub use crate::core::frame;

/// Clones are handles of the same queue.
#[derive(Clone)]
pub struct Outbox(Rc<Queue>);

/// What is put into frames only as the socket drains.
pub trait Source {
    /// The next frames, some at a time; `None` is the end. While it is pending it has [`Outbox::resume`] called when there
    /// are more.
    fn next(&mut self) -> Poll<Option<Vec<Bytes>>>;
}

/// What waits behind the frames that may be written.
enum Behind {
    Frame(Bytes),
    Source {
        source: Box<dyn Source>,
        /// Pays for what it keeps.
        _charge: Option<Charge>,
    },
}

struct Queue {
    frames: RefCell<VecDeque<Bytes>>,
    /// Begins with a source, unless it is empty.
    behind: RefCell<VecDeque<Behind>>,
    /// There was no room for frames of a source.
    overdrawn: Cell<Option<Full>>,
    bytes: Cell<usize>,
    limit: Cell<usize>,
    /// Who pays for what waits; nobody in tests.
    account: Option<Account>,
    /// Bytes that may wait with what is paid by now.
    paid: Cell<usize>,
    /// Bytes of them for which this client does not pay: the first ones, and those that somebody else has paid for.
    free: Cell<usize>,
    charge: RefCell<Option<Charge>>,
    /// Frames that the socket took since the connection opened.
    taken: Cell<u64>,
    phase: Cell<Phase>,
    reader: RefCell<Option<Waker>>,
    way: Cell<Way>,
    /// The flusher has it on its list.
    listed: Cell<bool>,
    /// The first frame that waits is the rest of one whose beginning is written.
    begun: Cell<bool>,
    socket: Socket,
    flusher: Option<Rc<Flusher>>,
}

/// Who writes the frames to the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Neither yet: the response head is not written.
    Unopened,
    /// The flusher, straight to the socket. actix-http has nothing of its own to write after the head.
    Direct,
    /// The response body: TLS, or a socket that was full once.
    Body,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The last frame is queued; no other follows it.
    Closing,
    /// Nothing more will be read.
    Ended,
}

/// Why a frame is not queued, and its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotQueued {
    /// As much waits as may: the reader is too slow.
    TooSlow,
    /// There is no memory for it, however fast the reader is.
    NoMemory(Full),
}

impl NotQueued {
    pub const fn to_close_reason(self) -> CloseReason {
        match self {
            Self::TooSlow => CloseReason::TooSlow,
            Self::NoMemory(full) => full.to_close_reason(),
        }
    }
}

impl Outbox {
    /// At most `limit` bytes wait, with what it costs to hold them, and `account` pays for them.
    pub fn new(limit: usize, account: Option<Account>) -> Self {
        Self::make(limit, account, Socket::new(None), None)
    }

    /// The same for a plain socket, which `flusher` may write to once the body was polled.
    pub fn direct(limit: usize, account: Option<Account>, socket: Socket, flusher: Rc<Flusher>) -> Self {
        Self::make(limit, account, socket, Some(flusher))
    }

    fn make(limit: usize, account: Option<Account>, socket: Socket, flusher: Option<Rc<Flusher>>) -> Self {
        let way = if flusher.is_some() { Way::Unopened } else { Way::Body };
        Self(Rc::new(Queue {
            way: Cell::new(way),
            listed: Cell::new(false),
            begun: Cell::new(false),
            socket,
            flusher,
            frames: RefCell::default(),
            behind: RefCell::default(),
            overdrawn: Cell::default(),
            bytes: Cell::new(0),
            limit: Cell::new(limit),
            paid: Cell::new(account.as_ref().map_or(usize::MAX, |_| limits::OUTBOX_FREE)),
            free: Cell::new(limits::OUTBOX_FREE),
            account,
            charge: RefCell::default(),
            taken: Cell::new(0),
            phase: Cell::new(Phase::Open),
            reader: RefCell::default(),
        }))
    }

    /// Queues a frame; after [`Outbox::close`] it is ignored.
    ///
    /// # Errors
    /// [`NotQueued`] when the frame does not fit.
    pub fn push(&self, frame: Bytes) -> Result<(), NotQueued> {
        let queue = &*self.0;
        if queue.phase.get() != Phase::Open {
            return Ok(());
        }
        let bytes = queue.bytes.get() + cost(&frame);
        if bytes > queue.limit.get() {
            return Err(NotQueued::TooSlow);
        }
        if bytes > queue.paid.get() {
            self.pay(bytes).map_err(NotQueued::NoMemory)?;
        }
        queue.bytes.set(bytes);
        self.queue(frame);
        Ok(())
    }

    /// Queues what is put into frames later, and pays for `bytes` that it keeps meanwhile. Its frames are paid for when they
    /// are made, some at a time; they do not count against the limit.
    ///
    /// # Errors
    /// [`NotQueued::NoMemory`]
    pub fn push_source(&self, source: Box<dyn Source>, bytes: usize) -> Result<(), NotQueued> {
        let queue = &*self.0;
        if queue.phase.get() != Phase::Open {
            return Ok(());
        }
        let bytes = bytes + limits::OUTBOX_SOURCE_COST;
        let charge = queue.account.as_ref().map(|account| account.charge(Kind::Outbox, bytes));
        let charge = charge.transpose().map_err(NotQueued::NoMemory)?;
        queue.behind.borrow_mut().push_back(Behind::Source { source, _charge: charge });
        self.hand_over();
        Ok(())
    }

    /// A source that was pending has more.
    pub fn resume(&self) {
        self.hand_over();
    }

    /// Puts a frame to those that wait.
    fn queue(&self, frame: Bytes) {
        let mut behind = self.0.behind.borrow_mut();
        if behind.is_empty() {
            self.0.frames.borrow_mut().push_back(frame);
        } else {
            behind.push_back(Behind::Frame(frame));
        }
        drop(behind);
        self.hand_over();
    }

    /// Queues the last frame. It always fits.
    pub fn close(&self, last: Bytes) {
        let queue = &*self.0;
        if queue.phase.get() == Phase::Open {
            queue.phase.set(Phase::Closing);
            queue.bytes.set(queue.bytes.get() + cost(&last));
            self.queue(last);
        }
    }

    /// Allows `bytes` more to wait, for which somebody else has paid, until as many are given back.
    pub fn widen(&self, bytes: usize) {
        let queue = &*self.0;
        for room in [&queue.limit, &queue.free, &queue.paid] {
            room.set(room.get().saturating_add(bytes));
        }
    }

    /// Gives back what [`Outbox::widen`] took.
    pub fn narrow(&self, bytes: usize) {
        let queue = &*self.0;
        for room in [&queue.limit, &queue.free, &queue.paid] {
            room.set(room.get().saturating_sub(bytes));
        }
    }

    /// Drops what waits, up to the next whole frame.
    pub fn clear(&self) {
        self.0.behind.take();
        let mut frames = self.0.frames.borrow_mut();
        let rest = frames.pop_front().filter(|_| self.0.begun.get());
        self.0.bytes.set(rest.as_ref().map_or(0, cost));
        *frames = rest.into_iter().collect();
        self.settle(&mut frames);
    }

    /// The reader sees the end, whatever waits.
    pub fn end(&self) {
        self.0.phase.set(Phase::Ended);
        self.0.begun.set(false);
        self.clear();
        self.wake();
    }

    pub fn is_open(&self) -> bool {
        self.0.phase.get() == Phase::Open
    }

    pub fn is_empty(&self) -> bool {
        self.0.bytes.get() == 0 && self.0.behind.borrow().is_empty()
    }

    /// Bytes that wait, with what it costs to hold them.
    pub fn waiting(&self) -> usize {
        self.0.bytes.get()
    }

    /// There was no room for what a source has made: the connection has to end.
    pub fn overdrawn(&self) -> Option<Full> {
        self.0.overdrawn.get()
    }

    /// Frames that the socket took since the connection opened.
    pub fn taken(&self) -> u64 {
        self.0.taken.get()
    }

    /// Who pays for what waits.
    pub fn account(&self) -> Option<&Account> {
        self.0.account.as_ref()
    }

    fn hand_over(&self) {
        match self.0.way.get() {
            Way::Direct => self.list(),
            Way::Body => self.wake(),
            Way::Unopened => {}
        }
    }

    /// Has its turn to be written before those that are still to come, though nothing may wait yet.
    pub(in crate::actors) fn take_turn(&self) {
        if self.0.way.get() == Way::Direct {
            self.list();
        }
    }

    fn list(&self) {
        if let Some(flusher) = &self.0.flusher
            && !self.0.listed.replace(true)
        {
            flusher.list(self.clone());
        }
    }

    /// Wakes the reader once; it asks to be woken again when it has taken everything.
    fn wake(&self) {
        if let Some(reader) = self.0.reader.borrow_mut().take() {
            reader.wake();
        }
    }
}

/// What a frame that waits counts.
const fn cost(frame: &Bytes) -> usize {
    frame.len() + limits::OUTBOX_FRAME_COST
}

#[cfg(test)]
mod tests;
