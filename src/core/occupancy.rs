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
        self.each(modes, |count| *count += 1);
    }

    /// Counts one attachment less; it was counted with these modes.
    pub fn remove(&mut self, modes: Modes) {
        self.each(modes, |count| *count -= 1);
    }

    /// The sum of two that count different attachments and members.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            publishers: self.publishers + other.publishers,
            subscribers: self.subscribers + other.subscribers,
            presence_connections: self.presence_connections + other.presence_connections,
            presence_members: self.presence_members + other.presence_members,
            presence_subscribers: self.presence_subscribers + other.presence_subscribers,
            object_publishers: self.object_publishers + other.object_publishers,
            object_subscribers: self.object_subscribers + other.object_subscribers,
        }
    }

    fn each(&mut self, modes: Modes, change: impl Fn(&mut usize)) {
        change(&mut self.connections);
        for (mode, count) in [
            (Modes::PUBLISH, &mut self.publishers),
            (Modes::SUBSCRIBE, &mut self.subscribers),
            (Modes::PRESENCE, &mut self.presence_connections),
            (Modes::PRESENCE_SUBSCRIBE, &mut self.presence_subscribers),
            (Modes::OBJECT_PUBLISH, &mut self.object_publishers),
            (Modes::OBJECT_SUBSCRIBE, &mut self.object_subscribers),
        ] {
            if modes.has(mode) {
                change(count);
            }
        }
    }
}
