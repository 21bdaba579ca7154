//! Servers that share their channels on one `redis-server`, or a Redis Cluster (`docs/cluster.md`).

mod away;
mod beside;
mod changes;
mod chats;
mod faults;
mod figures;
mod files;
mod fleet;
mod idle;
mod log;
mod mail;
mod members;
mod meta;
mod nodes;
mod objects;
mod outages;
mod proxy;
mod replay;
mod restart;
mod roamer;
mod seats;
mod setup;
mod slots;

use std::{collections::BTreeSet, fs, net::SocketAddr, path::PathBuf};

use letshare_server::config::{Config, Engine};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{AblyClient, Http, Server, ably::action, eventually, process::ServerProcess, redis::RedisServer};

const APPS: &str = "\
apps:
  - id: abc123
    keys:
      - id: first1
        secret: open-sesame-open-sesame
      - id: second
        secret: open-sesame-open-sesame
        revocableTokens: true
      - id: watch1
        secret: open-sesame-open-sesame
        capability: '{\"[*]*\":[\"*\"]}'
    namespaces:
      - id: kept
        persisted: true
        mutableMessages: true
";
const KEY: &str = "abc123.first1:open-sesame-open-sesame";
/// It opens metachannels as well.
const WATCHER: &str = "abc123.watch1:open-sesame-open-sesame";

/// Nodes hear each other within a second after their start.
async fn until_met(address: SocketAddr, count: usize) {
    eventually(async || {
        let figures = Http::connect_to(address).await.ask("GET", "/metrics", &[]).await.json();
        (figures["cluster"]["nodes"] == count).then_some(())
    })
    .await;
}

/// What the nodes of a cluster have in common.
pub struct Ground {
    folder: TempDir,
}

impl Ground {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("apps.yaml"), APPS).unwrap();
        fs::write(folder.path().join("secret"), "0123456789abcdef".repeat(4)).unwrap();
        Self { folder }
    }

    /// A node that finds Redis at this port.
    pub fn node(&self, port: u16, adjust: impl FnOnce(&mut Config)) -> Server {
        Server::start(|config| {
            self.join(port, config);
            adjust(config);
        })
    }

    /// Makes settings those of a node that finds Redis at this port.
    pub fn join(&self, port: u16, config: &mut Config) {
        config.cluster.engine = Engine::Redis;
        config.cluster.endpoint = Some(format!("127.0.0.1:{port}"));
        config.cluster.secret_file = Some(self.folder.path().join("secret"));
        config.ably.apps_file = Some(self.folder.path().join("apps.yaml"));
        config.ably.keys_over_http = true;
        config.limits.publishes_per_second = 0;
    }

    /// The same for a process: environment variables without their `LETSHARE_`.
    pub fn settings(&self, port: u16) -> Vec<(&'static str, String)> {
        let file = |name| self.path(name).display().to_string();
        let own = [
            ("CLUSTER_ENDPOINT", format!("127.0.0.1:{port}")),
            ("CLUSTER_SECRET_FILE", file("secret")),
            ("ABLY_APPS_FILE", file("apps.yaml")),
        ];
        let fixed = [
            ("CLUSTER_ENGINE", "redis"),
            ("ABLY_KEYS_OVER_HTTP", "true"),
            ("LIMITS_CONNECTS_PER_SECOND", "0"),
            ("LIMITS_REQUESTS_PER_SECOND", "0"),
            ("LIMITS_PUBLISHES_PER_SECOND", "0"),
        ];
        own.into_iter().chain(fixed.map(|(name, value)| (name, value.to_owned()))).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of this content.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub fn nodes<const COUNT: usize>(&self, redis: &RedisServer) -> [Server; COUNT] {
        std::array::from_fn(|_| self.node(redis.port, |_| {}))
    }
}

/// Nodes that are processes of their own, so that they can be killed.
pub fn processes<const COUNT: usize>(ground: &Ground, redis: &RedisServer) -> [ServerProcess; COUNT] {
    let settings = ground.settings(redis.port);
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    std::array::from_fn(|_| ServerProcess::start(&settings))
}

/// A client that is attached.
pub async fn attached(server: &Server, channel: &str) -> AblyClient {
    let mut client = AblyClient::connect(server, KEY).await;
    client.attach(channel).await;
    client
}

/// The serial and the data of each message in a frame.
fn data_of(frame: &Value) -> impl Iterator<Item = (String, String)> + '_ {
    let serial = frame["channelSerial"].as_str().unwrap();
    let messages = frame["messages"].as_array().into_iter().flatten();
    messages.map(move |message| (serial.to_owned(), message["data"].as_str().unwrap().to_owned()))
}

/// Reads so many messages; whatever else comes is a fault.
pub async fn messages(client: &mut AblyClient, count: usize) -> Vec<(String, String)> {
    let mut read = Vec::new();
    while read.len() < count {
        read.extend(data_of(&client.expect(action::MESSAGE).await));
    }
    read
}

/// No message is lost, doubled or swapped: `expected` are all that were published.
pub fn assert_whole(read: &[(String, String)], expected: &BTreeSet<String>) {
    let data: BTreeSet<String> = read.iter().map(|(_, data)| data.clone()).collect();
    assert_eq!(data.len(), read.len(), "none is doubled");
    assert_eq!(data, *expected, "none is lost");
    assert!(read.windows(2).all(|pair| pair[0].0 <= pair[1].0), "serials rise");
}

/// Nothing waits for a reader: what is published now is the next that it gets.
pub async fn assert_read_up(reader: &mut AblyClient, node: &Server, channel: &str) {
    let mut publisher = AblyClient::connect(node, KEY).await;
    publisher.publish(channel, message("the end")).await;
    assert_eq!(messages(reader, 1).await[0].1, "the end");
}

pub fn message(data: &str) -> Value {
    json!([{"data": data}])
}

/// The data of a whole history, oldest first.
/// What all readers have read, which is all that was expected, in one order.
pub async fn one_order(readers: &mut [AblyClient], expected: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut orders = Vec::new();
    for reader in readers {
        let read = messages(reader, expected.len()).await;
        assert_whole(&read, expected);
        orders.push(read);
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "one order");
    orders.swap_remove(0)
}

pub async fn history(server: &Server, channel: &str) -> Vec<String> {
    history_at(server.address, channel).await
}

pub async fn history_at(node: SocketAddr, channel: &str) -> Vec<String> {
    let mut http = crate::support::Http::connect_to(node).await;
    let mut target = format!("/channels/{channel}/messages?direction=forwards&limit=1000&key={KEY}");
    let mut all = Vec::new();
    loop {
        // The line that reads may come back later than the one that appends.
        let page = eventually(async || {
            let page = http.ask("GET", &target, &[]).await;
            (page.status != 503).then_some(page)
        })
        .await;
        assert_eq!(page.status, 200, "{}", page.body);
        let items = page.json();
        all.extend(items.as_array().unwrap().iter().map(|item| item["data"].as_str().unwrap().to_owned()));
        let lines = page.lines("link");
        let next = lines.iter().find_map(|line| line.strip_suffix(">; rel=\"next\"")?.strip_prefix("<./"));
        match next {
            Some(next) => target = format!("/channels/{channel}/{next}&key={KEY}"),
            None => return all,
        }
    }
}
