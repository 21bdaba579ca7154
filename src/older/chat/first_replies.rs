//! First replies to messages that have a `client_id`: a repeat within a day gets the same (`docs/protocols/chat.md §7`).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{limits, older::chat::reply::Reply, store::archive::CLIENT_ID_WINDOW};

/// The sender and its id of the message.
type Key = (u64, Arc<str>);

#[derive(Default)]
pub struct FirstReplies(Mutex<State>);

#[derive(Default)]
struct State {
    known: HashMap<Key, Reply>,
    /// Oldest first, with the moment (monotonic) when each came.
    order: VecDeque<(Duration, Key)>,
}

impl FirstReplies {
    pub fn find(&self, now: Duration, sender: u64, client_id: &str) -> Option<Reply> {
        let mut state = self.0.lock();
        state.forget(now);
        state.known.get(&(sender, client_id.into())).cloned()
    }

    /// Remembers a reply, unless there is an earlier one.
    pub fn note(&self, now: Duration, sender: u64, client_id: &str, reply: &Reply) {
        let key: Key = (sender, client_id.into());
        let mut state = self.0.lock();
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
    use crate::older::chat::code::Code;

    #[test]
    fn the_first_reply_counts_for_a_day() {
        let replies = FirstReplies::default();
        let find = |now, sender| replies.find(now, sender, "c").and_then(|reply| reply.number());
        replies.note(Duration::ZERO, 7, "c", &Code::Offline.into());
        replies.note(Duration::ZERO, 7, "c", &Code::NotSent.into());
        assert_eq!(find(CLIENT_ID_WINDOW, 7), Some(10003));
        assert_eq!(find(CLIENT_ID_WINDOW, 8), None);
        let later = CLIENT_ID_WINDOW + Duration::from_secs(1);
        assert_eq!(find(later, 7), None);
        assert!(replies.0.lock().known.is_empty());
    }

    #[test]
    fn they_are_bounded() {
        let replies = FirstReplies::default();
        for number in 0..=limits::CHAT_ANSWERS {
            replies.note(Duration::ZERO, 7, &number.to_string(), &Code::Offline.into());
        }
        assert_eq!(replies.0.lock().known.len(), limits::CHAT_ANSWERS);
        assert!(replies.find(Duration::ZERO, 7, "0").is_none());
    }
}
