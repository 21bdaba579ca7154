//! The two formats, and values of any type in them.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::surrogates;
use crate::{
    core::frame,
    error::{Fault, reason_at},
    limits,
};

/// What most values take, in bytes.
const ROOM: usize = 256;

/// How one connection or one body is written (`docs/protocols/ably.md §1.4`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    #[default]
    Json,
    Msgpack,
}

impl Format {
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Msgpack => "application/x-msgpack",
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Msgpack => "MessagePack",
        }
    }
}

/// Reads one value. Nesting is bounded in both formats; bytes after a MessagePack value are ignored.
///
/// A type with `#[serde(untagged)]` or `#[serde(flatten)]` takes binary for text when it happens to be
/// UTF-8 (`docs/dependencies.md §0` fact 6).
pub fn decode_value<'de, T: Deserialize<'de>>(format: Format, bytes: &'de [u8]) -> Result<T, Fault> {
    let value = match format {
        // serde_json refuses more than 128 levels by itself.
        Format::Json => match str::from_utf8(bytes) {
            // Once for all of it: otherwise each string is looked at again.
            Ok(text) => serde_json::from_str(text).ok(),
            Err(_) => serde_json::from_slice(bytes).ok(),
        },
        Format::Msgpack => {
            let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
            reader.set_max_depth(limits::MSGPACK_DEPTH);
            T::deserialize(&mut reader).ok()
        }
    };
    value.ok_or_else(|| Fault::BodyUnreadable { format: format.name(), why: why_not::<T>(format, bytes) })
}

/// Reads once more what could not be read, and keeps account of the way: no frame that is good pays for that.
fn why_not<'de, T: Deserialize<'de>>(format: Format, bytes: &'de [u8]) -> Box<str> {
    match format {
        Format::Json => {
            let mut reader = serde_json::Deserializer::from_slice(bytes);
            match serde_path_to_error::deserialize::<_, T>(&mut reader) {
                Err(error) => reason_at(error),
                Ok(_) => "there is more behind the value; allowed: one value".into(),
            }
        }
        Format::Msgpack => {
            let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
            reader.set_max_depth(limits::MSGPACK_DEPTH);
            match serde_path_to_error::deserialize::<_, T>(&mut reader) {
                Err(error) => reason_at(error),
                Ok(_) => "unreadable".into(),
            }
        }
    }
}

/// Reads one value that a client's application had a hand in; half characters are mended.
pub(super) fn decode_lenient<T: DeserializeOwned>(format: Format, bytes: &[u8]) -> Result<T, Fault> {
    decode_value(format, bytes).or_else(|fault| match format {
        Format::Json => {
            let mended = surrogates::mend(bytes).ok_or(fault)?;
            decode_value(format, &mended)
        }
        Format::Msgpack => Err(fault),
    })
}

/// Writes one value: compact JSON, or MessagePack with structs as maps.
pub fn encode_value(format: Format, value: &impl Serialize) -> Bytes {
    let mut bytes = Vec::with_capacity(ROOM);
    write(format, value, &mut bytes);
    bytes.into()
}

/// The beginning of a list of `len` items, at most [`limits::PAGE_ITEMS_MAX`], that is written in pieces.
pub fn begin_list(format: Format, len: usize) -> Bytes {
    match format {
        Format::Json => Bytes::from_static(b"["),
        Format::Msgpack => list_head(len).into(),
    }
}

/// The items of a finished list, as a piece of the one that was begun by [`begin_list`].
pub fn piece_of_list(format: Format, list: &Bytes, len: usize, is_first: bool, is_last: bool) -> Bytes {
    match format {
        Format::Json => {
            let items = list.get(1..list.len().saturating_sub(1)).unwrap_or_default();
            let before: &[u8] = if is_first { b"" } else { b"," };
            let after: &[u8] = if is_last { b"]" } else { b"" };
            [before, items, after].concat().into()
        }
        Format::Msgpack => list.slice(list_head(len).len().min(list.len())..),
    }
}

/// The length of a list in MessagePack, which stands before its items.
fn list_head(len: usize) -> Vec<u8> {
    match len {
        0..16 => vec![0x90 | len as u8],
        _ => [&[0xdc][..], &(len as u16).to_be_bytes()].concat(),
    }
}

/// The complete WebSocket frame with the value; `room` is how many bytes it will take, about.
pub(super) fn encode_frame(format: Format, value: &impl Serialize, room: usize) -> Bytes {
    match format {
        Format::Json => frame::text_of(room, |payload| write(format, value, payload)),
        Format::Msgpack => frame::binary_of(room, |payload| write(format, value, payload)),
    }
}

/// The same with one more field at the end of its map, whose value is encoded already; both have few fields and short names.
pub(super) fn encode_frame_with(format: Format, fields: &impl Serialize, name: &str, value: &[u8]) -> Bytes {
    let mut payload = Vec::with_capacity(ROOM + value.len());
    write(format, fields, &mut payload);
    match format {
        Format::Json => {
            payload.pop();
            payload.extend_from_slice(b",\"");
            payload.extend_from_slice(name.as_bytes());
            payload.extend_from_slice(b"\":");
            payload.extend_from_slice(value);
            payload.push(b'}');
            frame::text(&payload)
        }
        Format::Msgpack => {
            // The first byte of a map of up to 15 fields counts them, that of a string of up to 31 bytes has its length.
            if let Some(fields) = payload.first_mut() {
                *fields += 1;
            }
            payload.push(0xa0 | name.len() as u8);
            payload.extend_from_slice(name.as_bytes());
            payload.extend_from_slice(value);
            frame::binary(&payload)
        }
    }
}

fn write(format: Format, value: &impl Serialize, bytes: &mut Vec<u8>) {
    let is_written = match format {
        Format::Json => serde_json::to_writer(bytes, value).is_ok(),
        Format::Msgpack => {
            let mut writer = rmp_serde::Serializer::new(bytes).with_struct_map();
            value.serialize(&mut writer).is_ok()
        }
    };
    // Cannot fail: texts, numbers and binary are written into memory.
    debug_assert!(is_written);
}
