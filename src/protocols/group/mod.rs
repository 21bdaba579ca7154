//! The group protocol (`protocols/group.md`): group chat over one WebSocket, shared between instances.

pub mod streams;
