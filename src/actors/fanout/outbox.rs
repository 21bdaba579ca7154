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

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf as _, Bytes};

pub use crate::core::frame;
use crate::{
    actors::{
        accounts::{Account, Charge, Full, Kind},
        fanout::flusher::Flusher,
        transport::Socket,
    },
    error::CloseReason,
    limits,
};

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

    /// The next frame for the socket; `None` is the end.
    pub fn poll_frame(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let queue = &*self.0;
        if queue.way.get() == Way::Unopened {
            // The head is written by the end of this poll: it fits into a fresh socket.
            queue.way.set(Way::Direct);
            self.list();
        }
        let mut frames = queue.frames.borrow_mut();
        if queue.way.get() == Way::Body && frames.is_empty() {
            self.refill(&mut frames);
        }
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
        let own = paid.saturating_sub(queue.free.get());
        match &mut *queue.charge.borrow_mut() {
            Some(charge) => charge.set(own)?,
            none => *none = Some(account.charge(Kind::Outbox, own)?),
        }
        queue.paid.set(paid);
        Ok(())
    }

    /// All frames are written: takes what follows, as far as there is something, and some at a time.
    fn refill(&self, frames: &mut VecDeque<Bytes>) {
        let queue = &*self.0;
        let mut behind = queue.behind.borrow_mut();
        while frames.is_empty()
            && let Some(Behind::Source { source, .. }) = behind.front_mut()
        {
            match source.next() {
                Poll::Pending => return,
                Poll::Ready(Some(made)) => {
                    let bytes = queue.bytes.get() + made.iter().map(cost).sum::<usize>();
                    if bytes > queue.paid.get()
                        && let Err(full) = self.pay(bytes)
                    {
                        queue.overdrawn.set(Some(full));
                        return;
                    }
                    queue.bytes.set(bytes);
                    frames.extend(made);
                }
                Poll::Ready(None) => {
                    behind.pop_front();
                    let is_frame = |next: &mut Behind| matches!(next, Behind::Frame(_));
                    while let Some(Behind::Frame(frame)) = behind.pop_front_if(is_frame) {
                        frames.push_back(frame);
                    }
                    if behind.is_empty() {
                        // It may have been long.
                        *behind = VecDeque::new();
                    }
                }
            }
        }
    }

    /// Nothing waits any more: what was paid is given back.
    fn settle(&self, frames: &mut VecDeque<Bytes>) {
        shrink(frames);
        let is_paid = self.0.paid.get() > self.0.free.get();
        if is_paid && frames.is_empty() && self.0.behind.borrow().is_empty() && self.0.charge.take().is_some() {
            self.0.paid.set(self.0.free.get());
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
        let mut portions = 0;
        loop {
            if frames.is_empty() {
                if queue.behind.borrow().is_empty() {
                    break;
                }
                if portions == limits::OUTBOX_PORTIONS {
                    drop(frames);
                    return self.list();
                }
                portions += 1;
                self.refill(&mut frames);
            }
            let Some(first) = frames.front() else { break };
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
const fn cost(frame: &Bytes) -> usize {
    frame.len() + limits::OUTBOX_FRAME_COST
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use proptest::prelude::*;

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
        assert_eq!(outbox.push(frame("456")), Err(NotQueued::TooSlow));
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
        assert_eq!(outbox.push(frame("7")), Err(NotQueued::TooSlow));
    }

    /// Gives its frames some at a time, and now and then has none yet.
    struct Script(VecDeque<Option<Vec<Bytes>>>);

    impl Source for Script {
        fn next(&mut self) -> Poll<Option<Vec<Bytes>>> {
            match self.0.pop_front() {
                None => Poll::Ready(None),
                Some(None) => Poll::Pending,
                Some(made) => Poll::Ready(made),
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Frame,
        /// By how many frames each of its portions has; none = it is pending.
        Source(Vec<Option<usize>>),
        Take(usize),
        Close,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let portions = prop::collection::vec(prop::option::of(0..4_usize), 0..6);
        let step = prop_oneof![
            3 => Just(Step::Frame),
            2 => portions.prop_map(Step::Source),
            3 => (0..8_usize).prop_map(Step::Take),
            1 => Just(Step::Close),
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        /// findings B1: however the socket stalls, and whenever a backlog has to be waited for, everything comes in the order
        /// in which it was queued, once; and nothing is paid for in the end.
        #[test]
        fn what_is_queued_behind_a_backlog_comes_behind_it(steps in steps()) {
            let cx = Context::from_waker(Waker::noop());
            let account = Account::server(1 << 20);
            let outbox = Outbox::new(1 << 20, Some(account.clone()));
            let (mut queued, mut seen, mut is_closed) = (Vec::new(), Vec::new(), false);
            let mut take = |count: usize| {
                for _ in 0..count {
                    if let Poll::Ready(Some(frame)) = outbox.poll_frame(&cx) {
                        seen.push(frame);
                    }
                }
            };
            let frame = |number: usize| Bytes::from(vec![b'x'; 1_000 + number]);
            for step in steps {
                let mut next = queued.len()..;
                match step {
                    Step::Take(count) => take(count),
                    Step::Close => {
                        outbox.close(frame(queued.len()));
                        queued.extend((!is_closed).then(|| frame(queued.len())));
                        is_closed = true;
                    }
                    Step::Frame => {
                        prop_assert_eq!(outbox.push(frame(queued.len())), Ok(()));
                        queued.extend((!is_closed).then(|| frame(queued.len())));
                    }
                    Step::Source(portions) => {
                        let portion = |count: Option<usize>| Some(next.by_ref().take(count?).map(frame).collect());
                        let portions: VecDeque<Option<Vec<Bytes>>> = portions.into_iter().map(portion).collect();
                        let made: Vec<Bytes> = portions.iter().flatten().flatten().cloned().collect();
                        prop_assert_eq!(outbox.push_source(Box::new(Script(portions)), 500), Ok(()));
                        if !is_closed {
                            prop_assert!(!outbox.is_empty());
                            queued.extend(made);
                        }
                    }
                }
            }
            take(2 * queued.len() + 1_000);
            prop_assert_eq!(seen, queued);
            prop_assert!(outbox.is_empty());
            prop_assert_eq!(account.kept(), 0);
        }
    }

    /// findings B1: of a backlog only what is on its way is paid for, and who has no room for that is found out.
    #[test]
    fn a_backlog_costs_what_is_on_its_way() {
        let cx = Context::from_waker(Waker::noop());
        let account = Account::server(500_000);
        let outbox = Outbox::new(1_000, Some(account.clone()));
        let portion = || Some(vec![Bytes::from(vec![b'x'; 100_000])]);
        let backlog = || Box::new(Script((0..1_000).map(|_| portion()).collect()));
        for _ in 0..10 {
            assert_eq!(outbox.push_source(backlog(), 100), Ok(()));
        }
        for _ in 0..5_000 {
            assert!(outbox.poll_frame(&cx).is_ready());
            assert!(account.kept() < 10 * (100 + limits::OUTBOX_SOURCE_COST) + 200_000, "{account:?}");
        }
        outbox.clear();
        assert!(outbox.is_empty());
        assert_eq!(account.kept(), 0);

        let poor = Account::server(50_000);
        let outbox = Outbox::new(1 << 20, Some(poor.clone()));
        // Whoever is refused is told what is full: it may well read fast.
        let large = Bytes::from(vec![b'x'; 10_000]);
        assert!(matches!(outbox.push(large).map_err(NotQueued::to_close_reason), Err(CloseReason::NoMemory { .. })));
        let outbox = Outbox::new(1_000, Some(poor.clone()));
        assert!(matches!(outbox.push_source(backlog(), 50_000), Err(NotQueued::NoMemory(_))));
        assert_eq!(outbox.push_source(backlog(), 100), Ok(()));
        assert!(outbox.poll_frame(&cx).is_pending() && outbox.overdrawn().is_some());
        outbox.clear();
        assert_eq!(poor.kept(), 0);
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
