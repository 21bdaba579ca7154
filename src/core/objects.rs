//! The objects of a channel: maps and counters that all clients see alike (`docs/protocols/ably.md §10`).
//!
//! Object operations are entries of the channel's log. What the objects are follows from them, by the rules that clients have
//! as well ([`object`]); [`pool`] has all objects of one channel.

mod id;
mod object;
pub mod path;
mod pool;
mod snapshot;

use std::hash::{Hash as _, Hasher};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{
    core::message::{Extras, size_of_identity},
    error::Fault,
    ids::ClientId,
    limits,
};

pub use {
    id::{ObjectId, Type},
    object::{Head, MapEntry, Object, Shape},
    pool::{Changes, Kept, Objects, Row},
    snapshot::{ObjectsStart, Part, Snapshot},
};

/// Where operations get their serials, as clients know it: one log orders all of a channel, so there is one site
/// (`docs/protocols/ably.md §10.5`).
pub const SITE_CODE: &str = "log";

/// What an entry of a map holds (features spec OD2).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Object(ObjectId),
    Boolean(bool),
    Number(f64),
    Text(ByteString),
    Binary(Bytes),
    /// The text of a JSON object or list.
    Json(ByteString),
}

impl Value {
    /// As clients count it (features spec OD3).
    pub fn size(&self) -> usize {
        match self {
            Self::Object(_) => 0,
            Self::Boolean(_) => 1,
            Self::Number(_) => 8,
            Self::Text(text) | Self::Json(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Bytes that it keeps beside itself.
    fn cost(&self) -> usize {
        if let Self::Object(id) = self { id.as_str().len() } else { self.size() }
    }

    fn digest(&self, hash: &mut impl Hasher) {
        match self {
            Self::Object(id) => (0u8, id).hash(hash),
            Self::Boolean(flag) => (1u8, flag).hash(hash),
            Self::Number(number) => (2u8, number.to_bits()).hash(hash),
            Self::Text(text) => (3u8, text).hash(hash),
            Self::Binary(bytes) => (4u8, bytes).hash(hash),
            Self::Json(text) => (5u8, text).hash(hash),
        }
    }
}

/// What is done to an object (features spec OOP2).
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    CreateMap(Vec<(ByteString, Value)>),
    Set(ByteString, Value),
    Remove(ByteString),
    Clear,
    /// With its first value, if it has one.
    CreateCounter(Option<f64>),
    Increment(f64),
    /// By the server only.
    Delete,
}

impl Action {
    /// What it can be done to; none: to both.
    pub const fn fits(&self) -> Option<Type> {
        match self {
            Self::CreateMap(_) | Self::Set(..) | Self::Remove(_) | Self::Clear => Some(Type::Map),
            Self::CreateCounter(_) | Self::Increment(_) => Some(Type::Counter),
            Self::Delete => None,
        }
    }

    /// The entries of a map that it sets.
    pub fn sets(&self) -> impl Iterator<Item = (&ByteString, &Value)> {
        let (one, many) = match self {
            Self::Set(key, value) => (Some((key, value)), &[][..]),
            Self::CreateMap(entries) => (None, &entries[..]),
            _ => (None, &[][..]),
        };
        one.into_iter().chain(many.iter().map(|(key, value)| (key, value)))
    }

    fn key(&self) -> Option<&ByteString> {
        if let Self::Remove(key) = self { Some(key) } else { None }
    }
}

/// One operation on one object. Several of an entry are carried out one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectOperation {
    pub object: ObjectId,
    pub action: Action,
    pub client_id: Option<ClientId>,
    pub extras: Option<Box<Extras>>,
}

impl ObjectOperation {
    pub const fn new(object: ObjectId, action: Action) -> Self {
        Self { object, action, client_id: None, extras: None }
    }

    /// As clients count it (features spec OM3).
    pub fn size(&self) -> usize {
        let keys = self.action.key().map_or(0, |key| key.len());
        let number = match self.action {
            Action::CreateCounter(Some(_)) | Action::Increment(_) => 8,
            _ => 0,
        };
        let sets: usize = self.action.sets().map(|(key, value)| key.len() + value.size()).sum();
        size_of_identity(self.client_id.as_ref(), self.extras.as_deref()) + keys + number + sets
    }

    /// What keeping it costs in memory, in bytes.
    pub(super) fn cost(&self) -> usize {
        let sets: usize = self.action.sets().map(|(_, value)| limits::OBJECT_ENTRY_COST + value.cost()).sum();
        size_of::<Self>() + self.object.as_str().len() + self.size() + sets
    }

    /// What tells it from another that came with the same number.
    pub(super) fn digest(&self, hash: &mut impl Hasher) {
        self.object.hash(hash);
        for (key, value) in self.action.sets() {
            key.hash(hash);
            value.digest(hash);
        }
        match &self.action {
            Action::CreateMap(_) => hash.write_u8(0),
            Action::Set(..) => hash.write_u8(1),
            Action::Remove(key) => (2u8, key).hash(hash),
            Action::Clear => hash.write_u8(3),
            Action::CreateCounter(count) => (4u8, count.map(f64::to_bits)).hash(hash),
            Action::Increment(number) => (5u8, number.to_bits()).hash(hash),
            Action::Delete => hash.write_u8(6),
        }
    }

    /// # Errors
    /// [`Fault::InvalidObject`]: it cannot be done to what its object is.
    pub fn check_fits(&self) -> Result<(), Fault> {
        let kind = self.object.kind();
        let is_create = matches!(self.action, Action::CreateMap(_) | Action::CreateCounter(_));
        if is_create && self.object.is_root() {
            return Err(Fault::invalid_object("objectId", self.object.as_str(), "not root, which there always is"));
        }
        match self.action.fits() {
            Some(wanted) if wanted != kind => {
                let rule = match wanted {
                    Type::Map => "the id of a map, for what is done to maps",
                    Type::Counter => "the id of a counter, for what is done to counters",
                };
                Err(Fault::invalid_object("objectId", self.object.as_str(), rule))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
