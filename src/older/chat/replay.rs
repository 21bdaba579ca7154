//! Messages that a user missed, and those it has read (`docs/protocols/chat.md §7`, `replay_on_connect`). Pure.
//!
//! The store has every message before its channel does. So while the request loop reads what was missed, new messages are
//! held back, and those that the store gave as well are dropped, also when the channel has them later: each comes once,
//! the older first.
//!
//! Read is what was sent before a ping that the client has answered. Which ping that was is not known, so a
//! message counts from the second pong after it on, or when the client closes in order.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;

use crate::{
    core::message::{Entry, EntryId},
    limits,
    store::archive::MessageId,
};

#[derive(Debug)]
pub struct Replay {
    is_on: bool,
    /// What has come meanwhile; none when the missed messages have been sent.
    held: Option<VecDeque<(MessageId, Bytes)>>,
    /// What the store gave; its channel may still bring it. Forgotten when that would take longer than two pings.
    replayed: HashSet<MessageId>,
    pongs: u32,
    /// More has come than is held: it is in the store, to be read there.
    has_more: bool,
    /// The newest that was sent, and what it was at the last pong.
    sent: Option<MessageId>,
    before_pong: Option<MessageId>,
    /// What the client has read, unless the store knows.
    read: Option<MessageId>,
}

impl Replay {
    pub fn new(is_on: bool) -> Self {
        Self {
            is_on,
            held: is_on.then(VecDeque::new),
            replayed: HashSet::new(),
            pongs: 0,
            has_more: false,
            sent: None,
            before_pong: None,
            read: None,
        }
    }

    /// A message by the channel: its frame, if it is to be sent now.
    pub fn arrived(&mut self, entry: &Entry, frame: Bytes) -> Option<Bytes> {
        if !self.is_on {
            return Some(frame);
        }
        let id = match &entry.id {
            EntryId::Item(id) => id.parse().ok(),
            _ => None,
        };
        let Some(id) = id.filter(|_| is_stored(entry)) else {
            return Some(frame);
        };
        if self.replayed.remove(&id) {
            return None;
        }
        match &mut self.held {
            None => {
                self.sent = self.sent.max(Some(id));
                Some(frame)
            }
            Some(held) => {
                let bytes: usize = held.iter().map(|(_, frame)| frame.len()).sum();
                if held.len() < limits::CHAT_HELD_MESSAGES && bytes < limits::CHAT_HELD_BYTES {
                    held.push_back((id, frame));
                } else {
                    self.has_more = true;
                }
                None
            }
        }
    }

    /// The store gave this one; it is sent.
    pub fn replayed(&mut self, id: MessageId) {
        self.sent = self.sent.max(Some(id));
        if let Some(held) = &mut self.held {
            let before = held.len();
            held.retain(|(known, _)| *known != id);
            if held.len() < before {
                return;
            }
        }
        self.replayed.insert(id);
    }

    /// Nothing more is in the store: what was held. None when it has to be read on.
    pub fn finish(&mut self) -> Option<Vec<Bytes>> {
        if std::mem::take(&mut self.has_more) {
            // They are stored, and in order there.
            self.held = Some(VecDeque::new());
            return None;
        }
        let held = self.held.take().unwrap_or_default();
        let newest = held.iter().map(|(id, _)| *id).max();
        self.sent = self.sent.max(newest);
        Some(held.into_iter().map(|(_, frame)| frame).collect())
    }

    /// No more is sent of what was missed.
    pub fn give_up(&mut self) -> Vec<Bytes> {
        self.has_more = false;
        self.finish().unwrap_or_default()
    }

    /// The client has answered a ping.
    pub fn confirmed(&mut self) {
        self.read = self.read.max(self.before_pong);
        self.before_pong = self.sent;
        if self.held.is_none() && !self.replayed.is_empty() {
            self.pongs += 1;
            if self.pongs > 2 {
                self.replayed = HashSet::new();
            }
        }
    }

