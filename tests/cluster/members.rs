//! Who is present, at whichever node (`docs/design/cluster.md §3`).

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Ground, KEY, processes};
use crate::support::{AblyClient, Http, Server, ably::action, eventually, process::ServerProcess, redis::RedisServer};

/// Each member by clientId, with its data.
pub type Members = BTreeMap<String, String>;

fn note(members: &mut Members, events: &Value) {
    for event in events.as_array().into_iter().flatten() {
        let (client, data) = (event["clientId"].as_str().unwrap(), event["data"].as_str().unwrap_or_default());
        match event["action"].as_u64().unwrap() {
            3 => drop(members.remove(client)),
            _ => drop(members.insert(client.to_owned(), data.to_owned())),
        }
    }
}

/// What a newcomer at this node is told in its sync, or nothing.
async fn synced(channel: &str, address: SocketAddr) -> Members {
    let mut client = AblyClient::open_at(address, &format!("v=6&key={KEY}")).await;
    client.expect(action::CONNECTED).await;
    let attached = client.attach(channel).await;
    let mut members = Members::new();
    if attached["flags"].as_u64().unwrap_or_default() & 1 != 0 {
        loop {
            let page = client.expect(action::SYNC).await;
            note(&mut members, &page["presence"]);
            if page["channelSerial"].as_str().unwrap().ends_with(':') {
                break;
            }
        }
    }
    members
}

/// What REST tells.
async fn present(channel: &str, address: SocketAddr) -> Members {
    let mut http = Http::connect_to(address).await;
    let page = http.ask("GET", &format!("/channels/{channel}/presence?limit=1000&key={KEY}"), &[]).await;
    assert_eq!(page.status, 200, "{}", page.body);
    let mut members = Members::new();
    note(&mut members, &page.json());
    members
}

/// A client that is attached, and its clientId.
async fn client(address: SocketAddr, name: &str) -> AblyClient {
    let mut client = AblyClient::open_at(address, &format!("v=6&key={KEY}&clientId={name}")).await;
    client.expect(action::CONNECTED).await;
    client.attach("room").await;
    client
}

async fn act(client: &mut AblyClient, action: u64, data: &str) {
    let serial = client.presence("room", json!([{"action": action, "data": data}])).await;
    client.acked(serial).await;
}

/// Waits until all nodes tell the same as REST and as sync.
async fn until_all_tell(nodes: &[SocketAddr], expected: &Members) {
    until_all_tell_of("room", nodes, expected).await;
}

/// The same of any channel.
pub async fn until_all_tell_of(channel: &str, nodes: &[SocketAddr], expected: &Members) {
    for node in nodes {
        let told = async {
            while present(channel, *node).await != *expected || synced(channel, *node).await != *expected {
                tokio::task::yield_now().await;
            }
        };
        // Longer than a lease: what is waited for may be the end of one.
        if tokio::time::timeout(Duration::from_secs(60), told).await.is_err() {
            assert_eq!(present(channel, *node).await, *expected);
            assert_eq!(synced(channel, *node).await, *expected);
        }
    }
}

fn addresses(nodes: &[Server]) -> Vec<SocketAddr> {
    nodes.iter().map(|node| node.address).collect()
}

/// Thirty clients at three nodes enter, change and leave at the same time: everybody is told the same, in the same order.
#[tokio::test]
async fn members_of_three_nodes_are_the_same_at_all() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<3>(&redis);
    let places = addresses(&nodes);
    let mut watchers = Vec::new();
    for place in &places {
        watchers.push(client(*place, "watcher").await);
    }
    let live = async |number: usize| {
        let name = format!("member{number:02}");
        let mut client = client(places[number % 3], &name).await;
        act(&mut client, 2, "entered").await;
        act(&mut client, 4, &format!("data{number}")).await;
        if number.is_multiple_of(5) {
            act(&mut client, 3, "left").await;
        }
        client
    };
    let clients = join_all((0..30).map(live)).await;
    let expected: Members = (0..30)
        .filter(|number| number % 5 != 0)
        .map(|number| (format!("member{number:02}"), format!("data{number}")))
        .collect();
    let mut orders = Vec::new();
    for watcher in &mut watchers {
        let (mut members, mut order) = (Members::new(), Vec::new());
        while order.len() < 66 {
            let frame = watcher.expect(action::PRESENCE).await;
            note(&mut members, &frame["presence"]);
            order.push((frame["channelSerial"].clone(), frame["presence"].clone()));
        }
        assert_eq!(members, expected);
        orders.push(order);
    }
    assert!(orders.iter().all(|order| *order == orders[0]), "one order at all nodes");
    until_all_tell(&places, &expected).await;
    for place in &places {
        let mut http = Http::connect_to(*place).await;
        let target = format!("/channels/room/presence/history?limit=1000&direction=forwards&key={KEY}");
        let history = http.ask("GET", &target, &[]).await.json();
        let told = orders[0].iter().flat_map(|(_, events)| events.as_array().unwrap());
        let ids = |event: &Value| (event["id"].clone(), event["action"].clone());
        assert_eq!(
            history.as_array().unwrap().iter().map(ids).collect::<Vec<_>>(),
            told.map(ids).collect::<Vec<_>>(),
            "the history of presence is that order"
        );
    }
    drop(clients);
}

