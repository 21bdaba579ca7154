//! Nodes that are processes of their own and are replaced, as by an operator or a crash.

use std::{net::SocketAddr, sync::Arc};

use nix::sys::signal::Signal;
use parking_lot::Mutex;
use rand::RngExt as _;

use super::Ground;
use crate::support::process::ServerProcess;

pub struct Fleet {
    settings: Vec<(&'static str, String)>,
    pub nodes: Vec<ServerProcess>,
    pub addresses: Addresses,
}

/// Where clients find a node: one address for each.
#[derive(Clone)]
pub struct Addresses(Arc<Mutex<Vec<SocketAddr>>>);

/// How a node ends.
#[derive(Clone, Copy)]
pub enum End {
    Killed,
    InOrder,
}

impl Addresses {
    pub fn any(&self) -> SocketAddr {
        let all = self.0.lock();
        all[rand::rng().random_range(0..all.len())]
    }

    pub fn all(&self) -> Vec<SocketAddr> {
        self.0.lock().clone()
    }
}

impl Fleet {
    /// So many nodes that find Redis at this port; `more` settings as environment variables without their `LETSHARE_`.
    pub fn start(ground: &Ground, port: u16, count: usize, more: &[(&'static str, &str)]) -> Self {
        let mut settings = ground.settings(port);
        settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let nodes: Vec<ServerProcess> = (0..count).map(|_| start(&settings)).collect();
        let addresses = Addresses(Arc::new(Mutex::new(nodes.iter().map(|node| node.address).collect())));
        Self { settings, nodes, addresses }
    }

    pub fn any(&self) -> usize {
        rand::rng().random_range(0..self.nodes.len())
    }

    /// Another node takes the place of this one, which ends when clients are sent there no more.
    pub async fn replace(&mut self, place: usize, end: End) {
        let settings = self.settings.clone();
        let next = tokio::task::spawn_blocking(move || start(&settings)).await.unwrap();
        self.addresses.0.lock()[place] = next.address;
        let last = std::mem::replace(&mut self.nodes[place], next);
        match end {
            End::Killed => last.kill().await,
            End::InOrder => last.terminate().await,
        }
    }

    pub fn signal(&self, place: usize, signal: Signal) {
        self.nodes[place].signal(signal);
    }
}

fn start(settings: &[(&str, String)]) -> ServerProcess {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    ServerProcess::start(&settings)
}
