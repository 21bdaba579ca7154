//! Where HTTP and WebSocket clients come in: what may enter, how much of it, over which transport.

pub mod guard;
