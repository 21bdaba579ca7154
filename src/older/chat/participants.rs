//! Who took part in groups that were not made here (`docs/protocols/chat.md §3, §7`): who sent, or was online and received. They
//! alone read the history. What is stored is also kept in memory, so that a message costs a write only when it reaches
//! somebody new.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    ids::Timestamp,
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
    /// When all nodes said who is online: those are among the users.
    asked: Option<Timestamp>,
}

impl Participants {
    /// Remembers these users, as far as there is room. True: for all of them.
    ///
    /// # Errors
    /// Those of the archive; then they are stored with the next message.
    pub async fn note(
        &self,
        archive: &dyn Archive,
        now: Duration,
        group: &str,
        users: &[u64],
    ) -> Result<bool, StoreError> {
        let lacking = self.0.lock().get(group).filter(|known| known.is_fresh(now)).map(|known| known.lacks(users));
        let (stored, (new, fit_all)) = match lacking {
            Some(lacking) => (None, lacking),
            None => {
                let known = archive.participants(group).await?.into_iter().collect();
                let stored = Known { since: now, users: known, asked: None };
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

    /// Who has come to another node since then may be new to the group; none: whoever is online there.
    pub fn asked(&self, now: Duration, group: &str) -> Option<Timestamp> {
        let asked = self.0.lock().get(group).filter(|known| known.is_fresh(now))?.asked?;
        // The clocks of the nodes are not the same to the last, and one that has just started is not asked yet.
        let slack = limits::CHAT_PARTICIPANTS_SLACK.as_millis() as u64;
        Some(Timestamp::from_millis(asked.millis().saturating_sub(slack)))
    }

    /// All nodes were asked then, and who was online there is noted.
    pub fn set_asked(&self, group: &str, asked: Timestamp) {
        if let Some(known) = self.0.lock().get_mut(group) {
            known.asked = Some(asked);
        }
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
    fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) < limits::CHAT_PARTICIPANTS_FRESH
    }

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
        let mut known = Known { since: Duration::ZERO, users: HashSet::new(), asked: None };
        let all: Vec<u64> = (1..=limits::CHAT_PARTICIPANTS as u64 + 5).collect();
        let (lacking, fit_all) = known.lacks(&all);
        assert_eq!((lacking.len(), lacking[0], fit_all), (limits::CHAT_PARTICIPANTS, 1, false));
        known.users.extend(lacking);
        let (lacking, fit_all) = known.lacks(&all);
        assert!(lacking.is_empty() && !fit_all);
        assert!(known.lacks(&[1, 2]).1);
    }

    /// The other nodes are asked for everybody once in a while, and else for who has come since.
    #[test]
    fn who_has_come_since_is_asked_for_while_the_rest_is_fresh() {
        let (participants, asked) = (Participants::default(), Timestamp::from_millis(1_000_000));
        assert_eq!(participants.asked(Duration::ZERO, "group_1"), None);
        let known = Known { since: Duration::ZERO, users: HashSet::new(), asked: None };
        participants.keep("group_1", Some(known), Vec::new());
        assert_eq!(participants.asked(Duration::ZERO, "group_1"), None, "nobody has answered yet");
        participants.set_asked("group_1", asked);
        let since = asked.millis() - limits::CHAT_PARTICIPANTS_SLACK.as_millis() as u64;
        assert_eq!(participants.asked(Duration::ZERO, "group_1"), Some(Timestamp::from_millis(since)));
        assert_eq!(participants.asked(limits::CHAT_PARTICIPANTS_FRESH, "group_1"), None);
    }
}
