//! The pure states of the broker: no clock, no I/O, no actor, no protocol.
//!
//! Every method takes what it needs to know (`now`, a command) and gives back what is to be done.
//! So all that is hard is tested here, without a runtime.

pub mod annotation;
pub mod budget;
pub mod capability;
pub mod chain;
pub mod channel;
pub mod command;
pub mod deadlines;
pub mod dedupe;
pub mod delta;
pub mod eviction;
pub mod filter;
pub mod frame;
pub mod growth;
pub mod hashing;
pub mod history;
pub mod json;
pub mod keepalive;
pub mod message;
pub mod modes;
pub mod objects;
pub mod occupancy;
pub mod operation;
pub mod pages;
pub mod presence;
pub mod rate;
pub mod replay;
pub mod rules;
pub mod serial;
pub mod stats;
pub mod subscribers;
pub mod summaries;
pub mod summary;
pub mod touches;
pub mod vcdiff;
pub mod versions;
pub mod window;
pub mod wire;
