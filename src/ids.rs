//! Newtypes for what must not be mixed up: names, ids, instants.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD};
use bytestring::ByteString;
use memchr::memchr;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> u64 {
        self.0
    }

    /// `2026-11-21T11:48:09Z`: RFC 3339, whole seconds, UTC.
    pub fn rfc3339(self) -> String {
        let seconds = i64::try_from(self.0 / 1_000).unwrap_or(i64::MAX);
        // Out of jiff's range only after the year 9999.
        let instant = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
        instant.to_string()
    }

    /// The inverse, of any offset and fraction. None: it is no moment since 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let instant: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(instant.as_millisecond()).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An app: the tenant that owns keys, channel rules and channels. Six characters of `[A-Za-z0-9_-]`
/// (`docs/protocols/ably.md §0`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId([u8; 6]);

impl AppId {
    /// The app of LetShare and of the older protocols. There is always this one.
    pub const DEFAULT: Self = Self(*b"shared");

    pub fn random() -> Self {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut random = rand::rng();
        Self(std::array::from_fn(|_| ALPHABET[random.random_range(..ALPHABET.len())]))
    }

    /// None when `text` is no app id.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let bytes: [u8; 6] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(is_id).then_some(Self(bytes))
    }

    pub fn as_str(&self) -> &str {
        // Always ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a channel: its app, and the text that clients write. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName {
    text: Arc<str>,
    app: AppId,
}

impl ChannelName {
    pub fn new(app: AppId, text: &str) -> Self {
        let text = text.into();
        Self { text, app }
    }

    pub const fn app(&self) -> AppId {
        self.app
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the first `:`, or all of it: what channel rules are chosen by
    /// (`docs/protocols/ably.md §5.2`).
    pub fn namespace(&self) -> &str {
        memchr(b':', self.text.as_bytes()).map_or(&self.text, |end| &self.text[..end])
    }
}

/// A channel of the default app.
impl From<&str> for ChannelName {
    fn from(name: &str) -> Self {
        Self::new(AppId::DEFAULT, name)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Who a client says it is, as its credentials allow. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(ByteString);

impl ClientId {
    /// None when `text` is empty or the wildcard `*`, which names nobody.
    pub fn new(text: impl Into<ByteString>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty() && text != "*").then_some(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One transport of a connection, in this process. A client that comes back keeps its
/// [`ConnectionId`] and gets another one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// One that was never given before.
    pub fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }

    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Names one connection, through all its transports: 72 random bits, so it cannot be guessed and need not be coordinated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId([u8; 9]);

impl ConnectionId {
    pub fn random() -> Self {
        Self(rand::rng().random())
    }

    pub const fn from_bytes(bytes: [u8; 9]) -> Self {
        Self(bytes)
    }

    pub const fn to_bytes(self) -> [u8; 9] {
        self.0
    }

    /// How it is written: base64url.
    pub fn text(self) -> [u8; 12] {
        let mut text = [0; 12];
        // Cannot fail: nine bytes are twelve characters.
        let length = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text);
        debug_assert_eq!(length, Ok(12));
        text
    }

    /// None when `text` is not what [`ConnectionId`] is written as.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one server of a cluster, from its start to its end: drawn at each start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 8]);

impl NodeId {
    pub fn random() -> Self {
        Self(rand::rng().random())
    }

    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whoever is counted as one: an IPv4 address, or the /64 that an IPv6 host can pick addresses from. Every limit and every
/// ban by address counts these, or whoever has IPv6 has 2^64 of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
            v4 => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_rfc_3339_in_utc() {
        let shown = |millis| Timestamp::from_millis(millis).rfc3339();
        assert_eq!(shown(0), "1970-01-01T00:00:00Z");
        assert_eq!(shown(1_704_067_200_999), "2024-01-01T00:00:00Z");
        assert_eq!(shown(u64::MAX).get(..4), Some("9999"));
    }
}
