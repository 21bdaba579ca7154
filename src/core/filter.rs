//! Which messages of a channel an attachment wants, by the message's name.

use bytestring::ByteString;

/// A set of message names, or all. Sets are small (limits: `events_per_subscription`), so a list
/// that is searched from the front beats hashing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    everything: bool,
    names: Vec<ByteString>,
}

impl Filter {
    /// Wants every message, named or not.
    pub fn everything() -> Self {
        Self {
            everything: true,
            names: Vec::new(),
        }
    }

    pub fn accepts(&self, name: &str) -> bool {
        self.everything || self.names.iter().any(|wanted| *wanted == name)
    }

    /// How many names it lists.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True when it wants no message at all.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.names.is_empty()
    }

    /// Wants `name` from now on.
    pub fn add(&mut self, name: ByteString) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    /// Wants everything from now on, besides the names it lists.
    pub fn add_everything(&mut self) {
        self.everything = true;
    }

    /// No longer lists `name`.
    pub fn remove(&mut self, name: &str) {
        self.names.retain(|listed| *listed != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_exactly() {
        let mut filter = Filter::default();
        assert!(!filter.accepts("signal:all"));
        filter.add("signal:a".into());
        filter.add("signal:a".into());
        assert_eq!(filter.len(), 1);
        assert!(filter.accepts("signal:a"));
        assert!(!filter.accepts("signal:ab"));
        assert!(!filter.accepts("signal:all"));
        filter.remove("signal:a");
        assert!(filter.is_empty());
    }

    #[test]
    fn everything_includes_names_never_listed() {
        assert!(Filter::everything().accepts("whatever"));
        let mut filter = Filter::default();
        filter.add_everything();
        filter.remove("whatever");
        assert!(filter.accepts("whatever"));
    }
}
