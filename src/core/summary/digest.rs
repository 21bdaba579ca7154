//! A summary as clients read it, in JSON and in MessagePack (`docs/protocols/ably.md §9.5, §9.7`).

use bytestring::ByteString;
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeStruct as _},
};

use super::{Method, Summary, Votes};
use crate::{ids::ClientId, limits};

/// All types of a message, long lists of clients clipped. Empty: nothing is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest(Vec<(ByteString, Vec<(ByteString, Listed)>)>);

/// One name of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    method: Method,
    total: u64,
    unidentified: u64,
    clients: Vec<(ClientId, u64)>,
    /// Those included that are not listed.
    all_clients: usize,
}

impl Summary {
    /// As it is sent to everybody.
    pub fn digest(&self) -> Digest {
        let mut room = limits::SUMMARY_LISTED_BYTES;
        self.digest_of(|votes| {
            let fits = |(client, _): &(&ClientId, &u64)| {
                let left = room.checked_sub(client.as_str().len());
                room = left.unwrap_or(room);
                left.is_some()
            };
            let clients = votes.clients.iter().take(limits::SUMMARY_LISTED).take_while(fits);
            Some(clients.map(|(client, count)| (client.clone(), *count)).collect())
        })
    }

    /// What one client has a part in; totals are those of all.
    pub fn digest_for(&self, client: &ClientId) -> Digest {
        self.digest_of(|votes| {
            votes.clients.get_key_value(client).map(|(client, count)| vec![(client.clone(), *count)])
        })
    }

    fn digest_of(&self, mut clients_of: impl FnMut(&Votes) -> Option<Vec<(ClientId, u64)>>) -> Digest {
        let types = self.tallies.iter().filter_map(|(kind, tally)| {
            let names = tally.names.iter().filter_map(|(name, votes)| {
                let listed = Listed {
                    method: tally.method,
                    total: votes.total,
                    unidentified: votes.unidentified,
                    clients: clients_of(votes)?,
                    all_clients: votes.clients.len(),
                };
                Some((name.clone(), listed))
            });
            let names: Vec<_> = names.collect();
            (!names.is_empty()).then(|| (kind.clone(), names))
        });
        Digest(types.collect())
    }
}

impl Digest {
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What keeping it costs in memory, in bytes, about.
    pub fn cost(&self) -> usize {
        let clients = |listed: &Listed| -> usize {
            listed.clients.iter().map(|(client, _)| size_of::<(ClientId, u64)>() + client.as_str().len()).sum()
        };
        let names = |names: &[(ByteString, Listed)]| -> usize {
            names.iter().map(|(name, listed)| size_of::<(ByteString, Listed)>() + name.len() + clients(listed)).sum()
        };
        self.0.iter().map(|(kind, listed)| size_of::<(ByteString, Vec<()>)>() + kind.len() + names(listed)).sum()
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut types = serializer.serialize_map(Some(self.0.len()))?;
        for (kind, names) in &self.0 {
            match names.as_slice() {
                [(_, only)] if !only.method.is_by_name() => types.serialize_entry(&**kind, only)?,
                names => types.serialize_entry(&**kind, &Names(names))?,
            }
        }
        types.end()
    }
}

struct Names<'a>(&'a [(ByteString, Listed)]);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, listed)| (&**name, listed)))
    }
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.method == Method::Total {
            let mut fields = serializer.serialize_struct("Total", 1)?;
            fields.serialize_field("total", &self.total)?;
            return fields.end();
        }
        let is_multiple = self.method == Method::Multiple;
        let mut fields = serializer.serialize_struct("Listed", if is_multiple { 5 } else { 3 })?;
        fields.serialize_field("total", &self.total)?;
        if is_multiple {
            fields.serialize_field("clientIds", &Counts(&self.clients))?;
            fields.serialize_field("totalUnidentified", &self.unidentified)?;
            fields.serialize_field("totalClientIds", &self.all_clients)?;
        } else {
            fields.serialize_field("clientIds", &Clients(&self.clients))?;
        }
        fields.serialize_field("clipped", &(self.clients.len() < self.all_clients))?;
        fields.end()
    }
}

struct Clients<'a>(&'a [(ClientId, u64)]);

impl Serialize for Clients<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(client, _)| client.as_str()))
    }
}

struct Counts<'a>(&'a [(ClientId, u64)]);

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(client, count)| (client.as_str(), count)))
    }
}
