use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Context,
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
