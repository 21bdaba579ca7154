use super::*;
use crate::engines::redis::slots::tests::told;

const SCRIPTS: &[&str] = &[""];

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
