//! How many use a channel, and for what (`docs/protocols/ably.md §5.9`).

use crate::core::modes::Modes;

/// The counts of one channel at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    pub connections: usize,
    pub publishers: usize,
    pub subscribers: usize,
    /// Attachments that may be present.
    pub presence_connections: usize,
    pub presence_members: usize,
    pub presence_subscribers: usize,
    pub object_publishers: usize,
    pub object_subscribers: usize,
}

impl Occupancy {
    /// The counts with the names that they have on the wire.
    pub const fn named(&self) -> [(&'static str, usize); 8] {
        [
            ("connections", self.connections),
            ("publishers", self.publishers),
            ("subscribers", self.subscribers),
            ("presenceConnections", self.presence_connections),
            ("presenceMembers", self.presence_members),
            ("presenceSubscribers", self.presence_subscribers),
            ("objectPublishers", self.object_publishers),
            ("objectSubscribers", self.object_subscribers),
        ]
    }

    /// Counts one attachment.
    pub fn add(&mut self, modes: Modes) {
        let has = |mode| usize::from(modes.has(mode));
        self.connections += 1;
        self.publishers += has(Modes::PUBLISH);
        self.subscribers += has(Modes::SUBSCRIBE);
        self.presence_connections += has(Modes::PRESENCE);
        self.presence_subscribers += has(Modes::PRESENCE_SUBSCRIBE);
        self.object_publishers += has(Modes::OBJECT_PUBLISH);
        self.object_subscribers += has(Modes::OBJECT_SUBSCRIBE);
    }
}