/// A limit is one limit, however many nodes there are (`docs/protocols/ably.md §5.11`).
#[tokio::test]
async fn no_more_members_are_let_in_than_there_may_be() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let enter = async |place: usize| {
        let mut client = AblyClient::connect(&nodes[place], KEY).await;
        client.attach("room").await;
        let mut entered = 0;
        for number in 0..110 {
            let event = json!([{"action": 2, "clientId": format!("{place}-{number}")}]);
            let serial = client.presence("room", event).await;
            loop {
                let answer = client.next().await;
                if answer["msgSerial"] == serial && answer["action"] != action::PRESENCE {
                    entered += usize::from(answer["action"] == action::ACK);
                    break;
                }
            }
        }
        (client, entered)
    };
    let ((one, here), (other, there)) = tokio::join!(enter(0), enter(1));
    assert_eq!(here + there, 200);
    assert_eq!(present("room", nodes[0].address).await.len(), 200);
    drop((one, other));
}

/// A client goes on at another node: it was never away, and its old node lets nobody leave (RTP5f of those who were here).
#[tokio::test]
async fn who_comes_back_at_another_node_was_never_away() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let mut watcher = client(other.address, "watcher").await;
    let (mut alice, connected) = AblyClient::connect_with(&one, &format!("v=6&key={KEY}&clientId=alice")).await;
    let attached = alice.attach("room").await;
    act(&mut alice, 2, "here").await;
    watcher.expect(action::PRESENCE).await;
    let key = connected["connectionDetails"]["connectionKey"].as_str().unwrap();
    alice.cut();
    let query = format!("v=6&key={KEY}&clientId=alice&resume={key}");
    let (mut alice, resumed) = AblyClient::connect_with(&other, &query).await;
    assert_eq!(resumed["connectionId"], connected["connectionId"]);
    let frame = json!({"action": action::ATTACH, "channel": "room", "channelSerial": attached["channelSerial"]});
    alice.attach_with(frame).await;
    // What was never away can go, and what it does now is told: nothing else was.
    alice.push_again(1, action::PRESENCE, "presence", "room", json!([{"action": 4, "data": "there"}])).await;
    alice.acked(1).await;
    let told = watcher.expect(action::PRESENCE).await;
    assert_eq!((&told["presence"][0]["action"], &told["presence"][0]["data"]), (&json!(4), &json!("there")), "{told}");
    act(&mut alice, 3, "gone").await;
    let told = watcher.expect(action::PRESENCE).await;
    assert_eq!((&told["presence"][0]["action"], &told["presence"][0]["data"]), (&json!(3), &json!("gone")), "{told}");
    until_all_tell(&addresses(&[one, other]), &Members::new()).await;
}

/// Redis comes back without its data: those who are here enter again.
#[tokio::test]
async fn members_enter_again_when_redis_has_lost_them() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let places = addresses(&nodes);
    let mut clients = Vec::new();
    let mut expected = Members::new();
    for number in 0..6 {
        let mut client = client(places[number % 2], &format!("member{number}")).await;
        act(&mut client, 2, "here").await;
        expected.insert(format!("member{number}"), "here".to_owned());
        clients.push(client);
    }
    until_all_tell(&places, &expected).await;
    redis.command(&[b"FLUSHALL"]).await;
    redis.command(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]).await;
    until_all_tell(&places, &expected).await;
    let mut stranger = client(places[0], "stranger").await;
    act(&mut stranger, 2, "new").await;
    expected.insert("stranger".to_owned(), "new".to_owned());
    until_all_tell(&places, &expected).await;
}

/// Redis is killed and has its data when it is back: nobody has left.
#[tokio::test]
async fn members_stay_when_redis_comes_back_with_its_data() {
    let mut redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let places = addresses(&nodes);
    let mut watcher = client(places[1], "watcher").await;
    let mut alice = client(places[0], "alice").await;
    act(&mut alice, 2, "here").await;
    watcher.expect(action::PRESENCE).await;
    redis.kill();
    redis.restart().await;
    // The line may answer that it is busy until its connection is back.
    eventually(async || {
        let serial = alice.presence("room", json!([{"action": 4, "data": "still"}])).await;
        loop {
            let answer = alice.next().await;
            if answer["msgSerial"] == serial && answer["action"] != action::PRESENCE {
                return (answer["action"] == action::ACK).then_some(());
            }
        }
    })
    .await;
    let told = watcher.expect(action::PRESENCE).await;
    assert_eq!((&told["presence"][0]["action"], &told["presence"][0]["data"]), (&json!(4), &json!("still")), "{told}");
    until_all_tell(&places, &[("alice".to_owned(), "still".to_owned())].into()).await;
}

/// `kill -9` of a node: its members leave when its lease is over. A node that slept for longer than its lease finds its members
/// gone, and lets them enter again.
#[tokio::test]
async fn members_of_a_dead_node_leave_and_those_of_one_that_slept_come_back() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [killed, sleeper, witness]: [ServerProcess; 3] = processes(&ground, &redis);
    let mut clients = Vec::new();
    let mut all = Members::new();
    for (place, node) in [&killed, &sleeper, &witness].into_iter().enumerate() {
        for number in 0..10 {
            let name = format!("{place}-{number}");
            let mut client = client(node.address, &name).await;
            act(&mut client, 2, "here").await;
            all.insert(name, "here".to_owned());
            clients.push(client);
        }
    }
    let places = [killed.address, sleeper.address, witness.address];
    until_all_tell(&places, &all).await;
    killed.kill().await;
    all.retain(|name, _| !name.starts_with("0-"));
    until_all_tell(&places[1..], &all).await;
    sleeper.signal(Signal::SIGSTOP);
    let mut awake = all.clone();
    awake.retain(|name, _| !name.starts_with("1-"));
    until_all_tell(&places[2..], &awake).await;
    sleeper.signal(Signal::SIGCONT);
    until_all_tell(&places[1..], &all).await;
}
