//! The thin shells around the pure states of `core`: receive, call, carry out the effects.

pub mod metrics;
