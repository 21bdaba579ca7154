//! What waits for which user, in memory: the order, how much of it there may be, and what is on its way to whom. Pure;
//! `away` puts it behind a lock.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{ids::SessionId, limits, older::relay::away::Row};

/// A push that waits.
pub struct Waiting {
    pub number: u64,
    pub id: Arc<str>,
    pub at: u64,
    pub bytes: usize,
    /// None: to be read from disk.
    pub row: Option<Arc<Row>>,
    /// It is never too old.
    pub until_read: bool,
    /// The connection that it was sent to and that has not shown yet that it has read it.
    pub lent: Option<SessionId>,
}

/// A push that is to be sent now.
pub struct Lent {
    pub number: u64,
    pub at: u64,
    pub until_read: bool,
    pub row: Option<Arc<Row>>,
}

/// All of them.
#[derive(Default)]
pub struct Users {
    waiting: HashMap<String, VecDeque<Waiting>>,
    pub last: u64,
    /// Of all together.
    bytes: usize,
}

impl Users {
    pub fn count(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

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

    /// The store has it.
    pub fn written(&mut self, user: &str, number: u64) {
        let mut queue = self.waiting.get_mut(user).into_iter().flatten();
        if let Some(waiting) = queue.find(|waiting| waiting.number == number) {
            waiting.row = None;
        }
    }

    /// What of a user is on its way to nobody goes to this connection.
    pub fn lend(&mut self, user: &str, session: SessionId) -> Vec<Lent> {
        let queue = self.waiting.get_mut(user).into_iter().flatten();
        let lend = |waiting: &mut Waiting| {
            waiting.lent = Some(session);
            let Waiting { number, at, until_read, .. } = *waiting;
            Lent { number, at, until_read, row: waiting.row.clone() }
        };
        queue.filter(|waiting| waiting.lent.is_none()).map(lend).collect()
    }

    /// The connection has read what it was sent, up to this number: what waits no more.
    pub fn confirm(&mut self, user: &str, session: SessionId, upto: u64) -> Vec<u64> {
        self.remove(user, |waiting| waiting.lent == Some(session) && waiting.number <= upto)
    }

    /// The connection is gone: what it has not confirmed waits again. Whether there is any.
    pub fn give_back(&mut self, user: &str, session: SessionId) -> bool {
        let queue = self.waiting.get_mut(user).into_iter().flatten();
        let lent = queue.filter(|waiting| waiting.lent == Some(session));
        lent.map(|waiting| waiting.lent = None).count() > 0
    }

    pub fn forget(&mut self, user: &str, numbers: &[u64]) {
        self.remove(user, |waiting| numbers.contains(&waiting.number));
    }

    /// The numbers of the user's oldest that have to go for one more of that size; none when it does not fit: all users
    /// together may fill the place. Nothing goes by this.
    pub fn room_for(&self, user: &str, bytes: usize) -> Option<Vec<u64>> {
        let bytes = bytes + limits::RELAY_KEPT_OVERHEAD;
        let queue = self.waiting.get(user);
        let mut count = queue.map_or(0, VecDeque::len);
        let mut own: usize = queue.into_iter().flatten().map(cost).sum();
        let all = own;
        let mut gone = Vec::new();
        for oldest in queue.into_iter().flatten() {
            if count < limits::RELAY_KEPT_PUSHES && own + bytes <= limits::RELAY_KEPT_USER_BYTES {
                break;
            }
            count -= 1;
            own -= cost(oldest);
            gone.push(oldest.number);
        }
        (self.bytes - all + own + bytes <= limits::RELAY_KEPT_BYTES).then_some(gone)
    }

    /// Users and numbers of what was pushed before `oldest`.
    pub fn expire(&mut self, oldest: u64) -> Vec<(String, Vec<u64>)> {
        let users: Vec<String> = self.waiting.keys().cloned().collect();
        let expired = users.into_iter().map(|user| {
            let numbers = self.remove(&user, |waiting| waiting.at < oldest && !waiting.until_read);
            (user, numbers)
        });
        expired.filter(|(_, numbers)| !numbers.is_empty()).collect()
    }

    /// Removes those of a user that are meant; their numbers.
    fn remove(&mut self, user: &str, is_meant: impl Fn(&Waiting) -> bool) -> Vec<u64> {
        let mut gone = Vec::new();
        let Some(queue) = self.waiting.get_mut(user) else {
            return gone;
        };
        let bytes = &mut self.bytes;
        queue.retain(|waiting| {
            let goes = is_meant(waiting);
            if goes {
                *bytes -= cost(waiting);
                gone.push(waiting.number);
            }
            !goes
        });
        if queue.is_empty() {
            self.waiting.remove(user);
        }
        gone
    }
}

/// Bytes, with what it takes to hold it.
fn cost(waiting: &Waiting) -> usize {
    waiting.bytes + limits::RELAY_KEPT_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(number: u64, bytes: usize) -> Waiting {
        let id = number.to_string().into();
        Waiting { number, id, at: number, bytes, row: None, until_read: false, lent: None }
    }

    fn filled(user: &str) -> Users {
        let mut users = Users::default();
        for number in 1..=limits::RELAY_KEPT_PUSHES as u64 {
            assert_eq!(users.room_for(user, 10), Some(vec![]));
            users.put(user, waiting(number, 10));
        }
        users
    }

    #[test]
    fn the_oldest_of_a_user_make_room() {
        let users = filled("a");
        assert_eq!(users.room_for("b", 10), Some(vec![]));
        assert_eq!(users.room_for("a", 10), Some(vec![1]));
        // All that is left has to go for a large one.
        let gone = users.room_for("a", limits::RELAY_KEPT_USER_BYTES);
        assert_eq!(gone.map(|gone| gone.len()), Some(limits::RELAY_KEPT_PUSHES));
        assert_eq!(users.count(), limits::RELAY_KEPT_PUSHES, "nothing goes before it is decided");
    }

    /// findings C10: where the new one is refused, nothing has gone for it.
    #[test]
    fn all_users_together_have_so_much() {
        let mut users = Users::default();
        let each = limits::RELAY_KEPT_USER_BYTES - limits::RELAY_KEPT_OVERHEAD;
        let all = (limits::RELAY_KEPT_BYTES / limits::RELAY_KEPT_USER_BYTES) as u64;
        for number in 0..all - 1 {
            let user = number.to_string();
            assert_eq!(users.room_for(&user, each), Some(vec![]));
            users.put(&user, waiting(number + 1, each));
        }
        // The last place is shared, and full.
        users.put("small", waiting(all, 1));
        users.put("large", waiting(all + 1, each - 1 - limits::RELAY_KEPT_OVERHEAD));
        assert_eq!(users.bytes, limits::RELAY_KEPT_BYTES);
        assert_eq!(users.room_for("small", 2), None);
        assert_eq!(users.room_for("one more", 1), None);
        assert_eq!(users.count() as u64, all + 1);
        users.forget("3", &[4]);
        assert_eq!(users.room_for("one more", 1), Some(vec![]));
    }

    #[test]
    fn what_is_too_old_goes() {
        let mut users = Users::default();
        for number in 1..=4 {
            users.put(if number % 2 == 0 { "even" } else { "odd" }, waiting(number, 1));
        }
        users.put("held", Waiting { until_read: true, ..waiting(1, 1) });
        let mut gone = users.expire(4);
        gone.sort();
        assert_eq!(gone, [("even".into(), vec![2]), ("odd".into(), vec![1, 3])]);
        assert!(!users.waiting.contains_key("odd"));
        assert_eq!(users.bytes, 2 * cost(&waiting(4, 1)));
        assert!(users.has("even", "4") && users.has("held", "1"));
    }

    /// findings C11: what was sent waits until it is confirmed, and again when its connection is gone.
    #[test]
    fn what_is_lent_comes_back_unless_it_was_read() {
        let mut users = Users::default();
        let [first, second] = [1, 2].map(SessionId::from_number);
        for number in 1..=3 {
            users.put("a", waiting(number, 1));
        }
        let numbers = |lent: Vec<Lent>| lent.iter().map(|lent| lent.number).collect::<Vec<_>>();
        assert_eq!(numbers(users.lend("a", first)), [1, 2, 3]);
        assert_eq!(numbers(users.lend("a", second)), [0; 0]);
        assert_eq!(users.confirm("a", second, 3), [0; 0]);
        assert_eq!(users.confirm("a", first, 2), [1, 2]);
        assert!(users.give_back("a", first));
        assert!(!users.give_back("a", first));
        assert_eq!(numbers(users.lend("a", second)), [3]);
        assert_eq!(users.confirm("a", second, u64::MAX), [3]);
        assert_eq!((users.bytes, users.count()), (0, 0));
    }
}
