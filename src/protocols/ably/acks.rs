//! Answers to a connection's publishes, in the order in which the publishes came (`docs/protocols/ably.md §6.2`).
//!
//! Channels answer in their own time. A client settles what it waits for by position, so an answer that
//! comes early waits for those before it (T38).

use std::collections::VecDeque;

use crate::{core::dedupe::Published, error::Fault};

/// What came of the frame of one publish.
pub type Outcome = Result<Published, Fault>;

/// The publishes of one transport that are not answered yet.
#[derive(Debug, Default)]
pub struct Acks {
    waiting: VecDeque<(u64, Option<Outcome>)>,
}

impl Acks {
    /// A frame with this serial is being worked on. False when it is already: a client that repeats
    /// itself is answered once.
    pub fn expect(&mut self, msg_serial: u64) -> bool {
        let is_new = self.waiting.iter().all(|(serial, _)| *serial != msg_serial);
        if is_new {
            self.waiting.push_back((msg_serial, None));
        }
        is_new
    }

    /// The outcome for a serial is known.
    pub fn settle(&mut self, msg_serial: u64, outcome: Outcome) {
        let mut waiting = self.waiting.iter_mut();
        if let Some((_, place)) = waiting.find(|(serial, _)| *serial == msg_serial) {
            *place = Some(outcome);
        }
    }

    /// The next answer that may be sent.
    pub fn take_next(&mut self) -> Option<(u64, Outcome)> {
        let (_, outcome) = self.waiting.front()?;
        outcome.as_ref()?;
        let (serial, outcome) = self.waiting.pop_front()?;
        Some((serial, outcome?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_that_is_worked_on_is_not_worked_on_twice() {
        let mut acks = Acks::default();
        assert!(acks.expect(0));
        assert!(!acks.expect(0));
        acks.settle(0, Err(Fault::Busy));
        assert!(acks.take_next().is_some());
        assert!(acks.expect(0), "a client that sends it again is answered again");
    }

    proptest! {
        /// T38: whatever the order in which channels answer.
        #[test]
        fn answers_keep_the_order_of_the_publishes(order in Just((0u64..20).collect::<Vec<_>>()).prop_shuffle()) {
            let mut acks = Acks::default();
            for serial in 0..20 {
                acks.expect(serial);
            }
            let mut told = Vec::new();
            for serial in order {
                acks.settle(serial, Err(Fault::Busy));
                while let Some((serial, _)) = acks.take_next() {
                    told.push(serial);
                }
            }
            prop_assert_eq!(told, (0u64..20).collect::<Vec<_>>());
        }
    }
}
