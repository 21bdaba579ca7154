//! What the annotations of one message come to (`docs/protocols/ably.md §9.5, §9.7`).
//!
//! A fold of the log: it depends on the annotations and their order alone, so whoever reads the log computes the same.

mod digest;
mod due;

use bytestring::ByteString;
use foldhash::fast::RandomState;
use indexmap::map::Entry;

use crate::{
    core::{annotation::Method, hashing::FastMap, operation::Annotation},
    error::Fault,
    ids::ClientId,
    limits,
};

pub use digest::Digest;
pub use due::DueSummaries;

/// In the order in which keys have come.
type Ordered<K, V> = indexmap::IndexMap<K, V, RandomState>;

/// All types of one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    tallies: Ordered<ByteString, Tally>,
    /// What its types and names cost, and its clients.
    names_bytes: usize,
    clients_bytes: usize,
    /// Clients, each as often as it is listed.
    clients: usize,
}

/// One type. Where names do not count, everything is under the empty one.
#[derive(Clone, Debug, PartialEq)]
struct Tally {
    method: Method,
    names: Ordered<ByteString, Votes>,
    /// The name that each client has, where it has one at a time.
    held: FastMap<ClientId, ByteString>,
}

/// One name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Votes {
    clients: Ordered<ClientId, u64>,
    /// All together.
    total: u64,
    /// Of clients that are not counted by name.
    unidentified: u64,
}

impl Summary {
    /// In bytes of memory.
    pub const fn bytes(&self) -> usize {
        self.names_bytes + self.clients_bytes
    }

    /// Clients, each as often as it is listed.
    pub const fn clients(&self) -> usize {
        self.clients
    }

    pub fn is_empty(&self) -> bool {
        self.tallies.is_empty()
    }

    /// What `annotation` would add, in bytes at most.
    ///
    /// # Errors
    /// [`Fault::SummaryFull`]
    pub fn make_room(&self, annotation: &Annotation) -> Result<usize, Fault> {
        let Annotation { is_delete: false, kind, name, client_id, .. } = annotation else {
            return Ok(0);
        };
        let Some(method) = Method::of(kind) else {
            return Ok(0);
        };
        let name = name_of(method, name);
        let tally = self.tallies.get(kind);
        let votes = tally.and_then(|tally| tally.names.get(&name));
        let client = client_id.as_ref().filter(|_| method != Method::Total);
        let client = client.filter(|client| votes.is_none_or(|votes| !votes.clients.contains_key(*client)));
        let of_client = client.map_or(0, |client| cost(client.as_str()));
        let of_names = if tally.is_none() { cost(kind) } else { 0 } + if votes.is_none() { cost(&name) } else { 0 };
        if client.is_some() && self.clients >= limits::SUMMARY_CLIENTS {
            return Err(Fault::SummaryFull { what: "clients", limit: limits::SUMMARY_CLIENTS });
        }
        if of_names > 0 && self.names_bytes + of_names > limits::SUMMARY_NAMES_BYTES {
            return Err(Fault::SummaryFull { what: "bytes of types and names", limit: limits::SUMMARY_NAMES_BYTES });
        }
        Ok(of_names + of_client)
    }

    /// Counts the next annotation of the log.
    pub fn apply(&mut self, annotation: &Annotation) {
        let Some(method) = Method::of(&annotation.kind) else {
            return;
        };
        if annotation.is_delete { self.delete(method, annotation) } else { self.create(method, annotation) }
    }

    fn create(&mut self, method: Method, annotation: &Annotation) {
        let Annotation { kind, name, count, client_id, .. } = annotation;
        let name = name_of(method, name);
        let client = client_id.as_ref().filter(|_| method != Method::Total);
        if client.is_none() && method.needs_client() {
            return;
        }
        if let Some(client) = client.filter(|_| method == Method::Unique) {
            let held = self.tallies.get(kind).and_then(|tally| tally.held.get(client));
            if let Some(other) = held.filter(|held| **held != name).cloned() {
                self.remove(kind, &other, client);
            }
        }
        let amount = if method == Method::Multiple { count.unwrap_or(1) } else { 1 };
        self.count(method, kind, name, client, amount);
    }

