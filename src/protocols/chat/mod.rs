//! The chat protocol (`protocols/chat.md`).

pub mod moderation;
