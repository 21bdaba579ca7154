//! The maps on the way of a message.
//!
//! The standard library's hash resists even those who can choose keys and measure; it also was a tenth of what a publish
//! costs. These maps are bounded (see [`crate::limits`]), and their hash begins with a random seed.

/// A map that is looked into for every message.
pub type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
