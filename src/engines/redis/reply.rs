//! Reads what Redis answers. Everything here gives none for what it does not know.

use std::{fmt, str::FromStr, time::Duration};

use bytes::Bytes;

use super::{Read, Value, slots::SlotRange};

/// The place of an entry in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds since the Unix epoch, by the clock of the server.
    pub millis: u64,
    pub sequence: u64,
}

impl EntryId {
    /// Before all entries.
    pub const ZERO: Self = Self { millis: 0, sequence: 0 };
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

impl FromStr for EntryId {
    type Err = NoEntryId;

    fn from_str(text: &str) -> Result<Self, NoEntryId> {
        let (millis, sequence) = text.split_once('-').ok_or(NoEntryId)?;
        Ok(Self { millis: millis.parse().map_err(|_| NoEntryId)?, sequence: sequence.parse().map_err(|_| NoEntryId)? })
    }
}

/// A text that is not two numbers with a dash between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEntryId;

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: EntryId,
    /// In the order in which they were written. What is no UTF-8 in a name is replaced.
    pub fields: Vec<(String, Vec<u8>)>,
}

pub struct Consumer {
    pub name: String,
    pub pending: u64,
    pub idle: Duration,
}

pub fn ids(values: Vec<Value>) -> Option<Vec<EntryId>> {
    let id = |value| text(value)?.parse().ok();
    values.into_iter().map(id).collect()
}

/// Of XRANGE and its like. An entry that was deleted since is nil, and left out.
pub fn entries(value: Value) -> Option<Vec<Entry>> {
    let values = items(value)?.into_iter();
    let values = values.filter(|value| !matches!(value, Value::Nil));
    values.map(entry).collect()
}

/// Of XREAD and XREADGROUP.
pub fn read(value: Value) -> Option<Read> {
    let stream = |(name, value)| Some((text(name)?, entries(value)?));
    pairs(value)?.into_iter().map(stream).collect()
}

/// Of XAUTOCLAIM: where to go on, the entries, what was deleted.
pub fn claimed(value: Value) -> Option<Vec<Entry>> {
    entries(items(value)?.into_iter().nth(1)?)
}

/// Of XINFO CONSUMERS.
pub fn consumers(value: Value) -> Option<Vec<Consumer>> {
    let consumer = |value| {
        let (mut name, mut pending, mut idle) = (None, None, None);
        for (key, value) in pairs(value)? {
            match &*text(key)? {
                "name" => name = text(value),
                "pending" => pending = text(value)?.parse().ok(),
                "idle" => idle = text(value)?.parse().ok().map(Duration::from_millis),
                _ => {}
            }
        }
        Some(Consumer { name: name?, pending: pending?, idle: idle? })
    };
    items(value)?.into_iter().map(consumer).collect()
}

/// Of CLUSTER SLOTS. Who has no address that can be used is left out.
pub fn slots(value: Value) -> Option<Vec<SlotRange>> {
    let server = |value| {
        let mut parts = items(value)?.into_iter();
        let (host, port) = (text(parts.next()?)?, text(parts.next()?)?.parse().ok()?);
        (host != "?").then(|| (Some(host).filter(|host| !host.is_empty()), port))
    };
    let range = |value| {
        let mut parts = items(value)?.into_iter();
        let (first, last) = (text(parts.next()?)?.parse().ok()?, text(parts.next()?)?.parse().ok()?);
        Some(SlotRange { first, last, servers: parts.filter_map(server).collect() })
    };
    items(value)?.into_iter().map(range).collect()
}

/// Of scripts: each gives an array, or one value.
pub fn texts(values: Vec<Value>) -> Option<Vec<Vec<String>>> {
    let reply = |value| match value {
        Value::Array(values) => values.into_iter().map(text).collect(),
        value => Some(vec![text(value)?]),
    };
    values.into_iter().map(reply).collect()
}

/// Of a script: an array of values, numbers as text.
pub fn all_bytes(value: Value) -> Option<Vec<Bytes>> {
    let bytes = |value| match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        value => Some(text(value)?.into()),
    };
    items(value)?.into_iter().map(bytes).collect()
}