    /// The client has closed in order: it has read everything.
    pub fn all_read(&mut self) {
        // What is held was never sent.
        self.read = self.read.max(self.sent);
    }

    /// What the store is to remember.
    pub fn take_read(&mut self) -> Option<MessageId> {
        self.read.take().filter(|_| self.is_on)
    }
}

/// Only messages of users are; what back ends send raw is not.
fn is_stored(entry: &Entry) -> bool {
    entry.messages().iter().any(|message| message.name == "new_message")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        core::serial::{Epoch, Mint},
        ids::{ChannelName, Timestamp},
        older::chat::push::{Push, publish_raw},
    };

    fn id(number: u8) -> MessageId {
        MessageId::from_bytes([number; MessageId::BYTES])
    }

    fn entry(publish: crate::core::command::Publish) -> Entry {
        let channel = ChannelName::from("chat:u:7");
        let serial = Mint::new(Epoch::new(1)).position();
        let time = Timestamp::from_millis(1);
        Entry::new(channel, serial, time, publish.publisher, publish.id, publish.body)
    }

    fn message(number: u8) -> Entry {
        let push = Push::NewMessage {
            from_user_id: 1,
            to_user_id: 7,
            content: "x",
            room_id: "private_1_7",
            message_type: 1,
            message_id: "",
            time: "",
        };
        entry(push.publish(1, &id(number).to_string()))
    }

    fn frame(number: u8) -> Bytes {
        Bytes::copy_from_slice(&[number])
    }

    #[test]
    fn each_comes_once_and_the_older_first() {
        let mut replay = Replay::new(true);
        assert_eq!(replay.arrived(&message(3), frame(3)), None);
        replay.replayed(id(1));
        replay.replayed(id(3));
        assert_eq!(replay.arrived(&message(4), frame(4)), None);
        let raw = entry(publish_raw(1, &id(9).to_string(), "{}".into()));
        assert_eq!(replay.arrived(&raw, frame(9)), Some(frame(9)));
        assert_eq!(replay.finish(), Some(vec![frame(4)]));
        // The store had it before the channel.
        assert_eq!(replay.arrived(&message(1), frame(1)), None);
        assert_eq!(replay.arrived(&message(5), frame(5)), Some(frame(5)));
        assert_eq!(replay.sent, Some(id(5)));
    }

    #[test]
    fn what_is_too_much_is_read_from_the_store() {
        let mut replay = Replay::new(true);
        for _ in 0..=limits::CHAT_HELD_MESSAGES {
            assert_eq!(replay.arrived(&message(1), frame(1)), None);
        }
        assert_eq!(replay.finish(), None);
        assert_eq!(replay.finish(), Some(vec![]));
        let mut replay = Replay::new(true);
        let long = Bytes::from(vec![b'x'; limits::CHAT_HELD_BYTES]);
        assert_eq!(replay.arrived(&message(1), long.clone()), None);
        assert_eq!(replay.arrived(&message(2), long), None);
        assert_eq!(replay.finish(), None);
    }

    #[test]
    fn read_is_what_came_before_an_answered_ping() {
        let mut replay = Replay::new(true);
        replay.finish().unwrap();
        replay.arrived(&message(1), frame(1));
        replay.confirmed();
        assert_eq!(replay.take_read(), None);
        replay.arrived(&message(2), frame(2));
        replay.confirmed();
        assert_eq!(replay.take_read(), Some(id(1)));
        assert_eq!(replay.take_read(), None);
        replay.all_read();
        assert_eq!(replay.take_read(), Some(id(2)));
    }

    #[test]
    fn switched_off_it_changes_nothing() {
        let mut replay = Replay::new(false);
        assert_eq!(replay.arrived(&message(1), frame(1)), Some(frame(1)));
        replay.all_read();
        assert_eq!(replay.take_read(), None);
    }
}
