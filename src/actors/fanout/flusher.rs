//! Writes what waits in the outboxes of one worker thread: once per turn of its event loop, one write
//! per socket, whatever number of frames came together in that turn.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::{actors::fanout::outbox::Outbox, limits};

/// One per worker thread.
#[derive(Default)]
pub struct Flusher {
    waiting: RefCell<Vec<Outbox>>,
    waker: RefCell<Option<Waker>>,
}

impl Flusher {
    /// Starts the task that writes, on the calling thread.
    pub fn start() -> Rc<Self> {
        let flusher = Rc::new(Self::default());
        let worker = Rc::clone(&flusher);
        actix_rt::spawn(async move {
            let (mut round, mut scratch) = (Vec::new(), Vec::new());
            std::future::poll_fn(|cx| worker.work(cx, &mut round, &mut scratch)).await
        });
        flusher
    }

    /// Has `outbox` written soon, after everything that is ready to run now.
    pub(in crate::actors) fn list(&self, outbox: Outbox) {
        self.waiting.borrow_mut().push(outbox);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn work(&self, cx: &Context<'_>, round: &mut Vec<Outbox>, scratch: &mut Vec<u8>) -> Poll<()> {
        {
            let mut waiting = self.waiting.borrow_mut();
            let count = waiting.len().min(limits::WRITE_ROUND);
            round.extend(waiting.drain(..count));
        }
        for outbox in round.drain(..) {
            outbox.write(scratch);
        }
        if self.waiting.borrow().is_empty() {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
        } else {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::{
        io::{ErrorKind, Read as _},
        os::{fd::AsRawFd as _, unix::net::UnixStream},
    };

    use bytes::Bytes;

    use super::*;
    use crate::actors::transport::Socket;

    struct Rig {
        flusher: Rc<Flusher>,
        outbox: Outbox,
        /// Keeps the descriptor open.
        _ours: UnixStream,
        theirs: UnixStream,
    }

    impl Rig {
        fn new(limit: usize) -> Self {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            let flusher = Rc::new(Flusher::default());
            let socket = Socket::new(Some(ours.as_raw_fd()));
            let outbox = Outbox::direct(limit, None, socket, Rc::clone(&flusher));
            Self { flusher, outbox, _ours: ours, theirs }
        }

        fn work(&self) {
            let cx = Context::from_waker(Waker::noop());
            let _ = self.flusher.work(&cx, &mut Vec::new(), &mut Vec::new());
        }

        /// What the body gives to actix-http.
        fn body(&self) -> Vec<u8> {
            let cx = Context::from_waker(Waker::noop());
            let mut all = Vec::new();
            while let Poll::Ready(Some(frame)) = self.outbox.poll_frame(&cx) {
                all.extend_from_slice(&frame);
            }
            all
        }

        fn received(&mut self) -> Vec<u8> {
            let mut all = Vec::new();
            let error = self.theirs.read_to_end(&mut all).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            all
        }
    }

    fn frame(number: u8, length: usize) -> Bytes {
        Bytes::from(vec![number; length])
    }

    #[test]
    fn nothing_overtakes_the_response_head() {
        let mut rig = Rig::new(1000);
        rig.outbox.push(frame(1, 3)).unwrap();
        rig.work();
        assert!(rig.received().is_empty());
        assert!(rig.body().is_empty());
        rig.work();
        assert_eq!(rig.received(), [1, 1, 1]);
        assert!(rig.outbox.is_empty());
        assert_eq!(rig.outbox.taken(), 1);
    }

    #[test]
    fn frames_of_one_turn_go_out_together_and_in_order() {
        let mut rig = Rig::new(1 << 20);
        rig.body();
        for (number, length) in [(1, 2), (2, 100_000), (3, 1)] {
            rig.outbox.push(frame(number, length)).unwrap();
        }
        rig.work();
        let expected = [vec![1; 2], vec![2; 100_000], vec![3; 1]].concat();
        assert_eq!(rig.received(), expected);
        assert!(rig.body().is_empty());
    }

    #[test]
    fn the_body_takes_nothing_while_the_post_writes() {
        let mut rig = Rig::new(1 << 20);
        rig.body();
        for number in 0..100 {
            rig.outbox.push(frame(number, 1)).unwrap();
            // actix-http asks whenever the client sends something.
            assert!(rig.body().is_empty());
        }
        rig.work();
        assert_eq!(rig.received(), (0..100).collect::<Vec<u8>>());
        assert!(rig.outbox.is_empty());
    }

    #[test]
    fn what_a_full_socket_does_not_take_goes_by_the_body_and_so_does_all_that_follows() {
        let mut rig = Rig::new(10 << 20);
        rig.body();
        for number in 0..100 {
            rig.outbox.push(frame(number, 50_000)).unwrap();
        }
        rig.work();
        let mut all = rig.received();
        assert!(all.len() < 5_000_000);
        rig.outbox.push(frame(100, 7)).unwrap();
        rig.work();
        assert!(rig.received().is_empty());
        all.extend(rig.body());
        let expected: Vec<u8> = (0..100).flat_map(|number| vec![number; 50_000]).chain([100; 7]).collect();
        assert!(all == expected);
        assert_eq!(rig.outbox.taken(), 101);
    }

    #[test]
    fn dropping_what_waits_keeps_the_rest_of_a_frame_that_is_half_written() {
        let mut rig = Rig::new(10 << 20);
        rig.body();
        for number in 0..100 {
            rig.outbox.push(frame(number, 50_001)).unwrap();
        }
        rig.work();
        let mut all = rig.received();
        rig.outbox.clear();
        rig.outbox.close(frame(200, 4));
        all.extend(rig.body());
        let (frames, last) = all.split_at(all.len() - 4);
        assert_eq!(last, [200; 4]);
        assert_eq!(frames.len() % 50_001, 0);
        assert!(rig.outbox.is_empty());
    }

    /// findings A13: the publisher has its turn before its subscribers, whatever is queued first.
    #[test]
    fn who_took_its_turn_is_written_first() {
        let (mut publisher, mut reader) = (Rig::new(1000), Rig::new(1000));
        let socket = Socket::new(Some(reader._ours.as_raw_fd()));
        reader.outbox = Outbox::direct(1000, None, socket, Rc::clone(&publisher.flusher));
        for rig in [&publisher, &reader] {
            rig.body();
        }
        publisher.outbox.take_turn();
        reader.outbox.push(frame(1, 1)).unwrap();
        publisher.outbox.push(frame(2, 1)).unwrap();
        let first = publisher.flusher.waiting.borrow_mut().remove(0);
        first.write(&mut Vec::new());
        assert_eq!((publisher.received(), reader.received()), (vec![2], vec![]));
        publisher.work();
        assert_eq!(reader.received(), [1]);
    }

    #[test]
    fn a_socket_that_its_owner_closed_is_left_alone() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let flusher = Rc::new(Flusher::default());
        let socket = Socket::new(Some(ours.as_raw_fd()));
        let outbox = Outbox::direct(1000, None, socket.clone(), Rc::clone(&flusher));
        let cx = Context::from_waker(Waker::noop());
        assert!(outbox.poll_frame(&cx).is_pending());
        outbox.push(frame(1, 1)).unwrap();
        socket.forget();
        let _ = flusher.work(&cx, &mut Vec::new(), &mut Vec::new());
        assert_eq!(outbox.taken(), 0);
    }
}
