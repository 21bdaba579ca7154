//! Objects of channels.

use std::time::Duration;

/// Objects of a channel, and the bytes that they may have in all, as they are kept in memory; what was removed or deleted is
/// among them until its time is over.
pub const OBJECTS: usize = 20_000;
pub const OBJECTS_BYTES: usize = 13 << 19;

/// What an object, and an entry of a map, cost beside their texts and data.
pub const OBJECT_COST: usize = 384;
pub const OBJECT_ENTRY_COST: usize = 160;

/// How long what was removed or deleted is remembered, which clients are told (`docs/protocols/ably.md §10.7`), and how often
/// is looked for what is older.
pub const OBJECTS_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
pub const OBJECTS_LOOK: Duration = Duration::from_secs(60 * 60);

/// An object that could not be reached from root for so long is deleted.
pub const OBJECT_UNREACHABLE: Duration = Duration::from_secs(5 * 60);

/// Objects that were not changed for so long are kept on disk no longer.
pub const OBJECTS_UNUSED: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Keys of a path, and maps that are shown inside each other in an answer to a request; a deeper one is shown by its id. And
/// how many entries the paths of one request may take a look at.
pub const OBJECTS_VISITED: usize = 100_000;
pub const OBJECTS_NESTED: usize = 64;

/// What the nonce of an object that a client creates has at least, in characters.
pub const OBJECT_NONCE: usize = 16;
