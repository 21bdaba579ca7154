//! Rooms, groups and the channels that they are (`docs/protocols/chat.md §4, §7`). Pure.
//!
//! | channel | who |
//! |---|---|
//! | `chat:u:<user>` | one user; nobody from outside reaches it |
//! | `chat:all` | everybody online |
//! | `chat:g:<group>` | the members of a group |
//! | `chat:r:<room>` | whoever has joined a room |

use crate::{ids::ChannelName, limits};

pub const EVERYBODY: &str = "chat:all";
const USER: &str = "chat:u:";
const GROUP: &str = "chat:g:";
const ROOM: &str = "chat:r:";
pub const PRIVATE_ROOM: &str = "private_";
const GROUP_ID: &str = "group_";

pub fn user_channel(user: u64) -> ChannelName {
    format!("{USER}{user}").as_str().into()
}

pub fn group_channel(group: &str) -> ChannelName {
    format!("{GROUP}{group}").as_str().into()
}

pub fn room_channel(room: &str) -> ChannelName {
    format!("{ROOM}{room}").as_str().into()
}

/// Whose a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    Everybody,
    User,
    Group(&'a str),
    Room(&'a str),
}

impl<'a> Whose<'a> {
    /// None for a channel of another protocol.
    pub fn of(channel: &'a ChannelName) -> Option<Self> {
        let name = channel.as_str();
        if name == EVERYBODY {
            Some(Self::Everybody)
        } else if let Some(group) = name.strip_prefix(GROUP) {
            Some(Self::Group(group))
        } else if let Some(room) = name.strip_prefix(ROOM) {
            Some(Self::Room(room))
        } else {
            name.starts_with(USER).then_some(Self::User)
        }
    }
}

/// `private_{smaller}_{larger}`, in numeric order (§4).
pub fn private_room(one: u64, other: u64) -> String {
    format!("{PRIVATE_ROOM}{}_{}", one.min(other), one.max(other))
}

/// What a `room_id` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room<'a> {
    /// The conversation of two users, the smaller first.
    Private(u64, u64),
    Group(&'a str),
    /// For whoever joins it.
    Open(&'a str),
}

impl<'a> Room<'a> {
    /// None when nothing can have this id.
    pub fn parse(id: &'a str) -> Option<Self> {
        if let Some(users) = id.strip_prefix(PRIVATE_ROOM) {
            let (smaller, larger) = users.split_once('_')?;
            let (smaller, larger) = (smaller.parse().ok()?, larger.parse().ok()?);
            // As it is written by us only: `private_9_7` and `private_07_9` are nobody's.
            return (private_room(smaller, larger) == id && smaller <= larger && smaller > 0)
                .then_some(Self::Private(smaller, larger));
        }
        if id.starts_with(GROUP_ID) {
            return is_group_id(id).then_some(Self::Group(id));
        }
        let is_open = !id.is_empty() && id.len() <= limits::CHAT_ROOM_ID_BYTES && !id.chars().any(char::is_control);
        is_open.then_some(Self::Open(id))
    }
}

/// Why a room that nobody can join cannot have this id, which is none of an open room.
pub fn why_not_open(id: &str) -> String {
    let limit = limits::CHAT_ROOM_ID_BYTES;
    if id.starts_with(PRIVATE_ROOM) {
        format!("room_id begins with {PRIVATE_ROOM}: messages of private rooms come to their two users without joining")
    } else if id.starts_with(GROUP_ID) {
        format!("room_id begins with {GROUP_ID}: messages of groups come to their members without joining")
    } else if id.len() > limit {
        format!("room_id is longer than {limit} bytes")
    } else {
        "room_id has a control character".to_owned()
    }
}

/// `^group_[0-9]{1,20}(_[0-9]{1,20})?$` (§7).
pub fn is_group_id(id: &str) -> bool {
    let is_number = |text: &str| (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    id.strip_prefix(GROUP_ID).is_some_and(|rest| match rest.split_once('_') {
        None => is_number(rest),
        Some((made, creator)) => is_number(made) && is_number(creator),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_rooms_are_in_numeric_order() {
        assert_eq!(private_room(10, 9), "private_9_10");
        assert_eq!(private_room(42, 7), "private_7_42");
        assert_eq!(private_room(7, 7), "private_7_7");
    }

    #[test]
    fn room_ids() {
        for (id, expected) in [
            ("private_9_10", Some(Room::Private(9, 10))),
            ("private_7_7", Some(Room::Private(7, 7))),
            ("private_10_9", None),
            ("private_07_9", None),
            ("private_0_9", None),
            ("private_", None),
            ("private_1_2_3", None),
            ("group_17", Some(Room::Group("group_17"))),
            ("group_x", None),
            ("room_1", Some(Room::Open("room_1"))),
            ("lobby", Some(Room::Open("lobby"))),
            ("", None),
            ("a\nb", None),
        ] {
            assert_eq!(Room::parse(id), expected, "{id}");
        }
        assert_eq!(Room::parse(&"x".repeat(limits::CHAT_ROOM_ID_BYTES + 1)), None);
    }

    #[test]
    fn group_ids() {
        for good in [
            "group_1",
            "group_1720000000000000000",
            "group_1720000000000000000_7",
            "group_12345678901234567890_12345678901234567890",
        ] {
            assert!(is_group_id(good), "{good}");
        }
        for bad in [
            "abc",
            "group_",
            "group_x",
            "group_1_",
            "group__1",
            "group_1_2_3",
            "group_123456789012345678901",
            "Group_1",
            " group_1",
            "group_1 ",
            "group_１",
        ] {
            assert!(!is_group_id(bad), "{bad}");
        }
    }

    #[test]
    fn channels() {
        for (channel, expected) in [
            (user_channel(7), Some(Whose::User)),
            (group_channel("group_1"), Some(Whose::Group("group_1"))),
            (room_channel("room_1"), Some(Whose::Room("room_1"))),
            (EVERYBODY.into(), Some(Whose::Everybody)),
            ("relay:all".into(), None),
        ] {
            assert_eq!(Whose::of(&channel), expected, "{channel}");
        }
        assert_eq!(user_channel(7).as_str(), "chat:u:7");
    }
}
