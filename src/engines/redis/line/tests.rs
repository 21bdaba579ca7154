use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{calls::Done, *};
use crate::engines::redis::slots::tests::told;

const SCRIPTS: &[&str] = &[""];

/// Nobody is there.
const MASTERS: [&str; 2] = ["127.0.0.1:1", "127.0.0.1:2"];

fn call(key: &str, bytes: usize, done: Done) -> Call {
    let args = vec![Bytes::from(vec![b'x'; bytes])];
    Call { script: 0, keys: vec![key.as_bytes().to_vec()], args, repeats: true, done }
}

/// A map that a server told that knows only part, all of which are healthy: the others are asked, again and again.
#[tokio::test]
async fn who_has_a_slot_that_nobody_has_is_asked() {
    let slots = told(&[], &[(0, 0, 0)]);
    let line = Line::start(&slots, SCRIPTS, None, None, Duration::from_secs(3_600), Clock::system());
    line.call(call("foo", 1, Box::new(|_| {})));
    for _ in 0..2 {
        slots.doubted().await;
    }
}

/// The slot of the greeting is moved from one server to another, whose clock goes on: so does the time.
#[tokio::test]
async fn the_time_is_that_of_who_has_the_key_of_the_greeting() {
    let slots = told(&MASTERS, &[(0, 8_191, 0), (8_192, 16_383, 1)]);
    let greeting = Run { script: "", keys: vec!["foo".to_owned()], args: Vec::new() };
    let clock = Clock::manual(Timestamp::from_millis(0));
    let (_calls, incoming) = unbounded_channel();
    let mut runner = Runner::new(&slots, SCRIPTS, Some(Arc::new(greeting)), None, incoming, clock);
    let told = |runner: &mut Runner, place: usize, now| {
        runner.note_time(&MASTERS[place].into(), now);
        runner.ahead.load(Ordering::Relaxed)
    };
    assert_eq!(told(&mut runner, 0, 1_000), 0);
    assert_eq!(told(&mut runner, 1, 2_000), 2_000);
    assert_eq!(told(&mut runner, 0, 3_000), 2_000);
    slots.tell(&MASTERS, &[(0, 8_191, 1), (8_192, 16_383, 0)]);
    runner.take_map();
    assert_eq!(told(&mut runner, 1, 4_000), 2_000);
    assert_eq!(told(&mut runner, 0, 5_000), 5_000);
}

/// Hands in as many calls of 1 MiB and some as there is no room for: the last alone is refused.
async fn fill(line: &Line, key: &str, bytes: usize) {
    let count = limits::REDIS_WAITING_BYTES >> 20;
    let mut answers: Vec<_> = (0..count)
        .map(|_| {
            let (told, answer) = oneshot::channel();
            line.call(call(key, bytes, Box::new(|outcome| drop(told.send(outcome)))));
            answer
        })
        .collect();
    assert_eq!(answers.pop().unwrap().await.unwrap(), Err(CallError::Full), "{bytes}");
    let waits = |answer: &mut oneshot::Receiver<_>| matches!(answer.try_recv(), Err(TryRecvError::Empty));
    assert!(answers.iter_mut().all(waits), "{bytes}");
}

/// What waits for a server that is lost, or that nobody has, takes no room of the others.
#[tokio::test]
async fn what_waits_for_one_server_takes_no_room_of_another() {
    let slots = told(&MASTERS, &[(0, 8_191, 0), (10_000, 16_383, 1)]);
    let line = Line::start(&slots, SCRIPTS, None, None, Duration::from_secs(3_600), Clock::system());
    for key in ["{}foo", "", "foo"] {
        fill(&line, key, 1 << 20).await;
    }
}

#[tokio::test]
async fn keys_take_room() {
    let slots = told(&MASTERS, &[(0, 8_191, 0), (8_192, 16_383, 1)]);
    let line = Line::start(&slots, SCRIPTS, None, None, Duration::from_secs(3_600), Clock::system());
    fill(&line, &format!("{{foo}}{}", "x".repeat(1 << 20)), 0).await;
}
