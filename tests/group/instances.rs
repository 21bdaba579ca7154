//! Two instances on one Redis (`docs/protocols/group.md §6, §7`).

use std::collections::HashMap;

use futures_util::future::join;

use super::{resume::resumes, *};
use crate::{cluster::Ground, support::redis::RedisServer};

/// How two servers meet.
#[derive(Clone, Copy, PartialEq)]
pub enum Meet {
    /// On `group.redis`, each with its own data folder.
    Instances,
    /// As nodes of a cluster, which keep what they have in common on its Redis.
    Nodes,
    /// The same, on a `group.redis`.
    NodesOnOwn,
}

pub struct Pair {
    pub redis: RedisServer,
    pub rigs: Vec<Rig>,
    meet: Meet,
    ground: Ground,
    /// That of the cluster, where groups have one of their own.
    other: Option<RedisServer>,
}

impl Pair {
    async fn start() -> Self {
        Self::start_as(Meet::Instances).await
    }

    pub async fn nodes() -> Self {
        Self::start_as(Meet::Nodes).await
    }

    /// One more of them.
    pub fn rig(&self, adjust: impl FnOnce(&mut Config)) -> Rig {
        let cluster = self.other.as_ref().unwrap_or(&self.redis);
        rig(self.meet, &self.ground, &self.redis, cluster, adjust)
    }

    /// Ends both.
    pub fn end_all(&mut self) {
        self.rigs.clear();
    }

    async fn start_as(meet: Meet) -> Self {
        let redis = RedisServer::start().await;
        let other = if meet == Meet::NodesOnOwn { Some(RedisServer::start().await) } else { None };
        let ground = Ground::new();
        let cluster = other.as_ref().unwrap_or(&redis);
        let rigs = (0..2).map(|_| rig(meet, &ground, &redis, cluster, |_| {})).collect();
        let pair = Self { rigs, redis, meet, ground, other };
        // Both read from now on: what one says the other hears.
        for (from, to) in [(0, 1), (1, 0)] {
            pair.shared(from, to, "ready").await;
        }
        pair
    }

    /// Makes groups at one until the other knows one of them.
    async fn shared(&self, from: usize, to: usize, name: &str) {
        let mut round = 0;
        eventually(async || {
            round += 1;
            self.rigs[from].group(&format!("{name}-{from}-{round}"), &["0"]).await;
            let known = self.rigs[to].service("GET", "/api/users/0/groups?page_size=100", json!({}));
            let known = data(&known.await)["groups"].to_string();
            known.contains(&format!("{name}-{from}-")).then_some(())
        })
        .await;
    }

    /// A group that both know.
    pub async fn group(&self, group: &str, members: &[&str]) {
        self.rigs[0].group(group, members).await;
        for rig in &self.rigs {
            self.until_members(rig, group, members.len()).await;
        }
    }

    pub async fn until_members(&self, rig: &Rig, group: &str, count: usize) {
        let target = format!("/api/groups/{group}");
        eventually(async || {
            let known = rig.service("GET", &target, json!({})).await;
            (known.status == 200 && known.json()["data"]["member_count"] == count).then_some(())
        })
        .await;
    }

    pub async fn add(&self, stream: &str, payload: Value) {
        let payload = payload.to_string();
        // As Watermill writes it: an empty MessagePack map.
        let words: [&[u8]; 9] = [
            b"XADD",
            stream.as_bytes(),
            b"*",
            b"_watermill_message_uuid",
            b"7b0d1d3e-0000-4000-8000-000000000001",
            b"metadata",
            &[0x80],
            b"payload",
            payload.as_bytes(),
        ];
        self.redis.command(&words).await;
    }
}

fn rig(
    meet: Meet,
    ground: &Ground,
    redis: &RedisServer,
    cluster: &RedisServer,
    adjust: impl FnOnce(&mut Config),
) -> Rig {
    Rig::start(|config| {
        if meet != Meet::Nodes {
            config.group.redis = Some(format!("127.0.0.1:{}", redis.port));
        }
        config.group.messages_per_second = 0;
        if meet != Meet::Instances {
            ground.join(cluster.port, config);
        }
        adjust(config);
    })
}

