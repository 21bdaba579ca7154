//! A Redis Cluster of three masters, with a replica each or without, on this machine.

use std::net::TcpListener;

use super::{eventually, redis::RedisServer};

pub struct RedisCluster {
    pub masters: Vec<RedisServer>,
    pub replicas: Vec<RedisServer>,
    ids: Vec<String>,
}

const MASTERS: usize = 3;

/// The first slot of each master, and the end.
const FIRST: [u16; MASTERS + 1] = [0, 5_461, 10_923, 16_384];

async fn server() -> (RedisServer, String) {
    let bus = TcpListener::bind(("127.0.0.1", 0)).expect("a free port").local_addr().expect("bound").port().to_string();
    let settings = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
    // A master that is gone takes only its own slots with it.
    let whole = ["--cluster-require-full-coverage", "no", "--cluster-allow-replica-migration", "no"];
    // Whoever is promoted has all that was acknowledged.
    let copies = ["--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"];
    let server = RedisServer::start_as(&[&settings[..], &whole, &copies].concat()).await;
    (server, bus)
}

async fn id_of(server: &RedisServer) -> String {
    let told = server.command(&[b"CLUSTER", b"MYID"]).await;
    told.lines().nth(1).expect("an id").to_owned()
}

impl RedisCluster {
    pub async fn start(has_replicas: bool) -> Self {
        let count = if has_replicas { 2 * MASTERS } else { MASTERS };
        let mut servers = Vec::new();
        let mut ids = Vec::new();
        for place in 0..count {
            let (server, bus) = server().await;
            if let Some([first, end]) = FIRST.windows(2).nth(place).map(|pair| [pair[0], pair[1]]) {
                let (first, last) = (first.to_string(), (end - 1).to_string());
                server.command(&[b"CLUSTER", b"ADDSLOTSRANGE", first.as_bytes(), last.as_bytes()]).await;
            }
            // Each has an epoch of its own, or they would have to agree first.
            server.command(&[b"CLUSTER", b"SET-CONFIG-EPOCH", (place + 1).to_string().as_bytes()]).await;
            ids.push(id_of(&server).await);
            let port = server.port.to_string();
            for other in &servers {
                let other: &RedisServer = other;
                other.command(&[b"CLUSTER", b"MEET", b"127.0.0.1", port.as_bytes(), bus.as_bytes()]).await;
            }
            servers.push(server);
        }
        let cluster = Self { replicas: servers.split_off(MASTERS), masters: servers, ids };
        let known = format!("cluster_known_nodes:{count}");
        for server in cluster.servers() {
            eventually(async || server.command(&[b"CLUSTER", b"INFO"]).await.contains(&known).then_some(())).await;
        }
        for (place, replica) in cluster.replicas.iter().enumerate() {
            let master = cluster.ids[place].as_bytes();
            eventually(async || {
                let told = replica.try_command(&[b"CLUSTER", b"REPLICATE", master]).await?;
                told.starts_with("+OK").then_some(())
            })
            .await;
            eventually(async || {
                let told = replica.command(&[b"INFO", b"replication"]).await;
                told.contains("master_link_status:up").then_some(())
            })
            .await;
        }
        for server in cluster.servers() {
            eventually(async || {
                let told = server.command(&[b"CLUSTER", b"INFO"]).await;
                (told.contains("cluster_state:ok") && told.contains("cluster_slots_ok:16384")).then_some(())
            })
            .await;
        }
        cluster
    }

    fn servers(&self) -> impl Iterator<Item = &RedisServer> {
        self.masters.iter().chain(&self.replicas)
    }

    /// As a server is told it.
    pub fn endpoint(&self) -> String {
        let seeds: Vec<String> = self.masters.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        seeds.join(",")
    }

    /// The place of the master that had the slot of a key at the start, and the slot.
    pub async fn home_of(&self, key: &[u8]) -> (usize, u16) {
        let slot = self.masters[0].command(&[b"CLUSTER", b"KEYSLOT", key]).await;
        let slot = slot.trim().trim_start_matches(':').parse().expect("a slot");
        (FIRST[1..].partition_point(|end| *end <= slot), slot)
    }

    /// Moves a slot with all that is in it, as operators do it.
    pub async fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let number = slot.to_string();
        let (source, target) = (&self.masters[from], &self.masters[to]);
        let set = async |server: &RedisServer, how: &[u8], id: &str| {
            server.command(&[b"CLUSTER", b"SETSLOT", number.as_bytes(), how, id.as_bytes()]).await
        };
        set(target, b"IMPORTING", &self.ids[from]).await;
        set(source, b"MIGRATING", &self.ids[to]).await;
        loop {
            let keys = bulks(&source.raw(&[b"CLUSTER", b"GETKEYSINSLOT", number.as_bytes(), b"3"]).await);
            if keys.is_empty() {
                break;
            }
            let port = target.port.to_string();
            let words: Vec<&[u8]> = [b"MIGRATE".as_slice(), b"127.0.0.1", port.as_bytes(), b"", b"0", b"5000", b"KEYS"]
                .into_iter()
                .chain(keys.iter().map(Vec::as_slice))
                .collect();
            let told = source.command(&words).await;
            assert!(told.starts_with('+'), "{told}");
        }
        for server in [target, source].into_iter().chain(self.masters.iter().filter(|one| one.port != source.port)) {
            set(server, b"NODE", &self.ids[to]).await;
        }
    }
}

/// The texts of an answer that is an array of them.
fn bulks(mut answer: &[u8]) -> Vec<Vec<u8>> {
    let line = |rest: &mut &[u8]| {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a line");
        let (head, tail) = rest.split_at(end);
        *rest = &tail[2..];
        std::str::from_utf8(&head[1..]).expect("a number").parse::<usize>().expect("a number")
    };
    let count = line(&mut answer);
    let text = |_| {
        let length = line(&mut answer);
        let (text, tail) = answer.split_at(length);
        answer = &tail[2..];
        text.to_vec()
    };
    (0..count).map(text).collect()
}