fn entry(value: Value) -> Option<Entry> {
    let mut parts = items(value)?.into_iter();
    let id = text(parts.next()?)?.parse().ok()?;
    let field = |(name, value)| match value {
        Value::BulkString(bytes) => Some((text(name)?, bytes)),
        value => Some((text(name)?, text(value)?.into_bytes())),
    };
    let fields: Option<_> = pairs(parts.next()?)?.into_iter().map(field).collect();
    Some(Entry { id, fields: fields? })
}

fn items(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

/// Names with their values.
pub fn settings(value: Value) -> Option<Vec<(String, String)>> {
    pairs(value)?.into_iter().map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// `[[k, v], …]`, or `[k, v, …]`, or a map.
fn pairs(value: Value) -> Option<Vec<(Value, Value)>> {
    if let Value::Map(pairs) = value {
        return Some(pairs);
    }
    let mut values = items(value)?.into_iter();
    let mut pairs = Vec::new();
    while let Some(value) = values.next() {
        match value {
            Value::Array(pair) => {
                let [key, value] = <[Value; 2]>::try_from(pair).ok()?;
                pairs.push((key, value));
            }
            key => pairs.push((key, values.next()?)),
        }
    }
    Some(pairs)
}

pub fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::SimpleString(text) => Some(text),
        Value::Okay => Some("OK".to_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::Nil => Some(String::new()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry_value(id: &str) -> Value {
        let fields = vec![bulk("name"), Value::BulkString(b"\xff".to_vec())];
        Value::Array(vec![bulk(id), Value::Array(fields)])
    }

    fn entry_of(id: EntryId) -> Entry {
        Entry { id, fields: vec![("name".to_owned(), b"\xff".to_vec())] }
    }

    const ID: EntryId = EntryId { millis: 1_760_000_000_000, sequence: 3 };

    #[test]
    fn ids_are_text_and_sort_as_numbers() {
        assert_eq!(ID.to_string(), "1760000000000-3");
        assert_eq!("1760000000000-3".parse(), Ok(ID));
        for text in ["", "5", "5-", "-5", "a-1", "1-2-3", "99999999999999999999-0"] {
            assert_eq!(text.parse::<EntryId>(), Err(NoEntryId), "{text}");
        }
        let later = EntryId { sequence: 20, ..ID };
        assert!(EntryId::ZERO < ID && ID < later);
    }

    /// As the two versions of the protocol give it, and nothing when nothing came in time.
    #[test]
    fn what_was_read_in_both_versions_of_the_protocol() {
        let entries = || Value::Array(vec![entry_value("1760000000000-3")]);
        let expected = Some(vec![("s".to_owned(), vec![entry_of(ID)])]);
        let nested = Value::Array(vec![Value::Array(vec![bulk("s"), entries()])]);
        assert_eq!(read(nested), expected);
        assert_eq!(read(Value::Map(vec![(bulk("s"), entries())])), expected);
        assert_eq!(read(Value::Nil), Some(Vec::new()));
        assert_eq!(read(Value::Int(1)), None);
        assert_eq!(read(Value::Array(vec![bulk("s")])), None);
    }

    /// Before Redis 7 an entry that was deleted is claimed as nil.
    #[test]
    fn deleted_entries_are_not_claimed() {
        let entries = vec![Value::Nil, entry_value("1760000000000-3")];
        let claimed_value = Value::Array(vec![bulk("0-0"), Value::Array(entries)]);
        assert_eq!(claimed(claimed_value), Some(vec![entry_of(ID)]));
        assert_eq!(claimed(Value::Array(vec![bulk("0-0")])), None);
    }

    #[test]
    fn answers_of_scripts_are_texts() {
        let replies = vec![Value::Array(vec![Value::Int(1), Value::Nil, bulk("a")]), Value::Okay];
        let expected = [vec!["1", "", "a"], vec!["OK"]];
        assert_eq!(texts(replies).unwrap(), expected);
        assert_eq!(texts(vec![Value::Double(1.5)]), None);
    }
}
