//! How an outbox is emptied: to the socket, or into the response body; and what follows is put into frames.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};

use super::{Behind, Outbox, Phase, Way, cost};
use crate::{
    actors::accounts::{Full, Kind},
    limits,
};

impl Outbox {
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

    /// Pays for `bytes`, rounded up.
    pub(super) fn pay(&self, bytes: usize) -> Result<(), Full> {
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
    pub(super) fn settle(&self, frames: &mut VecDeque<Bytes>) {
        shrink(frames);
        let is_paid = self.0.paid.get() > self.0.free.get();
        if is_paid && frames.is_empty() && self.0.behind.borrow().is_empty() && self.0.charge.take().is_some() {
            self.0.paid.set(self.0.free.get());
        }
    }
}

/// A queue that was long gives its memory back once it is empty.
fn shrink(frames: &mut VecDeque<Bytes>) {
    if frames.is_empty() && frames.capacity() > limits::OUTBOX_KEPT_FRAMES {
        *frames = VecDeque::new();
    }
}
