//! An entry of a stream as Watermill's Redis library writes it (`docs/protocols/group.md §7`): three fields,
//! the metadata as a MessagePack map of text to text. Pure.

use std::collections::BTreeMap;

use thiserror::Error;

pub const UUID: &str = "_watermill_message_uuid";
pub const METADATA: &str = "metadata";
pub const PAYLOAD: &str = "payload";

/// In the metadata: the instance that wrote the entry, so that it can skip its own.
pub const ORIGIN: &str = "origin";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub uuid: String,
    pub metadata: BTreeMap<String, String>,
    /// JSON.
    pub payload: Vec<u8>,
}

/// Why something is no entry.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EntryError {
    #[error("the entry has no field {0}")]
    Missing(&'static str),
    #[error("the entry's field {UUID} is not text")]
    Uuid,
    #[error("the entry's metadata is not a MessagePack map of text to text: {0}")]
    Metadata(String),
}

impl Entry {
    /// The fields as they are written. Without metadata that field is empty.
    pub fn encode(&self) -> [(&'static str, Vec<u8>); 3] {
        let metadata = if self.metadata.is_empty() {
            Vec::new()
        } else {
            // Cannot fail: a map of texts, written into memory.
            rmp_serde::to_vec(&self.metadata).unwrap_or_default()
        };
        [(UUID, self.uuid.clone().into_bytes()), (METADATA, metadata), (PAYLOAD, self.payload.clone())]
    }

    /// Reads the fields of an entry; fields of other names are ignored, no metadata is empty metadata.
    ///
    /// # Errors
    /// When there is no UUID or payload, or the metadata is something else.
    pub fn decode(fields: Vec<(String, Vec<u8>)>) -> Result<Self, EntryError> {
        let (mut uuid, mut metadata, mut payload) = (None, Vec::new(), None);
        for (name, value) in fields {
            match &*name {
                UUID => uuid = Some(value),
                METADATA => metadata = value,
                PAYLOAD => payload = Some(value),
                _ => {}
            }
        }
        let uuid = uuid.ok_or(EntryError::Missing(UUID))?;
        let metadata = if metadata.is_empty() {
            BTreeMap::new()
        } else {
            // Go writes a map that was never made as nil.
            let map: Result<Option<_>, _> = rmp_serde::from_slice(&metadata);
            let map = map.map_err(|error| EntryError::Metadata(error.to_string()))?;
            map.unwrap_or_default()
        };
        Ok(Self {
            uuid: String::from_utf8(uuid).map_err(|_| EntryError::Uuid)?,
            metadata,
            payload: payload.ok_or(EntryError::Missing(PAYLOAD))?,
        })
    }

    /// The instance that wrote it, if it was one of ours.
    pub fn origin(&self) -> Option<&str> {
        self.metadata.get(ORIGIN).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(fields: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
        let owned = |(name, value): &(&str, &[u8])| ((*name).to_owned(), value.to_vec());
        fields.iter().map(owned).collect()
    }

    /// Byte for byte what `redisstream.DefaultMarshallerUnmarshaller` writes for this message.
    #[test]
    fn golden_entry_with_metadata() {
        let entry = Entry {
            uuid: "3f0c0000-0000-4000-8000-000000000001".into(),
            metadata: [("user_id".to_owned(), "7".to_owned())].into(),
            payload: br#"{"title":"hi"}"#.to_vec(),
        };
        let fields: [(&str, &[u8]); 3] = [
            ("_watermill_message_uuid", b"3f0c0000-0000-4000-8000-000000000001"),
            ("metadata", b"\x81\xa7user_id\xa17"),
            ("payload", br#"{"title":"hi"}"#),
        ];
        let encoded = entry.encode().map(|(name, value)| (name.to_owned(), value));
        assert_eq!(encoded.to_vec(), owned(&fields));
        assert_eq!(Entry::decode(owned(&fields)), Ok(entry));
    }

    #[test]
    fn golden_entry_without_metadata() {
        let entry = Entry { uuid: "u".into(), metadata: BTreeMap::new(), payload: b"{}".to_vec() };
        assert_eq!(entry.encode()[1], ("metadata", Vec::new()));
        for metadata in [&b""[..], b"\x80", b"\xc0"] {
            let fields = [(UUID, &b"u"[..]), (METADATA, metadata), (PAYLOAD, b"{}")];
            assert_eq!(Entry::decode(owned(&fields)), Ok(entry.clone()));
        }
        let fields = [(PAYLOAD, &b"{}"[..]), ("more", b"x"), (UUID, b"u")];
        assert_eq!(Entry::decode(owned(&fields)), Ok(entry));
    }

    #[test]
    fn the_error_says_what_is_wrong() {
        type Fields = &'static [(&'static str, &'static [u8])];
        let cases: [(Fields, &str); 5] = [
            (&[(PAYLOAD, b"{}")], "the entry has no field _watermill_message_uuid"),
            (&[(UUID, b"u")], "the entry has no field payload"),
            (&[(UUID, b"\xff"), (PAYLOAD, b"{}")], "the entry's field _watermill_message_uuid is not text"),
            (
                &[(UUID, b"u"), (METADATA, b"{}"), (PAYLOAD, b"{}")],
                "the entry's metadata is not a MessagePack map of text to text",
            ),
            (
                &[(UUID, b"u"), (METADATA, b"\x81\xa1a"), (PAYLOAD, b"{}")],
                "the entry's metadata is not a MessagePack map of text to text",
            ),
        ];
        for (fields, expected) in cases {
            let error = Entry::decode(owned(fields)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
