//! By which keys the conversations of a server are found.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{edge::pump::Conversation, protocols::ably::endpoint::Shared};

/// The conversations of all worker threads, each by the keys that its clients may know it by.
#[derive(Default)]
pub struct Conversations(Mutex<HashMap<String, Conversation>>);

impl Conversations {
    pub fn find(&self, key: &str) -> Option<Conversation> {
        self.0.lock().get(key).cloned()
    }
}

/// Where the requests of one conversation come in. It is open for as long as its transport lives.
pub struct Door {
    shared: Arc<Shared>,
    conversation: Conversation,
    /// The newest last.
    keys: VecDeque<String>,
}

/// While CONNECTED brings another key, requests with the one before are on their way.
const KEYS: usize = 2;

impl Door {
    pub fn new(shared: &Arc<Shared>, conversation: &Conversation) -> Self {
        Self { shared: Arc::clone(shared), conversation: conversation.clone(), keys: VecDeque::new() }
    }

    /// The client learns that this is the key of its connection.
    pub fn known_by(&mut self, key: &str) {
        let mut all = self.shared.conversations.0.lock();
        if self.keys.len() == KEYS
            && let Some(oldest) = self.keys.pop_front()
        {
            all.remove(&oldest);
        }
        all.insert(key.to_owned(), self.conversation.clone());
        self.keys.push_back(key.to_owned());
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut all = self.shared.conversations.0.lock();
        for key in &self.keys {
            all.remove(key);
        }
    }
}
