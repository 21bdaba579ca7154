//! What went wrong elsewhere when a client came back, played here: `socketio/socket.io-redis-streams-adapter` issues #27, #48 and #39
//! (`docs/goals.md`).

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use super::{Ground, KEY, figures, message, messages, processes};
use crate::support::{
    AblyClient,
    ably::{action, flag},
    redis::RedisServer,
};

/// A client and what its SDK has to come back with: its key, and the serial of the last frame.
struct Visitor {
    client: AblyClient,
    id: Value,
    key: String,
    serial: String,
}

impl Visitor {
    async fn come(node: SocketAddr) -> Self {
        let mut client = AblyClient::open_at(node, &format!("v=6&key={KEY}")).await;
        let connected = client.expect(action::CONNECTED).await;
        let attached = client.attach("room").await;
        let mut visitor =
            Self { client, id: connected["connectionId"].clone(), key: String::new(), serial: String::new() };
        visitor.note(&connected, &attached);
        visitor
    }

    fn note(&mut self, connected: &Value, attached: &Value) {
        self.key = connected["connectionDetails"]["connectionKey"].as_str().unwrap().to_owned();
        self.serial = attached["channelSerial"].as_str().unwrap().to_owned();
    }

    async fn read(&mut self, count: usize) -> Vec<String> {
        let read = messages(&mut self.client, count).await;
        if let Some((serial, _)) = read.last() {
            self.serial = serial.clone();
        }
        read.into_iter().map(|(_, data)| data).collect()
    }

    /// The network is lost, and it comes back there as the same connection: ATTACHED.
    async fn come_back(&mut self, node: SocketAddr) -> Value {
        let query = format!("v=6&key={KEY}&resume={}", self.key);
        let client = AblyClient::open_at(node, &query).await;
        std::mem::replace(&mut self.client, client).cut();
        let connected = self.client.expect(action::CONNECTED).await;
        assert_eq!(connected["connectionId"], self.id, "{connected}");
        let frame = json!({"action": action::ATTACH, "channel": "room", "channelSerial": self.serial, "flags": 1 << 5});
        let attached = self.client.attach_with(frame).await;
        self.note(&connected, &attached);
        attached
    }
}

fn is_resumed(attached: &Value) -> bool {
    attached["flags"].as_u64().unwrap() & flag::RESUMED != 0
}

async fn publish(node: SocketAddr, data: &[&str]) {
    let mut client = AblyClient::open_at(node, &format!("v=6&key={KEY}")).await;
    client.expect(action::CONNECTED).await;
    for data in data {
        let serial = client.publish("room", message(data)).await;
        client.acked(serial).await;
    }
}

/// #27: recovery failed when the server went down, and not the client.
#[tokio::test]
async fn a_client_of_a_server_that_dies_goes_on_at_another_one() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [dies, lives] = processes(&ground, &redis);
    let mut visitor = Visitor::come(dies.address).await;
    publish(dies.address, &["before"]).await;
    assert_eq!(visitor.read(1).await, ["before"]);
    // It is not read before the end.
    publish(dies.address, &["last"]).await;
    dies.kill().await;
    publish(lives.address, &["meanwhile"]).await;
    assert!(is_resumed(&visitor.come_back(lives.address).await));
    assert_eq!(visitor.read(2).await, ["last", "meanwhile"]);
    publish(lives.address, &["after"]).await;
    assert_eq!(visitor.read(1).await, ["after"]);
}

/// #48: recovery failed when a connection had lived for a while. Here everything that it was told is older than what is kept; in the
/// night it really is.
#[tokio::test]
async fn a_client_that_was_quiet_for_long_goes_on_at_another_server() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let mut visitor = Visitor::come(one.address).await;
    publish(one.address, &["old"]).await;
    assert_eq!(visitor.read(1).await, ["old"]);
    if figures::is_whole() {
        tokio::time::sleep(Duration::from_secs(200)).await;
    }
    let keys = redis.command(&[b"KEYS", b"ls:{p*}s:*room"]).await;
    let stream = keys.lines().nth(2).unwrap().to_owned();
    let forget = async || redis.command(&[b"XTRIM", stream.as_bytes(), b"MAXLEN", b"0"]).await;
    forget().await;
    assert!(is_resumed(&visitor.come_back(other.address).await), "there was nothing else");
    publish(one.address, &["new"]).await;
    assert_eq!(visitor.read(1).await, ["new"]);
    // What is kept no more and was not told is a break, and never silence.
    publish(one.address, &["missed"]).await;
    forget().await;
    let third = ground.node(redis.port, |_| {});
    let attached = visitor.come_back(third.address).await;
    assert!(!is_resumed(&attached), "{attached}");
    assert_eq!(attached["error"]["code"], 90003, "{attached}");
}

/// #39: after two cuts in a row without a message between them, what was recovered by the first was sent again by the second.
#[tokio::test]
async fn what_was_caught_up_with_comes_once_however_often_the_network_is_lost() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<3>(&redis);
    let mut visitor = Visitor::come(nodes[0].address).await;
    for round in 0..3 {
        // It is on its way to a socket that is lost.
        let data: Vec<String> = (0..4).map(|number| format!("{round}-{number}")).collect();
        publish(nodes[round].address, &data.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for cut in 0..4 {
            assert!(is_resumed(&visitor.come_back(nodes[(round + cut + 1) % 3].address).await));
            if cut == 0 {
                assert_eq!(visitor.read(4).await, data);
            }
            assert_eq!(visitor.client.received_so_far().await, Vec::<Value>::new(), "{round}, {cut}");
        }
    }
}
