//! First replies to messages that have a `client_id`: a repeat within a day gets the same (`docs/protocols/chat.md §7`).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{clock::Clock, limits, older::chat::reply::Reply, store::archive::CLIENT_ID_WINDOW};

/// The sender and its id of the message.
type Key = (u64, Arc<str>);

pub struct FirstReplies {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashMap<Key, Reply>,
    /// Oldest first, with the moment (monotonic) when each came.
    order: VecDeque<(Duration, Key)>,
}

impl FirstReplies {
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// That to a message which `sender` has sent before under this id.
    pub fn find(&self, sender: u64, client_id: Option<&str>) -> Option<Reply> {
        let client_id = client_id?;
        let mut state = self.state.lock();
        state.forget(self.clock.uptime());
        state.known.get(&(sender, client_id.into())).cloned()
    }

    /// Remembers a reply, unless there is an earlier one.
    pub fn note(&self, sender: u64, client_id: Option<&str>, reply: &Reply) {
        let Some(client_id) = client_id else {
            return;
        };
        let (now, key) = (self.clock.uptime(), (sender, Arc::from(client_id)));
        let mut state = self.state.lock();
        if !state.known.contains_key(&key) {
            state.known.insert(key.clone(), reply.clone());
            state.order.push_back((now, key));
            state.forget(now);
        }
    }
}

impl State {
    fn forget(&mut self, now: Duration) {
        while let Some((came, _)) = self.order.front() {
            let is_old = now.saturating_sub(*came) > CLIENT_ID_WINDOW;
            if !is_old && self.order.len() <= limits::CHAT_ANSWERS {
                break;
            }
            if let Some((_, key)) = self.order.pop_front() {
                self.known.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::Timestamp, older::chat::code::Code};

    #[test]
    fn the_first_reply_counts_for_a_day() {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let replies = FirstReplies::new(clock.clone());
        let find = |sender| replies.find(sender, Some("c")).and_then(|reply| reply.number());
        replies.note(7, Some("c"), &Code::Offline.into());
        replies.note(7, Some("c"), &Code::NotSent.into());
        clock.advance(CLIENT_ID_WINDOW);
        assert_eq!((find(7), find(8)), (Some(10003), None));
        clock.advance(Duration::from_secs(1));
        assert_eq!(find(7), None);
        assert!(replies.state.lock().known.is_empty());
    }

    #[test]
    fn they_are_bounded() {
        let replies = FirstReplies::new(Clock::manual(Timestamp::from_millis(0)));
        for number in 0..=limits::CHAT_ANSWERS {
            replies.note(7, Some(&number.to_string()), &Code::Offline.into());
        }
        assert_eq!(replies.state.lock().known.len(), limits::CHAT_ANSWERS);
        assert!(replies.find(7, Some("0")).is_none());
    }
}
