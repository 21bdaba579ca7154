//! The frames that wait for one socket: bounded in bytes, written by the thread's [`Flusher`] straight to the
//! socket, or by the response body where that cannot be.
//!
//! The short way exists because after the response head actix-http has nothing of its own to write:
//! waking its dispatcher costs more than all the rest of a delivery but the system call. The
//! body's way stays for TLS and, from the first write that the kernel does not take whole, for good:
//! actix-http waits for the socket, and two writers never take turns.
//!
//! One thread owns it, so it needs no atomics. It never blocks and never drops a frame in silence:
//! a frame that does not fit is the end of the connection (`docs/design/hot-path.md §3`, points 4 and 8).

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, Bytes};

use crate::{
    actors::{
        accounts::{Account, Charge, Kind},
        fanout::flusher::Flusher,
        transport::Socket,
    },
    limits,
};

/// Clones are handles of the same queue.
#[derive(Clone)]
pub struct Outbox(Rc<Queue>);

struct Queue {
    frames: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    limit: Cell<usize>,
    /// Who pays for what waits; nobody in tests.
    account: Option<Account>,
    /// Bytes that may wait with what is paid by now.
    paid: Cell<usize>,
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

/// The frame does not fit: the reader is too slow.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

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
            bytes: Cell::new(0),
            limit: Cell::new(limit),
            paid: Cell::new(account.as_ref().map_or(usize::MAX, |_| limits::OUTBOX_FREE)),
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
    /// [`Full`] when the frame does not fit; it is not queued.
    pub fn push(&self, frame: Bytes) -> Result<(), Full> {
        let queue = &*self.0;
        if queue.phase.get() != Phase::Open {
            return Ok(());
        }
        let bytes = queue.bytes.get() + cost(&frame);
        if bytes > queue.limit.get() {
            return Err(Full);
        }
        if bytes > queue.paid.get() {
            self.pay(bytes)?;
        }
        queue.bytes.set(bytes);
        queue.frames.borrow_mut().push_back(frame);
        self.hand_over();
        Ok(())
    }

    /// Queues the last frame. It always fits.
    pub fn close(&self, last: Bytes) {
        let queue = &*self.0;
        if queue.phase.get() == Phase::Open {
            queue.phase.set(Phase::Closing);
            queue.bytes.set(queue.bytes.get() + cost(&last));
            queue.frames.borrow_mut().push_back(last);
            self.hand_over();
        }
    }

    /// Allows `bytes` more to wait, until as many are given back.
    pub fn widen(&self, bytes: usize) {
        self.0.limit.set(self.0.limit.get() + bytes);
    }

    /// Gives back what [`Outbox::widen`] took.
    pub fn narrow(&self, bytes: usize) {
        self.0.limit.set(self.0.limit.get().saturating_sub(bytes));
    }

    /// Drops what waits, up to the next whole frame.
    pub fn clear(&self) {
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
        self.0.bytes.get() == 0
    }

    /// Frames that the socket took since the connection opened.
    pub fn taken(&self) -> u64 {
        self.0.taken.get()
    }

