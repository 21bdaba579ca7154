//! What one connection was sent out of a mailbox and has not shown to have read.
//!
//! Behind messages goes a ping; its answer shows that everything before it was read. Only then may they leave the
//! mailbox, so that what a broken connection has not read stays.

use std::collections::VecDeque;

use crate::limits;

/// By what a protocol knows its messages; see the module.
#[derive(Debug)]
pub struct Unconfirmed<T> {
    sent: VecDeque<Sent<T>>,
    bytes: usize,
    /// Messages sent so far.
    count: u64,
    /// A ping is on the way.
    is_asked: bool,
}

#[derive(Debug)]
struct Sent<T> {
    /// How many messages were sent up to this one.
    order: u64,
    message: T,
    bytes: usize,
}

impl<T> Default for Unconfirmed<T> {
    fn default() -> Self {
        Self { sent: VecDeque::new(), bytes: 0, count: 0, is_asked: false }
    }
}

impl<T: PartialEq> Unconfirmed<T> {
    pub fn has(&self, message: &T) -> bool {
        self.sent.iter().any(|sent| sent.message == *message)
    }

    /// It was not sent after all.
    pub fn take_back(&mut self, message: &T) {
        self.sent.retain(|sent| {
            let stays = sent.message != *message;
            self.bytes -= if stays { 0 } else { sent.bytes };
            stays
        });
    }
}

impl<T> Unconfirmed<T> {
    /// Whether more may be sent before something is confirmed.
    pub fn has_room(&self) -> bool {
        self.sent.len() < limits::MAILBOX_UNCONFIRMED && self.bytes < limits::MAILBOX_UNCONFIRMED_BYTES
    }

    pub fn push(&mut self, message: T, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
        self.sent.push_back(Sent { order: self.count, message, bytes });
    }

    /// The payload of the ping to send now; none while another one is on the way, or when everything was read.
    pub fn ping(&mut self) -> Option<[u8; 8]> {
        if self.is_asked || self.sent.is_empty() {
            return None;
        }
        self.is_asked = true;
        Some(self.count.to_be_bytes())
    }

    /// What a pong shows to have been read. Another one than was asked for shows nothing, but the next ping may be sent:
    /// a client may answer the last of several pings only (RFC 6455 §5.5.3).
    pub fn pong(&mut self, payload: &[u8]) -> Vec<T> {
        self.is_asked = false;
        let upto = payload.try_into().map_or(0, u64::from_be_bytes);
        let mut read = Vec::new();
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.order <= upto) {
            self.bytes -= sent.bytes;
            read.push(sent.message);
        }
        read
    }

    /// Everything, for whoever has read it, or will not.
    pub fn drain(&mut self) -> Vec<T> {
        self.bytes = 0;
        self.sent.drain(..).map(|sent| sent.message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pong_confirms_what_was_sent_before_its_ping() {
        let mut unconfirmed = Unconfirmed::default();
        assert_eq!(unconfirmed.ping(), None);
        unconfirmed.push('a', 1);
        let first = unconfirmed.ping();
        unconfirmed.push('b', 1);
        assert_eq!((first, unconfirmed.ping()), (Some([0, 0, 0, 0, 0, 0, 0, 1]), None));
        assert_eq!(unconfirmed.pong(&first.unwrap_or_default()), ['a']);
        assert_eq!(unconfirmed.pong(b"of the client's own"), [0 as char; 0]);
        assert_eq!(unconfirmed.ping(), Some([0, 0, 0, 0, 0, 0, 0, 2]));
        assert!(unconfirmed.has(&'b'));
        assert_eq!(unconfirmed.drain(), ['b']);
    }

    #[test]
    fn so_many_bytes_may_be_on_the_way() {
        let mut unconfirmed = Unconfirmed::default();
        unconfirmed.push('a', limits::MAILBOX_UNCONFIRMED_BYTES - 1);
        assert!(unconfirmed.has_room());
        unconfirmed.push('b', 1);
        assert!(!unconfirmed.has_room());
        unconfirmed.take_back(&'a');
        assert!(unconfirmed.has_room() && !unconfirmed.has(&'a'));
    }
}
