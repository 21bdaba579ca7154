//! What an attachment wants of a channel.

mod expression;

use std::sync::Arc;

use bytestring::ByteString;

use crate::core::{
    message::{Body, Entry, Summarised},
    modes::Modes,
};

pub use expression::{Expression, Expressions};

/// What an attachment wants: kinds of entries by its modes, messages also by their names, or by an expression.
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
    /// Wants messages that have grown by an append as a whole.
    pub full_appends: bool,
    /// Wants only the messages that it chooses.
    pub expression: Option<Arc<Expression>>,
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

    /// Whether who has published it gets it with the echo only. Of presence everybody gets their own.
    pub const fn is_echo(body: &Body) -> bool {
        matches!(body, Body::Messages(_) | Body::Operation(_) | Body::Annotations(_) | Body::Objects(_))
    }

    /// Whether it wants anything of `entry`; `is_own`: the entry came by the attachment's connection.
    pub fn accepts(&self, entry: &Entry, is_own: bool) -> bool {
        if is_own && !self.echo && Self::is_echo(&entry.body) {
            return false;
        }
        match &entry.body {
            Body::Messages(_) | Body::Operation(_) => {
                self.modes.has(Modes::SUBSCRIBE) && (0..entry.len()).any(|index| self.wants(entry, index))
            }
            // Clients have to know of their own members, whatever they subscribe to (RTP17a).
            Body::Presence(_) => is_own || self.modes.has(Modes::PRESENCE_SUBSCRIBE),
            Body::Occupancy(_) => self.occupancy,
            Body::Objects(_) => self.modes.has(Modes::OBJECT_SUBSCRIBE),
            Body::Annotations(_) => self.modes.has(Modes::ANNOTATION_SUBSCRIBE),
            Body::Summary(summarised) => self.modes.has(Modes::SUBSCRIBE) && self.wants_summary(summarised),
        }
    }

    /// Who wants messages of some names wants the summaries of those; an expression chooses none.
    fn wants_summary(&self, summarised: &Summarised) -> bool {
        self.expression.is_none() && (self.every_name || self.names.contains(&summarised.name))
    }

    /// Whether it wants all of an entry of which it wants something.
    #[inline]
    pub fn accepts_all_of(&self, entry: &Entry) -> bool {
        let count = entry.messages().len();
        let wants_all = self.every_name && self.expression.is_none();
        count <= 1 || wants_all || (0..count).all(|index| self.wants(entry, index))
    }

    /// Whether it wants one of the messages of an entry.
    pub fn wants(&self, entry: &Entry, index: usize) -> bool {
        let has_name = self.every_name || self.wants_name(entry, index);
        has_name && self.expression.as_ref().is_none_or(|expression| expression.chooses(entry, index))
    }

    fn wants_name(&self, entry: &Entry, index: usize) -> bool {
        entry.subjects().get(index).is_some_and(|message| self.names.contains(&message.name))
    }

    /// The part of an entry that it wants, if that is not all: asked at each delivery, and nearly always that is all.
    #[inline]
    pub fn part_of(&self, entry: &Entry) -> Option<Entry> {
        (!self.accepts_all_of(entry)).then(|| entry.only(|index| self.wants(entry, index)))
    }

    /// Whether an append has to come as the whole message, since it does not get all that came before it.
    pub const fn wants_wholes(&self) -> bool {
        self.full_appends || !self.echo || !self.every_name || self.expression.is_some()
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

    use crate::{
        core::{
            message::{EntryId, Message},
            serial::{Epoch, Serial},
        },
        ids::{AppId, ChannelName, Timestamp},
    };

    fn wants(filter: &Filter, name: &'static str) -> bool {
        let message = Message { name: name.into(), ..Message::default() };
        let channel = ChannelName::new(AppId::random(), "x");
        let body = Body::Messages(vec![message]);
        let serial = Serial::at(Epoch::new(1), (1, 1));
        let entry = Entry::new(channel, serial, Timestamp::from_millis(0), None, EntryId::Serial, body);
        filter.wants(&entry, 0)
    }

    #[test]
    fn names_match_exactly() {
        let mut filter = Filter::named();
        assert!(!wants(&filter, "signal:all"));
        filter.add("signal:a".into());
        filter.add("signal:a".into());
        assert_eq!(filter.len(), 1);
        assert!(wants(&filter, "signal:a"));
        assert!(!wants(&filter, "signal:ab"));
        assert!(!wants(&filter, "signal:all"));
        filter.remove("signal:a");
        assert!(filter.is_empty());
    }

    #[test]
    fn every_name_includes_names_never_listed() {
        let mut filter = Filter::named();
        filter.add_every_name();
        filter.remove("whatever");
        assert!(wants(&filter, "whatever"));
    }
}