    /// The next frame for the socket; `None` is the end.
    pub fn poll_frame(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let queue = &*self.0;
        if queue.way.get() == Way::Unopened {
            // The head is written by the end of this poll: it fits into a fresh socket.
            queue.way.set(Way::Direct);
            self.list();
        }
        let mut frames = queue.frames.borrow_mut();
        if queue.way.get() == Way::Body
            && let Some(frame) = frames.pop_front()
        {
            queue.bytes.set(queue.bytes.get() - cost(&frame));
            queue.taken.set(queue.taken.get() + 1);
            queue.begun.set(false);
            return Poll::Ready(Some(frame));
        }
        self.settle(&mut frames);
        if queue.phase.get() == Phase::Ended {
            return Poll::Ready(None);
        }
        *queue.reader.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Who pays for what waits.
    pub fn account(&self) -> Option<&Account> {
        self.0.account.as_ref()
    }

    /// Pays for `bytes`, rounded up.
    fn pay(&self, bytes: usize) -> Result<(), Full> {
        let queue = &*self.0;
        let Some(account) = &queue.account else {
            return Ok(());
        };
        let paid = bytes.next_multiple_of(limits::OUTBOX_STEP);
        let own = paid - limits::OUTBOX_FREE;
        match &mut *queue.charge.borrow_mut() {
            Some(charge) => charge.set(own).map_err(|_| Full)?,
            none => *none = Some(account.charge(Kind::Outbox, own).map_err(|_| Full)?),
        }
        queue.paid.set(paid);
        Ok(())
    }

    /// Nothing waits any more: what was paid is given back.
    fn settle(&self, frames: &mut VecDeque<Bytes>) {
        shrink(frames);
        if frames.is_empty() && self.0.paid.get() > limits::OUTBOX_FREE && self.0.charge.take().is_some() {
            self.0.paid.set(limits::OUTBOX_FREE);
        }
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

    /// Everything that waits, in one write if it is not too long. What the socket does not take
    /// goes the way of the body from then on.
    pub(in crate::actors) fn write(&self, scratch: &mut Vec<u8>) {
        let queue = &*self.0;
        queue.listed.set(false);
        if queue.way.get() != Way::Direct {
            return;
        }
        let mut frames = queue.frames.borrow_mut();
        while let Some(first) = frames.front() {
            let offered: &[u8] = if frames.len() == 1 {
                first
            } else {
                scratch.clear();
                for frame in &*frames {
                    if !scratch.is_empty() && scratch.len() + frame.len() > limits::GATHER_BYTES {
                        break;
                    }
                    scratch.extend_from_slice(frame);
                }
                scratch
            };
            let count = queue.socket.send(offered);
            let all = count == offered.len();
            let mut left = count;
            while left > 0
                && let Some(front) = frames.front_mut()
            {
                if front.len() <= left {
                    left -= front.len();
                    queue.bytes.set(queue.bytes.get() - cost(front));
                    frames.pop_front();
                    queue.begun.set(false);
                    queue.taken.set(queue.taken.get() + 1);
                } else {
                    front.advance(left);
                    queue.bytes.set(queue.bytes.get() - left);
                    queue.begun.set(true);
                    left = 0;
                }
            }
            if !all {
                queue.way.set(Way::Body);
                drop(frames);
                return self.wake();
            }
        }
        self.settle(&mut frames);
    }

    /// Wakes the reader once; it asks to be woken again when it has taken everything.
    fn wake(&self) {
        if let Some(reader) = self.0.reader.borrow_mut().take() {
            reader.wake();
        }
    }
}

/// A queue that was long gives its memory back once it is empty.
fn shrink(frames: &mut VecDeque<Bytes>) {
    if frames.is_empty() && frames.capacity() > limits::OUTBOX_KEPT_FRAMES {
        *frames = VecDeque::new();
    }
}

/// What a frame that waits counts.
pub(in crate::actors) const fn cost(frame: &Bytes) -> usize {
    frame.len() + limits::OUTBOX_FRAME_COST
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::limits::OUTBOX_FRAME_COST as FRAME_COST;

    struct Wakes(AtomicUsize);

    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn frame(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn frames_come_out_in_order_and_the_reader_is_woken_once() {
        let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = Context::from_waker(&waker);
        let outbox = Outbox::new(1_000, None);
        assert!(outbox.poll_frame(&cx).is_pending());
        for text in ["a", "b", "c"] {
            assert_eq!(outbox.push(frame(text)), Ok(()));
        }
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        for text in ["a", "b", "c"] {
            assert_eq!(outbox.poll_frame(&cx), Poll::Ready(Some(frame(text))));
        }
        assert!(outbox.poll_frame(&cx).is_pending());
        assert_eq!(outbox.taken(), 3);
    }

    #[test]
    fn it_is_bounded_in_bytes_and_a_frame_that_does_not_fit_is_not_lost_in_silence() {
        let cx = Context::from_waker(Waker::noop());
        let outbox = Outbox::new(2 * FRAME_COST + 5, None);
        assert_eq!(outbox.push(frame("123")), Ok(()));
        assert_eq!(outbox.push(frame("456")), Err(Full));
        assert_eq!(outbox.push(frame("45")), Ok(()));
        assert_eq!(outbox.poll_frame(&cx), Poll::Ready(Some(frame("123"))));
        assert_eq!(outbox.push(frame("678")), Ok(()));
    }

    #[test]
    fn it_can_be_widened_for_a_while() {
        let outbox = Outbox::new(FRAME_COST + 3, None);
        outbox.widen(3);
        assert_eq!(outbox.push(frame("123456")), Ok(()));
        outbox.narrow(3);
        assert_eq!(outbox.push(frame("7")), Err(Full));
    }

    #[test]
    fn nothing_follows_the_last_frame() {
        let cx = Context::from_waker(Waker::noop());
        let outbox = Outbox::new(FRAME_COST + 3, None);
        assert_eq!(outbox.push(frame("123")), Ok(()));
        outbox.close(frame("bye"));
        outbox.close(frame("again"));
        assert_eq!(outbox.push(frame("late")), Ok(()));
        assert_eq!(outbox.poll_frame(&cx), Poll::Ready(Some(frame("123"))));
        assert_eq!(outbox.poll_frame(&cx), Poll::Ready(Some(frame("bye"))));
        assert!(outbox.poll_frame(&cx).is_pending());
        outbox.end();
        assert_eq!(outbox.poll_frame(&cx), Poll::Ready(None));
    }
}
