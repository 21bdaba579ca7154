//! The pump between an outbox and responses, without a transport.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::task::Waker;

use futures_util::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;

use super::*;
use crate::{actors::fanout::outbox::frame, error::CloseReason};

struct Stage {
    pump: Pump,
    outbox: Outbox,
    account: Account,
    conversation: Conversation,
}

fn stage(ends: Ends, bytes: usize) -> Stage {
    let account = Account::server(bytes);
    let (conversation, requests) = Conversation::new(ends);
    let outbox = Outbox::new(1 << 24, None);
    let pump = Pump {
        outbox: outbox.clone(),
        account: account.clone(),
        write: |payloads, body| {
            payloads.iter().for_each(|payload| body.extend_from_slice(payload));
            body.push(b'\n');
        },
        requests: Some(requests.0),
        reader: None,
        left: None,
        frames: None,
        taken: 0,
        heard: VecDeque::new(),
        is_last: false,
        is_over: false,
    };
    Stage { pump, outbox, account, conversation }
}

impl Stage {
    fn read(&self) -> Taker {
        self.conversation.read().now_or_never().unwrap().unwrap()
    }

    fn say(&self, text: &str) {
        self.outbox.push(frame::text(text.as_bytes())).unwrap();
    }

    /// What the transport hears until there is nothing more; whether that is the end.
    fn run(&mut self) -> (Vec<Inbound>, bool) {
        let mut heard = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match self.pump.poll_next_unpin(&mut cx) {
                Poll::Ready(Some(inbound)) => heard.push(inbound),
                Poll::Ready(None) => return (heard, true),
                // Once more, if it was a pause.
                Poll::Pending if self.pump.frames.is_none() => return (heard, false),
                Poll::Pending => {}
            }
        }
    }

    fn is_over(&mut self) -> bool {
        self.run().1
    }
}

