//! The frames that wait for one socket: bounded in bytes, drained by the response body.
//!
//! One thread owns it, so it needs no atomics. It never blocks and never drops a frame in silence:
//! a frame that does not fit is the end of the connection (`HOT_PATH.md §3`, points 4 and 8).

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::limits;

/// Clones are handles of the same queue.
#[derive(Clone)]
pub struct Outbox(Rc<Queue>);

struct Queue {
    frames: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    limit: Cell<usize>,
    /// Frames that the socket took since the connection opened.
    taken: Cell<u64>,
    phase: Cell<Phase>,
    reader: RefCell<Option<Waker>>,
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
    /// At most `limit` bytes wait, with what it costs to hold them.
    pub fn new(limit: usize) -> Self {
        Self(Rc::new(Queue {
            frames: RefCell::default(),
            bytes: Cell::new(0),
            limit: Cell::new(limit),
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
        queue.bytes.set(bytes);
        queue.frames.borrow_mut().push_back(frame);
        self.wake();
        Ok(())
    }

    /// Queues the last frame. It always fits.
    pub fn close(&self, last: Bytes) {
        let queue = &*self.0;
        if queue.phase.replace(Phase::Closing) == Phase::Open {
            queue.bytes.set(queue.bytes.get() + cost(&last));
            queue.frames.borrow_mut().push_back(last);
            self.wake();
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

    /// Drops what waits.
    pub fn clear(&self) {
        *self.0.frames.borrow_mut() = VecDeque::new();
        self.0.bytes.set(0);
    }

    /// The reader sees the end, whatever waits.
    pub fn end(&self) {
        self.0.phase.set(Phase::Ended);
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
        let mut frames = queue.frames.borrow_mut();
        if let Some(frame) = frames.pop_front() {
            queue.bytes.set(queue.bytes.get() - cost(&frame));
            queue.taken.set(queue.taken.get() + 1);
            return Poll::Ready(Some(frame));
        }
        if frames.capacity() > limits::OUTBOX_KEPT_FRAMES {
            *frames = VecDeque::new();
        }
        if queue.phase.get() == Phase::Ended {
            return Poll::Ready(None);
        }
        *queue.reader.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Wakes the reader once; it asks to be woken again when it has taken everything.
    fn wake(&self) {
        if let Some(reader) = self.0.reader.borrow_mut().take() {
            reader.wake();
        }
    }
}

const fn cost(frame: &Bytes) -> usize {
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
        let outbox = Outbox::new(1_000);
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
        let outbox = Outbox::new(2 * FRAME_COST + 5);
        assert_eq!(outbox.push(frame("123")), Ok(()));
        assert_eq!(outbox.push(frame("456")), Err(Full));
        assert_eq!(outbox.push(frame("45")), Ok(()));
        assert_eq!(outbox.poll_frame(&cx), Poll::Ready(Some(frame("123"))));
        assert_eq!(outbox.push(frame("678")), Ok(()));
    }

    #[test]
    fn it_can_be_widened_for_a_while() {
        let outbox = Outbox::new(FRAME_COST + 3);
        outbox.widen(3);
        assert_eq!(outbox.push(frame("123456")), Ok(()));
        outbox.narrow(3);
        assert_eq!(outbox.push(frame("7")), Err(Full));
    }

    #[test]
    fn nothing_follows_the_last_frame() {
        let cx = Context::from_waker(Waker::noop());
        let outbox = Outbox::new(FRAME_COST + 3);
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
