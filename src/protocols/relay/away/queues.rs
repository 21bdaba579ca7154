//! What waits for which user, in memory: the order, and how much of it there may be. Pure; `away` puts it behind a lock.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{limits, protocols::relay::away::Row};

/// A push that waits.
pub struct Waiting {
    pub number: u64,
    pub id: Arc<str>,
    pub at: u64,
    pub bytes: usize,
    /// None: to be read from disk.
    pub row: Option<Arc<Row>>,
}

/// All of them.
#[derive(Default)]
pub struct Users {
    pub waiting: HashMap<String, VecDeque<Waiting>>,
    pub last: u64,
    /// Of all together.
    bytes: usize,
}

impl Users {
    pub fn put(&mut self, user: &str, waiting: Waiting) {
        self.last = self.last.max(waiting.number);
        self.bytes += cost(&waiting);
        let queue = self.waiting.entry(user.to_owned()).or_default();
        queue.push_back(waiting);
    }

    pub fn has(&self, user: &str, id: &str) -> bool {
        let queue = self.waiting.get(user);
        queue.is_some_and(|queue| queue.iter().any(|waiting| &*waiting.id == id))
    }

    pub fn find(&mut self, user: &str, number: u64) -> Option<&mut Waiting> {
        let mut queue = self.waiting.get_mut(user)?.iter_mut();
        queue.find(|waiting| waiting.number == number)
    }

    pub fn take(&mut self, user: &str) -> VecDeque<Waiting> {
        let queue = self.waiting.remove(user).unwrap_or_default();
        self.bytes -= queue.iter().map(cost).sum::<usize>();
        queue
    }

    pub fn drop_one(&mut self, user: &str, number: u64) {
        let mut queue = self.take(user);
        queue.retain(|waiting| waiting.number != number);
        self.put_back(user, queue);
    }

    fn put_back(&mut self, user: &str, queue: VecDeque<Waiting>) {
        if !queue.is_empty() {
            self.bytes += queue.iter().map(cost).sum::<usize>();
            self.waiting.insert(user.to_owned(), queue);
        }
    }

    /// Room for one more of that size: the numbers of the user's oldest that had to go, and whether it fits: all
    /// users together may fill the place.
    pub fn make_room(&mut self, user: &str, bytes: usize) -> (Vec<u64>, bool) {
        let mut queue = self.take(user);
        let mut own: usize = queue.iter().map(cost).sum();
        let mut gone = Vec::new();
        while queue.len() >= limits::RELAY_KEPT_PUSHES
            || (own + bytes > limits::RELAY_KEPT_USER_BYTES && !queue.is_empty())
        {
            let Some(oldest) = queue.pop_front() else {
                break;
            };
            own -= cost(&oldest);
            gone.push(oldest.number);
        }
        self.put_back(user, queue);
        let fits = self.bytes + bytes <= limits::RELAY_KEPT_BYTES;
        (gone, fits)
    }

    /// Users and numbers of what was pushed before `oldest`.
    pub fn expire(&mut self, oldest: u64) -> Vec<(String, Vec<u64>)> {
        let mut all = Vec::new();
        let mut bytes = 0;
        self.waiting.retain(|user, queue| {
            let mut numbers = Vec::new();
            // They came in the order of their numbers, but for a clock that was set back.
            while let Some(old) = queue.pop_front_if(|waiting| waiting.at < oldest) {
                bytes += cost(&old);
                numbers.push(old.number);
            }
            if !numbers.is_empty() {
                all.push((user.clone(), numbers));
            }
            !queue.is_empty()
        });
        self.bytes -= bytes;
        all
    }
}

/// Bytes, with what it takes to hold it.
fn cost(waiting: &Waiting) -> usize {
    waiting.bytes + limits::RELAY_KEPT_OVERHEAD
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn waiting(number: u64, bytes: usize) -> Waiting {
        Waiting { number, id: number.to_string().into(), at: number, bytes, row: None }
    }

    #[test]
    fn the_oldest_of_a_user_make_room() {
        let mut users = Users::default();
        for number in 1..=limits::RELAY_KEPT_PUSHES as u64 {
            assert_eq!(users.make_room("a", 10), (vec![], true));
            users.put("a", waiting(number, 10));
        }
        assert_eq!(users.make_room("b", 10), (vec![], true));
        assert_eq!(users.make_room("a", 10), (vec![1], true));
        // All that is left has to go for a large one.
        let (gone, fits) = users.make_room("a", limits::RELAY_KEPT_USER_BYTES);
        assert_eq!(gone.len(), limits::RELAY_KEPT_PUSHES - 1);
        assert!(fits);
        assert_eq!(users.bytes, 0);
    }

    #[test]
    fn all_users_together_have_so_much() {
        let mut users = Users::default();
        let each = limits::RELAY_KEPT_USER_BYTES - limits::RELAY_KEPT_OVERHEAD;
        for number in 0..(limits::RELAY_KEPT_BYTES / limits::RELAY_KEPT_USER_BYTES) as u64 {
            let user = number.to_string();
            assert_eq!(users.make_room(&user, each), (vec![], true));
            users.put(&user, waiting(number + 1, each));
        }
        assert_eq!(users.bytes, limits::RELAY_KEPT_BYTES);
        assert_eq!(users.make_room("one more", 1), (vec![], false));
        assert_eq!(users.take("3").len(), 1);
        assert_eq!(users.make_room("one more", 1), (vec![], true));
    }

    #[test]
    fn what_is_too_old_goes() {
        let mut users = Users::default();
        for number in 1..=4 {
            users.put(if number % 2 == 0 { "even" } else { "odd" }, waiting(number, 1));
        }
        let mut gone = users.expire(4);
        gone.sort();
        assert_eq!(gone, [("even".into(), vec![2]), ("odd".into(), vec![1, 3])]);
        assert!(!users.waiting.contains_key("odd"));
        assert_eq!(users.bytes, cost(&waiting(4, 1)));
        assert!(users.has("even", "4"));
    }
}