/// How often each content came, and the contents by sender.
fn sorted(contents: Vec<String>) -> HashMap<String, Vec<String>> {
    let mut by_sender: HashMap<String, Vec<String>> = HashMap::new();
    for content in contents {
        let sender = content.split(':').next().unwrap().to_owned();
        by_sender.entry(sender).or_default().push(content);
    }
    by_sender
}

/// findings O1: what is sent at both at the same moment has one order, that of the stream; whoever comes back to the other one
/// by a message loses and repeats nothing.
#[tokio::test]
async fn nodes_of_a_cluster_have_one_order() {
    const EACH: usize = 150;
    for pair in [Pair::nodes().await, Pair::start_as(Meet::NodesOnOwn).await] {
        assert_one_order(&pair, EACH).await;
    }
}

async fn assert_one_order(pair: &Pair, each: usize) {
    pair.group("g", &["7", "8", "9"]).await;
    let mut senders = [pair.rigs[0].user("7").await, pair.rigs[1].user("8").await];
    let mut readers = [pair.rigs[0].user("9").await, pair.rigs[1].user("9").await];
    let send = async |client: &mut Client, sender: usize| {
        for round in 0..each {
            client.say(&format!("{sender}:{round}"), "g", &format!("{sender}:{round}")).await;
        }
    };
    let [one, other] = &mut senders;
    join(send(one, 0), send(other, 1)).await;
    let mut orders = Vec::new();
    for client in senders.iter_mut().chain(&mut readers) {
        let mut order = Vec::new();
        for _ in 0..2 * each {
            let message = client.message().await;
            let text = |name: &str| message[name].as_str().unwrap().to_owned();
            order.push((text("message_id"), text("content")));
        }
        orders.push(order);
    }
    let order = &orders[0];
    assert!(orders.iter().all(|one| one == order), "one order");
    let stream = pair.redis.command(&[b"XRANGE", b"chat.message.new", b"-", b"+"]).await;
    let places: Vec<_> = order.iter().map(|(id, _)| stream.find(id.as_str())).collect();
    assert!(places.is_sorted() && places[0].is_some(), "the stream's");
    let mut all: Vec<_> = order.iter().map(|(_, content)| content.clone()).collect();
    for (place, rig) in [(40, 0), (40, 1), (2 * each - 60, 0), (2 * each - 60, 1)] {
        let (mut client, told) = resumes(&pair.rigs[rig], "9", &order[place].0).await;
        assert_eq!(told["missed"], all.len() - place - 1);
        // And live messages behind them.
        senders[1 - rig].says(&format!("{place}-{rig}"), "g", "live").await;
        all.push("live".to_owned());
        assert_eq!(client.contents(all.len() - place - 1).await, all[place + 1..]);
    }
    for reader in &mut readers {
        assert_eq!(reader.contents(4).await, ["live"; 4], "the others have got all, too");
    }
    for rig in &pair.rigs {
        let page = data(&rig.ask("8", "/api/messages?group_id=g&limit=100").await);
        let past: Vec<_> = page["messages"].as_array().unwrap().iter().rev().collect();
        let past: Vec<_> = past.iter().filter_map(|message| message["content"].as_str()).collect();
        assert_eq!(past, all[all.len() - 100..], "and history is in it");
    }
}

pub async fn until_redis(rigs: &[Rig], is_up: u64) {
    for rig in rigs {
        eventually(async || {
            let figures = Http::connect_to(rig.address).await.ask("GET", "/metrics", &[]).await.json();
            (figures["group"]["redis"]["up"] == is_up).then_some(())
        })
        .await;
    }
}

/// A message is acknowledged when it has its place, and refused while there is none to be had.
#[tokio::test]
async fn nodes_of_a_cluster_refuse_what_has_no_order() {
    let mut pair = Pair::nodes().await;
    pair.group("g", &["7", "8"]).await;
    let (mut one, mut other) = (pair.rigs[0].user("7").await, pair.rigs[1].user("8").await);
    let id = one.says("1", "g", "before").await;
    assert_eq!(one.says("1", "g", "before").await, id, "said again");
    pair.redis.kill();
    until_redis(&pair.rigs, 0).await;
    one.say("2", "g", "meanwhile").await;
    one.refused("2", 503, "消息保存失败").await;
    pair.redis.restart().await;
    until_redis(&pair.rigs, 1).await;
    one.says("3", "g", "after").await;
    assert_eq!(other.contents(2).await, ["before", "after"]);
    for rig in &pair.rigs {
        let page = data(&rig.ask("8", "/api/messages?group_id=g").await);
        assert_eq!(page["messages"].as_array().unwrap().len(), 2, "what was refused is nowhere: {page}");
    }
}

