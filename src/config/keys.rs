//! One row says everything about a key: its name, what it means, its type, its default, the values that it takes, and
//! whether a new value takes effect without a restart.
//!
//! `section!` makes from its rows the typed settings of a section and the keys of [`Key::all`]. From those come the
//! defaults, the variables, the judgement of single values, what a reload takes over, and `configs/default.yaml`, which
//! a test holds. Values that must agree with each other are judged in `check`.

use super::{TABLES, kind::Kind, yaml::Raw};

/// A key and the values it takes.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As in the files: `section.key`.
    pub name: &'static str,
    pub kind: Kind,
    /// As in a variable: the items of a list are separated by commas.
    pub default: &'static str,
    /// Whether a new value takes effect without a restart.
    pub is_reloadable: bool,
    /// What `configs/default.yaml` says above it, line by line.
    #[cfg(test)]
    pub text: &'static [&'static str],
}

/// Names of keys in the version before, with those of today. They are read until
/// [`OLD_NAMES_GO_IN`](crate::limits::OLD_NAMES_GO_IN).
const RENAMED: [(&str, &str); 1] = [("postoffice.mailbox_letters", "postoffice.mailbox_messages")];

impl Key {
    /// Every key, in the order of `configs/default.yaml`.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        TABLES.iter().copied().flatten()
    }

    pub fn find(name: &str) -> Option<&'static Self> {
        Self::all().find(|key| key.name == name)
    }

    /// The key that had this name in the version before.
    pub fn renamed(name: &str) -> Option<&'static Self> {
        let (_, now) = RENAMED.iter().find(|(before, _)| *before == name)?;
        Self::find(now)
    }

    /// The names of the version before.
    pub fn old_names() -> impl Iterator<Item = &'static str> {
        RENAMED.iter().map(|(before, _)| *before)
    }

    /// The environment variable that overrides it.
    #[cfg(test)]
    pub fn variable(&self) -> String {
        variable(self.name)
    }

    /// Whether its value must never be shown.
    pub fn is_secret(&self) -> bool {
        self.kind.is_secret()
    }

    pub fn default_value(&self) -> Raw {
        Raw::Text(self.default.to_owned())
    }

    /// A key that is accepted without effect while it has this value.
    pub const fn ignored(name: &'static str, only: &'static str, instead: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Ignored(only, instead),
            default: only,
            is_reloadable: false,
            #[cfg(test)]
            text: &[" Accepted from older configuration files and without effect."],
        }
    }
}

/// The environment variable of a name.
pub fn variable(name: &str) -> String {
    format!("LETSHARE_{}", name.replace('.', "_").to_uppercase())
}

/// The typed settings of a section, and its keys. A row: what the key means, `name: type = "default", Kind`, and
/// `reloadable` if it is. The kind is a variant or a constant of [`Kind`].
macro_rules! section {
    (
        $Section:ident as $section:literal;
        $(
            $(#[doc = $text:literal])+
            $field:ident: $type:ty = $default:literal, $kind:ident $(($($bound:expr),+))? $(, $reloadable:ident)?;
        )+
    ) => {
        #[derive(Debug, Clone, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $Section {
            $($(#[doc = $text])+ pub $field: $type,)+
        }

        impl $Section {
            pub(in crate::config) const KEYS: &'static [Key] = &[$(
                Key {
                    name: concat!($section, ".", stringify!($field)),
                    kind: Kind::$kind $(($($bound),+))?,
                    default: $default,
                    is_reloadable: section!(@is $($reloadable)?),
                    #[cfg(test)]
                    text: &[$($text),+],
                },
            )+];

            /// Takes over what takes effect without a restart.
            #[allow(unused_variables, reason = "some sections have nothing of that kind")]
            pub(in crate::config) fn adopt(&mut self, new: &Self) {
                $($(section!(@$reloadable self.$field, new.$field);)?)+
            }
        }
    };
    (@is) => { false };
    (@is reloadable) => { true };
    (@reloadable $old:expr, $new:expr) => { $old.clone_from(&$new) };
}

/// An enum for a setting that takes one of a few names: `Name: Variant = "name", …;`.
macro_rules! choices {
    ($($(#[doc = $about:literal])+ $Choice:ident: $($Variant:ident = $word:literal),+;)+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
        pub enum $Choice {
            $(#[serde(rename = $word)] $Variant,)+
        }

        impl $Choice {
            pub(in crate::config) const WORDS: &'static [&'static str] = &[$($word),+];
        }
    )+};
}

pub(super) use {choices, section};
