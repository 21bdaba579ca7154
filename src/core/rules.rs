//! What a kind of channel allows: its names, how many may be in it, what is kept of it.

use std::{ops::RangeInclusive, sync::Arc};

use memchr::memchr;
use regex::Regex;

use crate::{
    core::presence::Member,
    error::Fault,
    ids::{AppId, ChannelName},
    limits,
};

/// What the apps of a server lay down for their channels.
pub trait Namespaces: Send + Sync {
    fn terms(&self, channel: &ChannelName) -> Terms;
}

/// Namespaces of the default app that belong to the older protocols (docs/architecture.md §5). A capability for
/// `*` does not reach these: it has to name them.
const RESERVED: [&str; 4] = ["relay", "chat", "group", "po"];

/// Channels in them that carry what is for one person alone.
const PRIVATE: [&str; 2] = ["chat:u:", "group:u:"];

/// Who reaches a channel from outside of the protocol that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everybody with a capability that matches it.
    Open,
    /// Everybody with a capability that names it or its namespace.
    Named,
    Nobody,
}

impl Reach {
    /// `resource` is the name of a channel, or of its metachannel.
    pub fn of(app: AppId, resource: &str) -> Self {
        let unqualified = resource.strip_prefix('[');
        let unqualified = unqualified.and_then(|rest| rest.split_once(']'));
        let name = unqualified.map_or(resource, |(_, name)| name);
        let namespace = memchr(b':', name.as_bytes()).map(|end| &name[..end]);
        let is_reserved = namespace.is_some_and(|namespace| RESERVED.contains(&namespace));
        if app != AppId::DEFAULT || !is_reserved {
            Self::Open
        } else if PRIVATE.iter().any(|prefix| name.starts_with(prefix)) {
            Self::Nobody
        } else {
            Self::Named
        }
    }
}

/// What is laid down for one channel.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Members that may be present at once.
    pub presence_members: usize,
    /// Members that are always there.
    pub fixtures: Vec<Arc<Member>>,
    pub attributes: Attributes,
}

/// What the rule of a namespace says about its channels (`docs/protocols/ably.md §5.2`); without a rule,
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Its messages are kept for longer than the two minutes that all are.
    pub is_persisted: bool,
    /// Its last message is kept for long.
    pub persists_last: bool,
    /// Messages can be updated, deleted and annotated.
    pub is_mutable: bool,
    /// Messages can go out as push notifications.
    pub is_push_enabled: bool,
    /// For clients that are identified.
    pub identified_only: bool,
    /// For clients that came by TLS.
    pub tls_only: bool,
}

/// The terms of a channel for which no app has set others.
impl Default for Terms {
    fn default() -> Self {
        Self { presence_members: limits::PRESENCE_MEMBERS, fixtures: Vec::new(), attributes: Attributes::default() }
    }
}

/// The same terms for every channel.
impl Namespaces for Terms {
    fn terms(&self, _: &ChannelName) -> Terms {
        self.clone()
    }
}

/// The rules of one kind of channel.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Length of a name in characters (Unicode scalar values).
    length: RangeInclusive<usize>,
    alphabet: Regex,
    /// Connections that may be attached under these rules at once.
    member_cap: usize,
}

impl Rules {
    /// LetShare rooms: 2 to 12 characters out of Han, `A-Z a-z 0-9`, space, `_` and `-`; not trimmed
    /// (`docs/protocols/letshare.md §2.4`).
    #[allow(clippy::expect_used, reason = "cannot fail: the pattern is a constant, and tested")]
    pub fn letshare_room(member_cap: usize) -> Self {
        Self {
            length: 2..=12,
            alphabet: Regex::new(r"\A[\p{Han}A-Za-z0-9 _-]+\z").expect("constant pattern"),
            member_cap,
        }
    }

    /// # Errors
    /// The first rule that `name` breaks: its length, then its characters.
    pub fn check_name(&self, name: &str) -> Result<(), Fault> {
        let length = name.chars().count();
        if length < *self.length.start() {
            return Err(Fault::ChannelNameTooShort { min: *self.length.start() });
        }
        if length > *self.length.end() {
            return Err(Fault::ChannelNameTooLong { max: *self.length.end() });
        }
        if !self.alphabet.is_match(name) {
            return Err(Fault::ChannelNameForbidden);
        }
        Ok(())
    }

    /// Connections that may be attached at once.
    pub const fn cap(&self) -> usize {
        self.member_cap
    }

    /// # Errors
    /// [`Fault::ChannelFull`] when `members` leave no place for one more.
    pub fn check_place(&self, members: usize) -> Result<(), Fault> {
        if members < self.member_cap { Ok(()) } else { Err(Fault::ChannelFull { cap: self.member_cap }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocols/letshare.md §2.4, row by row.
    #[test]
    fn room_names() {
        let rules = Rules::letshare_room(50);
        for good in
            ["ab", "demo1", "A-b_c 9", "  ", "小明", "一二三四五六七八九十十二", "㐀々", "〇〇", "𠀀𠀁", "abcdefghijkl"]
        {
            assert_eq!(rules.check_name(good), Ok(()), "{good:?}");
        }
        for short in ["", "a", "中", "𠀀"] {
            let fault = Fault::ChannelNameTooShort { min: 2 };
            assert_eq!(rules.check_name(short), Err(fault), "{short:?}");
        }
        for long in ["abcdefghijklm", "一二三四五六七八九十十二三"] {
            let fault = Fault::ChannelNameTooLong { max: 12 };
            assert_eq!(rules.check_name(long), Err(fault), "{long:?}");
        }
        for bad in ["ひら", "ＡＢ", "caf\u{e9}", "ab😀", "a:b", "ab\n", "\nab", "a\tb", "a.b", "a/b", "ab\0"] {
            let fault = Fault::ChannelNameForbidden;
            assert_eq!(rules.check_name(bad), Err(fault), "{bad:?}");
        }
    }

    /// docs/architecture.md §5.
    #[test]
    fn reserved_channels() {
        let app = AppId::DEFAULT;
        for named in ["relay:all", "chat:x", "group:1:2", "po:", "[meta]relay:x"] {
            assert_eq!(Reach::of(app, named), Reach::Named, "{named}");
        }
        for private in ["chat:u:7", "group:u:7", "[meta]chat:u:7"] {
            assert_eq!(Reach::of(app, private), Reach::Nobody, "{private}");
        }
        for free in ["relay", "relays:x", "x:relay:y", "[meta]x", "Relay:x", ":relay:x"] {
            assert_eq!(Reach::of(app, free), Reach::Open, "{free}");
        }
        let other = AppId::parse("abc123").expect("an app id");
        assert_eq!(Reach::of(other, "relay:all"), Reach::Open);
    }

    #[test]
    fn the_cap_counts_places() {
        let rules = Rules::letshare_room(2);
        assert_eq!(rules.check_place(1), Ok(()));
        assert_eq!(rules.check_place(2), Err(Fault::ChannelFull { cap: 2 }));
    }
}
