//! Which metachannels are open at the nodes of a cluster: what happens at one node is told wherever somebody listens, and nowhere
//! else (`docs/protocols/ably.md §5.10`).
//!
//! Each node tells the others what is open at it before anybody is attached there, when it is not any more, and again with each
//! renewal of its lease: so a node that has just started learns it, and what a dead one has told is void with its lease.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::Mutex;

use crate::ids::{AppId, ChannelName, NodeId};

#[derive(Default)]
pub struct Listening {
    here: Mutex<BTreeSet<ChannelName>>,
    /// With the moment (monotonic) from which on it is not known any more.
    elsewhere: Mutex<HashMap<NodeId, (Duration, Vec<ChannelName>)>>,
}

impl Listening {
    /// A metachannel is open here from now on, or not any more.
    pub(super) fn note(&self, name: &ChannelName, is_open: bool) {
        let mut here = self.here.lock();
        if is_open {
            here.insert(name.clone())
        } else {
            here.remove(name)
        };
    }

    /// The metachannels that are open here.
    pub fn here(&self) -> Vec<ChannelName> {
        self.here.lock().iter().cloned().collect()
    }

    /// What is open at another node, as it has told.
    pub fn learn(&self, node: NodeId, names: Vec<ChannelName>, until: Duration) {
        let mut elsewhere = self.elsewhere.lock();
        if names.is_empty() {
            elsewhere.remove(&node)
        } else {
            elsewhere.insert(node, (until, names))
        };
    }

    pub(super) fn is_elsewhere(&self, name: &ChannelName, now: Duration) -> bool {
        self.elsewhere.lock().values().any(|(until, names)| now < *until && names.contains(name))
    }

    /// The apps that have this metachannel open, at whichever node.
    pub(super) fn apps(&self, metachannel: &str, now: Duration) -> BTreeSet<AppId> {
        let elsewhere = self.elsewhere.lock();
        let others = elsewhere.values().filter(|(until, _)| now < *until).flat_map(|(_, names)| names);
        let here = self.here.lock();
        let named = here.iter().chain(others).filter(|name| name.as_str() == metachannel);
        named.map(ChannelName::app).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_has_told_is_void_when_it_does_not_tell_it_again() {
        let (listening, node) = (Listening::default(), NodeId::from_bytes([1; 8]));
        let [told, other] = ["[meta]a", "[meta]b"].map(ChannelName::from);
        let at = Duration::from_secs;
        listening.learn(node, vec![told.clone()], at(15));
        assert!(listening.is_elsewhere(&told, at(14)) && !listening.is_elsewhere(&other, at(14)));
        assert!(!listening.is_elsewhere(&told, at(15)));
        listening.note(&other, true);
        assert_eq!(listening.apps("[meta]b", at(0)), [AppId::DEFAULT].into());
        assert_eq!(listening.apps("[meta]a", at(15)), BTreeSet::new());
        listening.learn(node, Vec::new(), at(30));
        assert!(!listening.is_elsewhere(&told, at(14)), "it has closed it");
    }
}
