//! The names of objects (features spec RTO14).

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytestring::ByteString;
use sha2::{Digest as _, Sha256};

use crate::{ids::Timestamp, limits};

const ROOT: &str = "root";

/// `root`, or `<map|counter>:<hash>@<ms>`: what it is, a digest of how it was created, and when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(ByteString);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Map,
    Counter,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Counter => "counter",
        }
    }
}

impl ObjectId {
    /// The map that there always is.
    pub const fn root() -> Self {
        Self(ByteString::from_static(ROOT))
    }

    /// None when `text` is not what the id of an object is written as.
    pub fn parse(text: &ByteString) -> Option<Self> {
        if text == ROOT {
            return Some(Self::root());
        }
        let (kind, rest) = text.split_once(':')?;
        let (hash, millis) = rest.split_once('@')?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_hash = (1..=64).contains(&hash.len()) && hash.bytes().all(is_plain);
        let is_millis = (1..=15).contains(&millis.len()) && millis.bytes().all(|byte| byte.is_ascii_digit());
        (matches!(kind, "map" | "counter") && is_hash && is_millis).then(|| Self(text.clone()))
    }

    /// That of an object with this first value, created with this nonce.
    pub fn of(kind: Type, initial_value: &str, nonce: &str, created: Timestamp) -> Self {
        let hash = Sha256::new().chain_update(initial_value).chain_update(":").chain_update(nonce).finalize();
        let hash = BASE64_URL_SAFE_NO_PAD.encode(hash);
        Self(format!("{}:{hash}@{}", kind.name(), created.millis()).into())
    }

    pub fn is_root(&self) -> bool {
        self.0 == ROOT
    }

    pub fn kind(&self) -> Type {
        if self.0.starts_with("counter:") { Type::Counter } else { Type::Map }
    }

    /// When it was created, as its creator says.
    pub fn created(&self) -> Timestamp {
        let millis = self.0.rsplit_once('@').and_then(|(_, millis)| millis.parse().ok());
        Timestamp::from_millis(millis.unwrap_or_default())
    }

    /// Whether it was created about now: an older one may be that of an object that was deleted and is forgotten.
    pub fn is_recent(&self, now: Timestamp) -> bool {
        let allowed = u128::from(self.created().millis().abs_diff(now.millis()));
        allowed <= limits::OBJECTS_GRACE.as_millis()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub const fn as_text(&self) -> &ByteString {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest is that of ably-js' `ObjectId.fromInitialValue`.
    #[test]
    fn ids_read_back_and_other_texts_are_none() {
        let id = ObjectId::of(Type::Counter, r#"{"count":1}"#, "0123456789abcdef", Timestamp::from_millis(1_700));
        assert_eq!(ObjectId::parse(id.as_text()), Some(id.clone()));
        assert_eq!((id.kind(), id.created().millis(), id.is_root()), (Type::Counter, 1_700, false));
        assert_eq!(ObjectId::parse(&"root".into()).map(|id| id.is_root()), Some(true));
        for bad in ["", "Root", "map:", "map:@1", "map:a", "map:a@", "map:a@x", "list:a@1", "map:a b@1", "map:a@1@2"] {
            assert_eq!(ObjectId::parse(&bad.into()), None, "{bad}");
        }
    }
}