/// The text of the next batch; none: nothing follows. Whoever waits in vain gets `...`.
fn taken(taker: &Taker) -> Option<String> {
    match taker.batch().now_or_never() {
        Some(batch) => batch.map(|batch| String::from_utf8(batch.bytes.to_vec()).unwrap()),
        None => Some("...".to_owned()),
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_response_gets_what_waits_and_the_next_one_what_follows() {
    let mut stage = stage(Ends::AtOnce, 1 << 20);
    stage.say("a");
    stage.say("b");
    let first = stage.read();
    assert!(!stage.is_over());
    stage.say("c");
    assert_eq!((taken(&first), taken(&first)), (some("ab\n"), None));
    let second = stage.read();
    assert!(!stage.is_over());
    assert_eq!((taken(&second), taken(&second)), (some("c\n"), None));
    let third = stage.read();
    assert!(!stage.is_over());
    assert_eq!(taken(&third), some("..."));
}

/// Whatever a response did not take, the next one gets; what is replaced can be read all the same.
#[test]
fn a_response_that_is_replaced_or_gone_takes_nothing_with_it() {
    for ends in [Ends::AtOnce, Ends::WithPings(3)] {
        let mut stage = stage(ends, 1 << 20);
        let first = stage.read();
        stage.run();
        let second = stage.read();
        stage.run();
        assert_eq!((taken(&first), taken(&first)), (some("\n"), None));
        stage.say("a");
        stage.run();
        let third = stage.read();
        stage.run();
        assert_eq!((taken(&second), taken(&second)), (some("\n"), None));
        drop(third);
        assert!(!stage.is_over());
        let fourth = stage.read();
        assert!(!stage.is_over());
        assert_eq!(taken(&fourth), some("a\n"));
    }
}

/// Of what a stream had taken before it broke off, nobody knows what has arrived.
#[test]
fn a_stream_that_breaks_off_after_something_was_taken_is_the_end() {
    let mut stage = stage(Ends::WithPings(3), 1 << 20);
    let reader = stage.read();
    stage.say("a");
    stage.run();
    assert_eq!(taken(&reader), some("a\n"));
    assert!(!stage.is_over());
    drop(reader);
    assert!(stage.is_over());
}

#[test]
fn pings_are_answered_and_a_stream_ends_with_its_last() {
    let mut stage = stage(Ends::WithPings(2), 1 << 20);
    let reader = stage.read();
    let heartbeat: Bytes = [frame::text(b"alive"), frame::ping_with(b"n")].concat().into();
    let pongs = |heard: Vec<Inbound>| {
        let is_pong = |inbound: &Inbound| matches!(inbound, Inbound::Pong(payload) if payload == "n");
        heard.iter().filter(|inbound| is_pong(inbound)).count()
    };
    for last in [some("..."), None] {
        stage.outbox.push(heartbeat.clone()).unwrap();
        assert_eq!(pongs(stage.run().0), 1);
        assert_eq!(taken(&reader), some("alive\n"));
        assert!(!stage.is_over());
        assert_eq!(taken(&reader), last);
    }
    // Without anybody who takes it, it is not heard: the client may be gone.
    stage.outbox.push(heartbeat).unwrap();
    assert_eq!(pongs(stage.run().0), 0);
}

#[test]
fn the_close_frame_is_the_end_once_it_was_taken() {
    let mut stage = stage(Ends::AtOnce, 1 << 20);
    stage.say("bye");
    stage.outbox.close(frame::close(CloseReason::Done));
    assert!(!stage.is_over(), "nobody has asked");
    let reader = stage.read();
    assert!(!stage.is_over());
    assert_eq!((taken(&reader), taken(&reader)), (some("bye\n"), None));
    assert!(stage.is_over());
    drop(stage.pump);
    assert!(stage.conversation.read().now_or_never().unwrap().is_err());
}

/// What is on its way is paid for, and given back when it has gone; who has no room for it is too slow.
#[test]
fn batches_are_bounded_and_paid_for() {
    let mut stage = stage(Ends::WithPings(3), 2 * limits::BATCH_BYTES);
    let large = "x".repeat(limits::BATCH_BYTES / 4);
    for _ in 0..20 {
        stage.say(&large);
    }
    let reader = stage.read();
    stage.run();
    let mut seen = 0;
    while let Some(Some(batch)) = reader.batch().now_or_never() {
        seen += batch.bytes.len() - 1;
        assert_eq!(batch.bytes.len(), limits::BATCH_BYTES + 1);
        assert_eq!(stage.account.kept(), limits::BATCH_BYTES);
        drop(batch);
        assert_eq!(stage.account.kept(), 0);
        stage.run();
    }
    assert_eq!(seen, 20 * large.len());
    let other: Charge = stage.account.charge(Kind::Presence, 2 * limits::BATCH_BYTES).unwrap();
    stage.say(&large);
    let (heard, _) = stage.run();
    assert!(matches!(heard[..], [Inbound::Violation(CloseReason::NoMemory { .. })]), "{heard:?}");
    drop(other);
}

proptest! {
    /// However responses come, go and are replaced, everything comes once and in order, as long as no stream breaks off.
    #[test]
    fn nothing_is_lost_or_doubled(steps in prop::collection::vec(0..4_u8, 1..80), streams in any::<bool>()) {
        let mut stage = stage(if streams { Ends::WithPings(200) } else { Ends::AtOnce }, 1 << 20);
        let (mut said, mut seen, mut reader) = (0_u32, String::new(), None::<Taker>);
        let mut expected = String::new();
        for step in steps {
            match step {
                0 => {
                    stage.say(&format!("{said},"));
                    expected += &format!("{said},");
                    said += 1;
                }
                1 => {
                    prop_assert!(!stage.is_over());
                    reader = Some(stage.read());
                }
                // A response that has taken something ends in order, or takes the transport with it.
                2 if !streams => reader = None,
                _ => {
                    prop_assert!(!stage.is_over());
                    if let Some(batch) = reader.as_ref().and_then(|reader| reader.batch().now_or_never()).flatten() {
                        seen += &String::from_utf8(batch.bytes.to_vec()).unwrap().replace('\n', "");
                    }
                }
            }
        }
        for _ in 0..3 {
            let last = stage.read();
            stage.run();
            if let Some(Some(batch)) = last.batch().now_or_never() {
                seen += &String::from_utf8(batch.bytes.to_vec()).unwrap().replace('\n', "");
            }
        }
        prop_assert_eq!(seen, expected);
    }
}
