//! What an attachment wants of a channel.

use bytestring::ByteString;

use crate::core::{
    message::{Body, Entry, Message},
    modes::Modes,
};

/// What an attachment wants: kinds of entries by its modes, messages also by their names.
///
/// Lists of names are small (limits: `events_per_subscription`), so a list that is searched from the front
/// beats hashing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub modes: Modes,
    /// Wants messages of its own connection too.
    pub echo: bool,
    /// Wants to know how many use the channel.
    pub occupancy: bool,
    /// Its entries are not written like everybody else's: its protocol handler is asked for each.
    pub is_tailored: bool,
    every_name: bool,
    names: Vec<ByteString>,
}

impl Filter {
    /// Wants what `modes` allow, messages of all names.
    pub fn new(modes: Modes, echo: bool) -> Self {
        Self { modes, echo, every_name: true, ..Self::default() }
    }

    /// Wants messages of other connections, of the names that are added.
    pub fn named() -> Self {
        Self { modes: Modes::SUBSCRIBE | Modes::PUBLISH, ..Self::default() }
    }

    /// Whether it wants anything of `entry`; `is_own`: the entry came by the attachment's connection.
    pub fn accepts(&self, entry: &Entry, is_own: bool) -> bool {
        match &entry.body {
            Body::Messages(messages) => {
                (self.echo || !is_own)
                    && self.modes.has(Modes::SUBSCRIBE)
                    && messages.iter().any(|message| self.wants(message))
            }
            // Clients have to know of their own members, whatever they subscribe to (RTP17a).
            Body::Presence(_) => is_own || self.modes.has(Modes::PRESENCE_SUBSCRIBE),
            Body::Occupancy(_) => self.occupancy,
        }
    }

    /// Whether it wants all of an entry of which it wants something.
    pub fn accepts_all_of(&self, entry: &Entry) -> bool {
        let messages = entry.messages();
        messages.len() <= 1 || self.every_name || messages.iter().all(|message| self.wants(message))
    }

    /// Whether it wants a message of this name.
    pub fn wants(&self, message: &Message) -> bool {
        self.every_name || self.names.contains(&message.name)
    }

    /// Whether it wants messages of all names.
    pub const fn wants_every_name(&self) -> bool {
        self.every_name
    }

    /// The names that it lists.
    pub fn names(&self) -> &[ByteString] {
        &self.names
    }

    /// How many names it lists.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True when it wants messages of no name at all.
    pub fn is_empty(&self) -> bool {
        !self.every_name && self.names.is_empty()
    }

    /// Wants `name` from now on.
    pub fn add(&mut self, name: ByteString) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    /// Wants every name from now on, besides those it lists.
    pub fn add_every_name(&mut self) {
        self.every_name = true;
    }

    /// No longer lists `name`.
    pub fn remove(&mut self, name: &str) {
        self.names.retain(|listed| *listed != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &'static str) -> Message {
        Message { name: name.into(), ..Message::default() }
    }

    #[test]
    fn names_match_exactly() {
        let mut filter = Filter::named();
        assert!(!filter.wants(&message("signal:all")));
        filter.add("signal:a".into());
        filter.add("signal:a".into());
        assert_eq!(filter.len(), 1);
        assert!(filter.wants(&message("signal:a")));
        assert!(!filter.wants(&message("signal:ab")));
        assert!(!filter.wants(&message("signal:all")));
        filter.remove("signal:a");
        assert!(filter.is_empty());
    }

    #[test]
    fn every_name_includes_names_never_listed() {
        let mut filter = Filter::named();
        filter.add_every_name();
        filter.remove("whatever");
        assert!(filter.wants(&message("whatever")));
    }
}
