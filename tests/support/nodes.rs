//! Several servers in the place of one (`docs/cluster.md`): with `LETSHARE_NODES=2` what a test of the relay, the post office or the
//! chat takes for its server is two nodes on one Redis, and each connection goes to the next of them.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use letshare_server::config::{Config, Engine};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use super::PATIENCE;

/// How many are asked for.
pub fn count() -> usize {
    std::env::var("LETSHARE_NODES").map_or(1, |count| count.parse().expect("LETSHARE_NODES is a number"))
}

/// Whether a test has a node, or several, in the place of a server of its own.
pub fn are_asked() -> bool {
    count() > 1 || std::env::var_os("LETSHARE_ON_REDIS").is_some()
}

/// Starts a server with these settings, and others beside it if it is a node. `addresses` are those of one, the last is where
/// `/metrics` is; those of the first become such that connections go to all.
pub fn start<S, E>(
    config: &Config,
    launch: impl Fn(Config) -> Result<S, E>,
    addresses: impl Fn(&mut S) -> Vec<&mut SocketAddr>,
) -> Result<(S, Vec<(S, TempDir)>), E> {
    let mut first = launch(config.clone())?;
    let others = if config.cluster.engine == Engine::None { 0 } else { count() - 1 };
    let mut others: Vec<(S, TempDir)> = (0..others)
        .map(|_| {
            let (folder, mut config) = (TempDir::new().expect("a folder for the data"), config.clone());
            config.data.dir = folder.path().to_owned();
            launch(config).map(|server| (server, folder))
        })
        .collect::<Result<_, E>>()?;
    if others.is_empty() {
        return Ok((first, others));
    }
    let mut all = vec![addresses(&mut first)];
    all.extend(others.iter_mut().map(|(other, _)| addresses(other)));
    for pages in all.iter().filter_map(|addresses| addresses.last()) {
        until_met(**pages, all.len());
    }
    let mut spreads = BTreeMap::new();
    for place in 0..all[0].len() {
        let nodes: Vec<SocketAddr> = all.iter().map(|addresses| *addresses[place]).collect();
        *all[0][place] = *spreads.entry(nodes.clone()).or_insert_with(|| spread(nodes));
    }
    Ok((first, others))
}

fn until_met(address: SocketAddr, count: usize) {
    let begun = Instant::now();
    let met = format!("\"nodes\":{count},");
    // Those of an earlier run hold their leases for a while.
    while begun.elapsed() < 2 * PATIENCE {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it listens");
        // It may stay open.
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
        let mut page = Vec::new();
        let _ = stream.read_to_end(&mut page);
        if String::from_utf8_lossy(&page).contains(&met) {
            return;
        }
    }
    panic!("the nodes do not hear each other");
}

/// Where each connection goes to the next of these.
fn spread(to: Vec<SocketAddr>) -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("bound");
    let listener = TcpListener::from_std(listener).expect("within a runtime");
    tokio::spawn(async move {
        for next in to.iter().cycle() {
            let Ok((mut from, _)) = listener.accept().await else { return };
            let next = *next;
            tokio::spawn(async move {
                let Ok(mut onto) = TcpStream::connect(next).await else { return };
                let _ = (from.set_nodelay(true), onto.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut from, &mut onto).await;
            });
        }
    });
    address
}
