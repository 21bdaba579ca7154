//! The files of the older servers.

mod chat;
mod group;
mod postoffice;