/// Each member gets each message once, whichever instance.
#[tokio::test]
async fn each_message_once_on_either() {
    for pair in [Pair::start().await, Pair::nodes().await] {
        assert_each_message_once(&pair).await;
    }
}

async fn assert_each_message_once(pair: &Pair) {
    pair.group("g", &["7", "8", "9"]).await;
    let mut clients = [
        pair.rigs[0].user("7").await,
        pair.rigs[1].user("8").await,
        pair.rigs[1].user("7").await,
        pair.rigs[0].user("9").await,
    ];
    for round in 0..25 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.say(&format!("{index}:{round}"), "g", &format!("{index}:{round}")).await;
        }
    }
    let expected: Vec<_> = (0..4)
        .map(|index| {
            let own: Vec<_> = (0..25).map(|round| format!("{index}:{round}")).collect();
            (index.to_string(), own)
        })
        .collect();
    let expected: HashMap<_, _> = expected.into_iter().collect();
    for client in &mut clients {
        assert_eq!(sorted(client.contents(100).await), expected);
    }
    // Nothing is behind them.
    clients[0].says("fence", "g", "fence").await;
    for client in &mut clients {
        assert_eq!(client.message().await["content"], "fence");
    }
    // History and resuming are the same on both.
    for rig in &pair.rigs {
        let page = data(&rig.ask("8", "/api/messages?group_id=g&limit=100").await);
        assert_eq!(page["messages"].as_array().unwrap().len(), 100);
        assert_eq!(page["messages"][0]["content"], "fence");
    }
}

/// Killed and started again while messages flow: what was acknowledged reaches everybody, once.
#[tokio::test]
async fn redis_killed_and_restarted() {
    let mut pair = Pair::start().await;
    pair.group("g", &["7", "8"]).await;
    let mut reader = pair.rigs[1].user("8").await;
    let mut near = pair.rigs[0].user("8").await;
    let mut writer = pair.rigs[0].user("7").await;
    let mut acked = Vec::new();
    for index in 0..150 {
        let content = format!("7:{index}");
        writer.says(&content, "g", &content).await;
        acked.push(content);
        match index {
            50 => pair.redis.kill(),
            100 => pair.redis.restart().await,
            _ => {}
        }
    }
    // Here it does not matter whether Redis is there.
    assert_eq!(near.contents(150).await, acked);
    assert_eq!(reader.contents(150).await, acked);
    writer.says("fence", "g", "fence").await;
    assert_eq!(reader.message().await["content"], "fence");
}

/// §7: members that come and go on one instance are subscribed and removed on the other.
#[tokio::test]
async fn members_of_the_other_instance() {
    for pair in [Pair::start().await, Pair::nodes().await] {
        assert_members_of_the_other_instance(&pair).await;
    }
}

async fn assert_members_of_the_other_instance(pair: &Pair) {
    pair.group("g", &["7"]).await;
    let mut late = pair.rigs[1].user("8").await;
    let mut writer = pair.rigs[0].user("7").await;
    data(&pair.rigs[0].service("POST", "/api/groups/g/members", json!({"user_id": "8"})).await);
    pair.until_members(&pair.rigs[1], "g", 2).await;
    late.says("c-1", "g", "mine").await;
    assert_eq!(writer.message().await["content"], "mine");
    writer.says("c-2", "g", "yours").await;
    while late.message().await["content"] != "yours" {}
    data(&pair.rigs[0].service("DELETE", "/api/groups/g/members", json!({"user_id": "8"})).await);
    pair.until_members(&pair.rigs[1], "g", 1).await;
    late.say("c-3", "g", "x").await;
    late.refused("c-3", 403, "不是群成员").await;
}

/// §7: what services write for a user, and for a group.
#[tokio::test]
async fn services_speak_through_redis() {
    for pair in [Pair::start().await, Pair::nodes().await] {
        assert_services_speak_through_redis(&pair).await;
    }
}

