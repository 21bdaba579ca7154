//! All integration tests in one binary: the real server on port 0, raw clients, one file per surface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ably_comet;
mod ably_events;
mod ably_realtime;
mod ably_rest;
mod admin;
mod architecture;
mod chat;
mod chat_archive;
mod cluster;
mod conformance;
mod docs;
mod echo;
mod edge_limits;
mod group;
mod group_streams;
mod hostile;
mod last_words;
mod letshare_handshake;
mod letshare_http;
mod letshare_pro;
mod letshare_relay;
mod letshare_rooms;
mod operations;
mod persistence;
mod postoffice;
mod refusals;
mod relay;
mod support;