    /// Counts `amount` of a client, or of one that is not counted by name, under a name.
    fn count(&mut self, method: Method, kind: &ByteString, name: ByteString, client: Option<&ClientId>, amount: u64) {
        let tally = match self.tallies.entry(kind.clone()) {
            Entry::Occupied(tally) => tally.into_mut(),
            Entry::Vacant(vacant) => {
                self.names_bytes += cost(kind);
                vacant.insert(Tally { method, names: Ordered::default(), held: FastMap::default() })
            }
        };
        let votes = match tally.names.entry(name.clone()) {
            Entry::Occupied(votes) => votes.into_mut(),
            Entry::Vacant(vacant) => {
                self.names_bytes += cost(&name);
                vacant.insert(Votes::default())
            }
        };
        let Some(client) = client else {
            votes.unidentified = votes.unidentified.saturating_add(amount);
            votes.total = votes.total.saturating_add(amount);
            return;
        };
        match votes.clients.entry(client.clone()) {
            // Once is all that it can be.
            Entry::Occupied(_) if method != Method::Multiple => return,
            Entry::Occupied(mut counted) => *counted.get_mut() = counted.get().saturating_add(amount),
            Entry::Vacant(vacant) => {
                self.clients_bytes += cost(client.as_str());
                self.clients += 1;
                vacant.insert(amount);
            }
        }
        votes.total = votes.total.saturating_add(amount);
        if method == Method::Unique {
            tally.held.insert(client.clone(), name);
        }
    }

    /// All that is counted: a name of a type, a client or nobody, and how much. What is [restored](Self::restore) from it in
    /// this order is the same.
    pub fn counts(&self) -> impl Iterator<Item = (&ByteString, &ByteString, Option<&ClientId>, u64)> {
        self.tallies.iter().flat_map(|(kind, tally)| {
            tally.names.iter().flat_map(move |(name, votes)| {
                let unidentified = (votes.unidentified > 0).then_some((kind, name, None, votes.unidentified));
                let clients = votes.clients.iter().map(move |(client, count)| (kind, name, Some(client), *count));
                unidentified.into_iter().chain(clients)
            })
        })
    }

    /// The next of the [counts](Self::counts) of a summary that was kept.
    pub fn restore(&mut self, kind: &ByteString, name: ByteString, client: Option<&ClientId>, amount: u64) {
        if let Some(method) = Method::of(kind) {
            self.count(method, kind, name, client, amount);
        }
    }

    fn delete(&mut self, method: Method, annotation: &Annotation) {
        let Annotation { kind, name, count, client_id, .. } = annotation;
        let mut name = name_of(method, name);
        match client_id.as_ref().filter(|_| method != Method::Total) {
            Some(client) => {
                if method == Method::Unique {
                    let held = self.tallies.get(kind).and_then(|tally| tally.held.get(client));
                    name = held.cloned().unwrap_or(name);
                }
                self.remove(kind, &name, client);
            }
            None => {
                let amount = if method == Method::Multiple { count.unwrap_or(1) } else { 1 };
                let votes = self.tallies.get_mut(kind).and_then(|tally| tally.names.get_mut(&name));
                if let Some(votes) = votes {
                    let amount = votes.unidentified.min(amount);
                    votes.unidentified -= amount;
                    votes.total -= amount;
                }
                self.tidy(kind, &name);
            }
        }
    }

    /// Takes back all that a client has under a name.
    fn remove(&mut self, kind: &ByteString, name: &ByteString, client: &ClientId) {
        let Some(tally) = self.tallies.get_mut(kind) else {
            return;
        };
        tally.held.remove(client);
        let Some(votes) = tally.names.get_mut(name) else {
            return;
        };
        if let Some(amount) = votes.clients.shift_remove(client) {
            votes.total = votes.total.saturating_sub(amount);
            self.clients_bytes -= cost(client.as_str());
            self.clients -= 1;
        }
        self.tidy(kind, name);
    }

    /// A name without votes is gone, and with its last name a type.
    fn tidy(&mut self, kind: &ByteString, name: &ByteString) {
        let Some(tally) = self.tallies.get_mut(kind) else {
            return;
        };
        let is_over = |votes: &Votes| votes.clients.is_empty() && votes.unidentified == 0;
        if tally.names.get(name).is_some_and(is_over) {
            tally.names.shift_remove(name);
            self.names_bytes -= cost(name);
        }
        if tally.names.is_empty() {
            self.tallies.shift_remove(kind);
            self.names_bytes -= cost(kind);
        }
    }
}

/// What it is counted under.
fn name_of(method: Method, name: &ByteString) -> ByteString {
    if method.is_by_name() { name.clone() } else { ByteString::new() }
}

/// What a type, a name or a client costs.
const fn cost(text: &str) -> usize {
    limits::SUMMARY_ITEM_COST + text.len()
}

#[cfg(test)]
mod tests;
