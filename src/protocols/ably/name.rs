//! The names that clients give to channels: `[` qualifier `?` params `]` base (`docs/protocols/ably.md §5.1`).
//!
//! Pure; who may use a channel is asked elsewhere, by [`Name::resource`].

use std::borrow::Cow;

use bytestring::ByteString;
use memchr::memchr2;
use percent_encoding::percent_decode_str;

use crate::{
    error::{Fault, Found},
    ids::{AppId, ChannelName},
    limits,
};

/// A channel as a client calls it. Two names with one base are two attachments to one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As it was sent: what stands in every frame for it.
    pub whole: ByteString,
    /// The channel, without qualifier and params.
    pub base: ByteString,
    pub qualifier: Option<Qualifier>,
    /// In the order in which they were written; they count as the params of an ATTACH.
    pub params: Vec<(ByteString, ByteString)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Qualifier {
    /// The metachannel: only the server publishes to it.
    Meta,
    /// An expression in base64 that chooses messages, as it was written.
    Filter(ByteString),
}

impl Name {
    /// # Errors
    /// [`Fault::ChannelNameInvalid`]: empty, too long, a bad first character, a line break, or a unknown
    /// qualifier.
    pub fn parse(whole: impl Into<ByteString>) -> Result<Self, Fault> {
        let whole = whole.into();
        let invalid = |rule| Fault::ChannelNameInvalid { found: Found::text(&whole), rule };
        if whole.len() > limits::CHANNEL_NAME_BYTES {
            return Err(invalid("at most 2048 bytes"));
        }
        let Some(rest) = whole.strip_prefix('[') else {
            return match wrong_in(&whole) {
                None => Ok(Self { base: whole.clone(), qualifier: None, params: Vec::new(), whole }),
                Some(rule) => Err(invalid(rule)),
            };
        };
        // `[]x` has an empty qualifier.
        let qualified = rest.split_once(']').filter(|(said, _)| !said.is_empty());
        let (said, base) = qualified
            .ok_or_else(|| invalid("a qualifier in brackets, [meta], [filter=...] or [?params], and then a name"))?;
        if let Some(rule) = wrong_in(base) {
            return Err(invalid(rule));
        }
        let (qualifier, params) = said.split_once('?').unwrap_or((said, ""));
        let qualifier = match qualifier {
            "" => None,
            "meta" => Some(Qualifier::Meta),
            other => {
                let expression = other.strip_prefix("filter=");
                let expression = expression.filter(|expression| !expression.is_empty());
                let rule = "meta, filter= and an expression, or params after ? as the qualifier";
                let expression = expression.ok_or_else(|| invalid(rule))?;
                Some(Qualifier::Filter(expression.into()))
            }
        };
        let params = pairs(params).ok_or_else(|| invalid("params that are percent-encoded UTF-8"))?;
        Ok(Self { base: whole.slice_ref(base), qualifier, params, whole })
    }

    pub fn is_meta(&self) -> bool {
        self.qualifier == Some(Qualifier::Meta)
    }

    /// What capabilities are asked about: the base, but a metachannel is a resource of its own.
    pub fn resource(&self) -> Cow<'_, str> {
        if self.is_meta() { Cow::Owned(format!("[meta]{}", self.base)) } else { Cow::Borrowed(&self.base) }
    }

    /// The channel that the name stands for.
    pub fn channel(&self, app: AppId) -> ChannelName {
        ChannelName::new(app, &self.resource())
    }
}

/// What a name may be instead of this one; none when it is one.
fn wrong_in(base: &str) -> Option<&'static str> {
    let starts_badly = |first: char| matches!(first, ':' | ',' | '[') || first.is_whitespace();
    match base.chars().next() {
        None => Some("at least one character"),
        Some(first) if starts_badly(first) => Some("a first character that is none of : , [ and no white space"),
        Some(_) if has_line_break(base) => Some("no line breaks"),
        Some(_) => None,
    }
}

/// Each publish names its channel: two of the four are looked for only where a text is not ASCII.
fn has_line_break(text: &str) -> bool {
    memchr2(b'\n', b'\r', text.as_bytes()).is_some() || (!text.is_ascii() && text.contains(['\u{2028}', '\u{2029}']))
}

/// `a=1&b=2`, percent-encoded. `delta=vcdiff&rewind=2m` is what Go and Python users write here.
fn pairs(text: &str) -> Option<Vec<(ByteString, ByteString)>> {
    let decode = |text| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(|text| ByteString::from(text.into_owned())).ok()
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn parsed(whole: &str) -> (String, Option<Qualifier>, Vec<(ByteString, ByteString)>) {
        let name = Name::parse(whole).unwrap();
        assert_eq!(&*name.whole, whole);
        (name.base.to_string(), name.qualifier, name.params)
    }

    fn params(list: &[(&str, &str)]) -> Vec<(ByteString, ByteString)> {
        let owned = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
        list.iter().map(owned).collect()
    }

    /// docs/protocols/ably.md §5.1: the forms.
    #[test]
    fn qualified_names() {
        let filter = |text: &'static str| Some(Qualifier::Filter(text.into()));
        let table = [
            ("name", "name", None, params(&[])),
            ("a:b/ü 小明", "a:b/ü 小明", None, params(&[])),
            ("[meta]name", "name", Some(Qualifier::Meta), params(&[])),
            ("[?rewind=1]name", "name", None, params(&[("rewind", "1")])),
            ("[?delta=vcdiff&rewind=2m]x:y", "x:y", None, params(&[("delta", "vcdiff"), ("rewind", "2m")])),
            ("[filter=bmFt+/Q==]n", "n", filter("bmFt+/Q=="), params(&[])),
            ("[filter=bmFt?rewind=1]n", "n", filter("bmFt"), params(&[("rewind", "1")])),
            ("[?a=%2C%3D&b]n]m", "n]m", None, params(&[("a", ",="), ("b", "")])),
        ];
        for (whole, base, qualifier, params) in table {
            assert_eq!(parsed(whole), (base.to_owned(), qualifier, params), "{whole}");
        }
    }

    #[test]
    fn names_that_are_none() {
        let long = "x".repeat(limits::CHANNEL_NAME_BYTES + 1);
        for bad in [
            "",
            ":hell",
            ",a",
            " a",
            "\ta",
            "\u{3000}a",
            "a\nb",
            "a\rb",
            "[meta]",
            "[]x",
            "[",
            "[x",
            "[unknown]x",
            "[?a=1]",
            "[?a=1]:x",
            "[meta][meta]x",
            "[filter=]x",
            "[?a=%ff]x",
            &long,
        ] {
            let refused = Name::parse(bad);
            assert!(matches!(refused, Err(Fault::ChannelNameInvalid { .. })), "{bad:?}: {refused:?}");
        }
    }

    #[test]
    fn a_metachannel_is_a_resource_of_its_own() {
        let resource = |whole| Name::parse(whole).unwrap().resource().into_owned();
        assert_eq!(resource("[meta]a:b"), "[meta]a:b");
        assert_eq!(resource("[meta?rewind=1]a:b"), "[meta]a:b");
        assert_eq!(resource("[?rewind=1]a:b"), "a:b");
        assert_eq!(resource("[filter=eA==]a:b"), "a:b");
    }
}
