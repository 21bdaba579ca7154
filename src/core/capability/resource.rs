//! A resource of a capability: the name of a channel, or a pattern of names.

use std::borrow::Borrow;

/// As written. Sorted as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource(Box<str>);

/// What stands in brackets before a name, and the name.
pub(super) type Parts<'a> = (Option<&'a str>, &'a str);

impl Resource {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `channel` is one of its names; a resource covers another one if the text of that is. Between colons `*` stands
    /// for one segment, at the end for one or more; anywhere else it is a character like others
    /// (`docs/protocols/ably.md §12.5`). A pattern that is read as a name gives the right answer: its `*` is then a segment
    /// that only `*` admits, and a last `*` only a last `*`.
    pub fn matches(&self, channel: &str) -> bool {
        let (qualifier, name) = parts(channel);
        let (own_qualifier, pattern) = parts(&self.0);
        admits(own_qualifier, qualifier) && matches(pattern, name)
    }

    /// Whether its first segment is a name, not a pattern.
    pub fn names_namespace(&self) -> bool {
        let (_, pattern) = parts(&self.0);
        pattern.split(':').next() != Some("*")
    }
}

/// Resources are found by their texts.
impl Borrow<str> for Resource {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// `[queue]x` is `x` with the qualifier `queue`.
pub(super) fn parts(text: &str) -> Parts<'_> {
    let qualified = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match qualified {
        Some((qualifier, name)) => (Some(qualifier), name),
        None => (None, text),
    }
}

/// `[*]` is every qualifier, and none as well.
fn admits(own: Option<&str>, other: Option<&str>) -> bool {
    own == Some("*") || own == other
}

fn matches(mut pattern: &str, mut name: &str) -> bool {
    while pattern != "*" {
        match (pattern.split_once(':'), name.split_once(':')) {
            (Some((first, rest)), Some((segment, others))) if first == "*" || first == segment => {
                (pattern, name) = (rest, others);
            }
            (None, None) => return pattern == name,
            _ => return false,
        }
    }
    true
}
