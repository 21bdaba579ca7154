//! How many relay connections of this server are in which group.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::{ids::ChannelName, older::relay::target::EVERYBODY};

/// Connections by channel. One lock: it is taken when somebody comes or goes, and once for each push.
#[derive(Debug, Default)]
pub struct Groups(Mutex<HashMap<ChannelName, usize>>);

/// The counts of all groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    pub connections: usize,
    pub identified: usize,
    pub users: usize,
}

impl Groups {
    /// Counts one more; how many there are now.
    pub fn enter(&self, channel: &ChannelName) -> usize {
        let mut groups = self.0.lock();
        let count = groups.entry(channel.clone()).or_default();
        *count += 1;
        *count
    }

    pub fn leave(&self, channel: &ChannelName) {
        let mut groups = self.0.lock();
        if let Some(count) = groups.get_mut(channel) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                groups.remove(channel);
            }
        }
    }

    pub fn count(&self, channel: &ChannelName) -> usize {
        self.0.lock().get(channel).copied().unwrap_or_default()
    }

    pub fn totals(&self) -> Totals {
        let groups = self.0.lock();
        let connections = groups.get(&EVERYBODY.into()).copied().unwrap_or_default();
        let users = groups.keys().filter(|name| name.as_str() != EVERYBODY);
        let identified = users.clone().filter_map(|name| groups.get(name)).sum();
        Totals { connections, identified, users: users.count() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_is_not_counted_any_more() {
        let groups = Groups::default();
        let (all, user) = (ChannelName::from(EVERYBODY), ChannelName::from("relay:u:a"));
        for _ in 0..3 {
            groups.enter(&all);
        }
        assert_eq!(groups.enter(&user), 1);
        assert_eq!(groups.enter(&user), 2);
        let totals = Totals { connections: 3, identified: 2, users: 1 };
        assert_eq!(groups.totals(), totals);
        groups.leave(&user);
        groups.leave(&user);
        groups.leave(&user);
        assert_eq!(groups.count(&user), 0);
        assert_eq!(groups.totals().users, 0);
    }
}
