//! The operations that a capability can permit, and sets of them.

use std::{
    fmt,
    ops::{BitAnd, BitOr},
};

use crate::{core::modes::Modes, error::Found};

/// Declares the operations once, sorted by name: the enum, all of them, and what capabilities call each.
macro_rules! operations {
    ($($operation:ident = $name:literal,)*) => {
        /// What can be permitted (`docs/protocols/ably.md §12.5`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Operation {
            $($operation,)*
        }

        impl Operation {
            /// Every operation, sorted by name.
            pub const EVERY: [Self; [$($name),*].len()] = [$(Self::$operation),*];

            /// As capabilities write it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$operation => $name,)*
                }
            }
        }
    };
}

operations! {
    AnnotationPublish = "annotation-publish",
    AnnotationSubscribe = "annotation-subscribe",
    ChannelMetadata = "channel-metadata",
    History = "history",
    MessageDeleteAny = "message-delete-any",
    MessageDeleteOwn = "message-delete-own",
    MessageUpdateAny = "message-update-any",
    MessageUpdateOwn = "message-update-own",
    ObjectPublish = "object-publish",
    ObjectSubscribe = "object-subscribe",
    Presence = "presence",
    PrivilegedHeaders = "privileged-headers",
    Publish = "publish",
    PushAdmin = "push-admin",
    PushSubscribe = "push-subscribe",
    Stats = "stats",
    Subscribe = "subscribe",
}

/// A set of operations.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Operations(u32);

impl Operations {
    pub const NONE: Self = Self(0);
    /// What `*` stands for. It is more than all that are known today, so that `*` stays `*` when it is
    /// written again.
    pub const ALL: Self = Self(u32::MAX);

    /// # Errors
    /// What was found and what is allowed, when the list is empty, names what is unknown, or has `*` beside
    /// others.
    pub(super) fn parse(names: &[String]) -> Result<Self, (String, String)> {
        let mut set = Self::NONE;
        for name in names {
            let known = Operation::EVERY.into_iter().find(|one| one.name() == name);
            match known {
                Some(operation) => set = set | operation.into(),
                None if name == "*" && names.len() == 1 => return Ok(Self::ALL),
                None if name == "*" => {
                    return Err(("\"*\" beside other operations".into(), "\"*\" alone".into()));
                }
                None => {
                    let known = Operation::EVERY.map(Operation::name).join(", ");
                    return Err((format!("the operation {}", Found::text(name)), format!("*, {known}")));
                }
            }
        }
        if set.is_empty() {
            return Err(("an empty list of operations".into(), "a list of at least one".into()));
        }
        Ok(set)
    }

    pub fn has(self, operation: Operation) -> bool {
        !(self & operation.into()).is_empty()
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, sorted; `*` alone for all.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = (self == Self::ALL).then_some("*");
        let each = Operation::EVERY.into_iter();
        let named = each.filter(move |operation| self != Self::ALL && self.has(*operation));
        all.into_iter().chain(named.map(Operation::name))
    }

    /// The channel modes that they permit (`docs/protocols/ably.md §2.4`).
    pub fn modes(self) -> Modes {
        [
            (Operation::Publish, Modes::PUBLISH),
            (Operation::Subscribe, Modes::SUBSCRIBE | Modes::PRESENCE_SUBSCRIBE),
            (Operation::Presence, Modes::PRESENCE),
            (Operation::AnnotationPublish, Modes::ANNOTATION_PUBLISH),
            (Operation::AnnotationSubscribe, Modes::ANNOTATION_SUBSCRIBE),
            (Operation::ObjectSubscribe, Modes::OBJECT_SUBSCRIBE),
            (Operation::ObjectPublish, Modes::OBJECT_PUBLISH),
        ]
        .into_iter()
        .filter(|(operation, _)| self.has(*operation))
        .fold(Modes::NONE, |all, (_, modes)| all | modes)
    }
}

impl From<Operation> for Operations {
    fn from(operation: Operation) -> Self {
        Self(1 << operation as u8)
    }
}

impl BitOr for Operations {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Operations {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