async fn assert_services_speak_through_redis(pair: &Pair) {
    pair.group("g", &["7"]).await;
    let mut clients = [pair.rigs[0].user("7").await, pair.rigs[1].user("7").await];
    let notice = json!({"user_id": 7, "notification_id": "notif_9", "type": "system", "title": "t", "content": "c", "timestamp": 1_760_000_000});
    pair.add("notification:push", notice).await;
    let progress = json!({"user_id": 7, "verify_id": 5, "status": 2, "refresh": true, "timestamp": 1_760_000_000});
    pair.add("verify:progress", progress).await;
    let message = json!({"message_id": "m-1", "group_id": "g", "sender_id": 99, "sender_name": "bot", "msg_type": 1, "content": "hello", "created_at": 1_760_000_000});
    pair.add("chat.message.new", message).await;
    for client in &mut clients {
        let mut seen = HashMap::new();
        for _ in 0..3 {
            let frame = client.next().await;
            seen.insert(frame["type"].as_str().unwrap().to_owned(), frame);
        }
        let notice = &seen["notification"];
        assert_eq!(notice["message_id"], "notif_9");
        assert_eq!(notice["data"]["created_at"], 1_760_000_000);
        let progress = &seen["verify_progress"]["data"];
        assert_eq!(progress, &json!({"verify_id": 5, "status": 2, "refresh": true}));
        let message = &seen["new_message"];
        assert_eq!(message["message_id"], "m-1");
        assert_eq!(message["data"]["sender_id"], "99");
    }
    // The notification is stored once, the message on both; nodes have both in common.
    let expected = if pair.meet == Meet::Instances { 1 } else { 2 };
    eventually(async || {
        let mut stored = 0;
        for rig in &pair.rigs {
            let count = data(&rig.ask("7", "/api/notifications/unread-count").await);
            stored += count["count"].as_u64().unwrap();
        }
        (stored == expected).then_some(())
    })
    .await;
    for rig in &pair.rigs {
        let page = data(&rig.ask("7", "/api/messages?group_id=g").await);
        assert_eq!(page["messages"][0]["message_id"], "m-1");
    }
}

/// §6: a notification by HTTP reaches all connections of the user, whichever instance was asked, each once.
#[tokio::test]
async fn a_notification_reaches_both() {
    for pair in [Pair::start().await, Pair::nodes().await] {
        assert_a_notification_reaches_both(&pair).await;
    }
}

async fn assert_a_notification_reaches_both(pair: &Pair) {
    let mut clients = [pair.rigs[0].user("7").await, pair.rigs[1].user("7").await];
    for id in ["n1", "n2", "n3"] {
        let body = json!({"user_id": "7", "notification_id": id, "title": "t"});
        data(&pair.rigs[0].service("POST", "/api/notifications", body).await);
    }
    for client in &mut clients {
        for id in ["n1", "n2", "n3"] {
            assert_eq!(client.expect("notification").await["message_id"], id);
        }
    }
    let list = data(&pair.rigs[0].ask("7", "/api/notifications").await);
    assert_eq!(list["unread_count"], 3);
    // Nothing comes back to where they were sent from.
    pair.add("verify:progress", json!({"user_id": "7", "verify_id": 1})).await;
    for client in &mut clients {
        client.expect("verify_progress").await;
    }
}

/// §2, §10: users of all instances, or of one.
#[tokio::test]
async fn users_of_all_instances() {
    for pair in [Pair::start().await, Pair::nodes().await] {
        assert_users_of_all_instances(&pair).await;
    }
}

async fn assert_users_of_all_instances(pair: &Pair) {
    let first = pair.rigs[0].user("7").await;
    let _second = pair.rigs[1].user("7").await;
    let _other = pair.rigs[1].user("8").await;
    for rig in &pair.rigs {
        rig.until_online(2).await;
    }
    let mut http = Http::connect_to(pair.rigs[0].address).await;
    let here = http.ask("GET", "/stats?scope=instance", &[]).await.json();
    assert_eq!(here, json!({"online_users": 1}));
    drop(first);
    // The user is still there, on the other instance.
    eventually(async || {
        let here = http.ask("GET", "/stats?scope=instance", &[]).await.json();
        (here["online_users"] == 0).then_some(())
    })
    .await;
    pair.rigs[0].until_online(2).await;
    // What the other instance tells of its users comes on a line of its own.
    eventually(async || {
        let status = http.ask("GET", "/api/users/status?user_id=7", &[]).await;
        (data(&status)["is_online"] == true).then_some(())
    })
    .await;
}
