//! Who took part in groups that were not made here (`docs/protocols/chat.md §3, §7`): who sent, or was online and received. They
//! alone read the history. What is stored is also kept in memory, so that a message costs a write only when it reaches
//! somebody new.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    limits,
    store::{StoreError, archive::Archive},
};

#[derive(Default)]
pub struct Participants(Mutex<HashMap<String, Known>>);

/// What the store has of one group.
struct Known {
    /// When that was read, by the clock's uptime.
    since: Duration,
    users: HashSet<u64>,
}

impl Participants {
    /// Remembers these users, as far as there is room. True: for all of them.
    /// Error: those of the archive; then they are stored with the next message.
    pub async fn note(
        &self,
        archive: &dyn Archive,
        now: Duration,
        group: &str,
        users: &[u64],
    ) -> Result<bool, StoreError> {
        let is_fresh = |known: &&Known| now.saturating_sub(known.since) < limits::CHAT_PARTICIPANTS_FRESH;
        let lacking = self.0.lock().get(group).filter(is_fresh).map(|known| known.lacks(users));
        let (stored, (new, fit_all)) = match lacking {
            Some(lacking) => (None, lacking),
            None => {
                let stored = Known { since: now, users: archive.participants(group).await?.into_iter().collect() };
                let lacking = stored.lacks(users);
                (Some(stored), lacking)
            }
        };
        // Also when nobody is new: the group is in use.
        if stored.is_some() || !new.is_empty() {
            archive.take_part(group, new.clone()).await?;
        }
        self.keep(group, stored, new);
        Ok(fit_all)
    }

    fn keep(&self, group: &str, stored: Option<Known>, new: Vec<u64>) {
        let mut known = self.0.lock();
        if let Some(stored) = stored {
            let kept: usize = known.values().map(|known| known.users.len() + 1).sum();
            if kept + stored.users.len() + new.len() > limits::CHAT_PARTICIPANTS_KNOWN {
                known.clear();
            }
            known.insert(group.to_owned(), stored);
        }
        if let Some(known) = known.get_mut(group) {
            known.users.extend(new);
        }
    }
}

impl Known {
    /// Those of the users that are not known yet and fit, and whether all fit.
    fn lacks(&self, users: &[u64]) -> (Vec<u64>, bool) {
        let mut lacking: Vec<u64> = users.iter().copied().filter(|user| !self.users.contains(user)).collect();
        let room = limits::CHAT_PARTICIPANTS.saturating_sub(self.users.len());
        let fit_all = lacking.len() <= room;
        lacking.truncate(room);
        (lacking, fit_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// findings O4: what is remembered is bounded, and the sender, who comes first, is in it.
    #[test]
    fn later_ones_are_left_out_when_a_group_is_full() {
        let mut known = Known { since: Duration::ZERO, users: HashSet::new() };
        let all: Vec<u64> = (1..=limits::CHAT_PARTICIPANTS as u64 + 5).collect();
        let (lacking, fit_all) = known.lacks(&all);
        assert_eq!((lacking.len(), lacking[0], fit_all), (limits::CHAT_PARTICIPANTS, 1, false));
        known.users.extend(lacking);
        let (lacking, fit_all) = known.lacks(&all);
        assert!(lacking.is_empty() && !fit_all);
        assert!(known.lacks(&[1, 2]).1);
    }
}
