//! Nodes of a cluster, which keep groups on its Redis (`docs/cluster.md`).

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{
    instances::{Pair, until_redis},
    resume::resumes,
    survival::start_by,
    *,
};
use crate::{cluster::Ground, support::redis::RedisServer};

/// Of the first group of a user.
async fn unread(rig: &Rig, user: &str) -> Value {
    data(&rig.ask(user, &format!("/api/users/{user}/groups")).await)["groups"][0]["unread_count"].clone()
}

async fn contents(rig: &Rig, user: &str, group: &str) -> Vec<String> {
    let page = data(&rig.ask(user, &format!("/api/messages?group_id={group}&limit=100")).await);
    let all = page["messages"].as_array().unwrap();
    all.iter().rev().map(|message| message["content"].as_str().unwrap().to_owned()).collect()
}

/// Who registers a group, or marks a message as read, at one node has done so at all, when it is answered; a node that starts with
/// an empty folder knows groups, members, messages, markers and notifications.
#[tokio::test]
async fn nodes_have_one_store() {
    let pair = Pair::nodes().await;
    let body =
        json!({"group_id": "g", "name": "walkers", "owner_id": "7", "members": ["7", {"user_id": "8", "name": "Wu"}]});
    data(&pair.rigs[0].service("POST", "/api/groups", body).await);
    let group = data(&pair.rigs[1].ask("8", "/api/groups/g").await);
    assert_eq!(
        (&group["name"], &group["owner_id"], &group["member_count"]),
        (&json!("walkers"), &json!("7"), &json!(2))
    );
    data(&pair.rigs[1].service("POST", "/api/groups", json!({"group_id": "g", "name": "runners"})).await);
    let mut writer = pair.rigs[1].user("7").await;
    let mut ids = Vec::new();
    for content in ["one", "two", "three"] {
        ids.push(writer.says(content, "g", content).await);
    }
    for rig in &pair.rigs {
        assert_eq!(unread(rig, "8").await, 3);
        assert_eq!(data(&rig.ask("8", "/api/groups/g").await)["name"], "runners");
    }
    let mut reader = pair.rigs[0].user("8").await;
    reader.send("mark_read", "m", json!({"group_id": "g", "message_id": ids[1]})).await;
    reader.acked("m").await;
    let notice = json!({"user_id": "8", "notification_id": "n1", "title": "t"});
    assert_eq!(data(&pair.rigs[0].service("POST", "/api/notifications", notice.clone()).await)["notified"], 1);
    assert_eq!(data(&pair.rigs[1].service("POST", "/api/notifications", notice).await)["notified"], 0, "it has it");
    eventually(async || (unread(&pair.rigs[1], "8").await == 1).then_some(())).await;
    // What is older moves no marker back, whichever node is asked.
    let mut other = pair.rigs[1].user("8").await;
    other.send("mark_read", "m", json!({"group_id": "g", "message_id": ids[0]})).await;
    other.acked("m").await;

    let third = pair.rig(|_| {});
    for rig in pair.rigs.iter().chain([&third]) {
        assert_eq!(unread(rig, "8").await, 1);
        assert_eq!(contents(rig, "8", "g").await, ["one", "two", "three"]);
        assert_eq!(data(&rig.ask("8", "/api/notifications").await)["unread_count"], 1);
    }
    let (mut resumed, told) = resumes(&third, "8", &ids[0]).await;
    assert_eq!(told["missed"], 2);
    assert_eq!(resumed.contents(2).await, ["two", "three"]);
    data(&pair.rigs[0].service("DELETE", "/api/groups/g/members?user_id=8", json!({})).await);
    // The others hear of a node some seconds after its start.
    pair.until_members(&third, "g", 1).await;
    resumed.say("late", "g", "late").await;
    resumed.refused("late", 403, "不是群成员").await;
    // What was sent once is one message, wherever it is sent again.
    let mut again = third.user("7").await;
    assert_eq!(again.says("two", "g", "two").await, ids[1]);
    assert_eq!(contents(&third, "7", "g").await, ["one", "two", "three"]);
}

/// Whoever joins a group that there is not makes it, at whichever node; of two who do so at two nodes at the same moment both are in
/// the same group.
#[tokio::test]
async fn groups_that_are_made_by_joining() {
    let ground = Ground::new();
    let redis = RedisServer::start().await;
    let rig = || {
        Rig::start(|config| {
            ground.join(redis.port, config);
            config.group.open_groups = true;
            config.group.messages_per_second = 0;
        })
    };
    let rigs = [rig(), rig()];
    let mut clients = [rigs[0].user("7").await, rigs[1].user("8").await];
    for round in 0..20 {
        let group = format!("g-{round}");
        for client in &mut clients {
            client.send("join_group", "j", json!({"group_id": group})).await;
        }
        for client in &mut clients {
            client.acked("j").await;
        }
        for rig in &rigs {
            eventually(async || {
                let known = rig.service("GET", &format!("/api/groups/{group}"), json!({})).await;
                (known.status == 200 && known.json()["data"]["member_count"] == 2).then_some(())
            })
            .await;
        }
        clients[0].says(&group, &group, &group).await;
        for client in &mut clients {
            assert_eq!(client.message().await["content"], *group);
        }
    }
}

/// Redis without its data: groups, members and markers are written again by the nodes, what was said in them is gone, and what is said
/// from then on comes to everybody.
#[tokio::test]
async fn redis_without_its_data() {
    let mut pair = Pair::nodes().await;
    pair.group("g", &["7", "8"]).await;
    let mut clients = [pair.rigs[0].user("7").await, pair.rigs[1].user("8").await];
    clients[0].says("1", "g", "before").await;
    // Emptied while it runs, then lost with its process.
    for round in 0..2 {
        pair.redis.command(&[b"FLUSHALL"]).await;
        if round == 1 {
            pair.redis.kill();
            until_redis(&pair.rigs, 0).await;
            pair.redis.restart().await;
            until_redis(&pair.rigs, 1).await;
        }
        eventually(async || {
            let kept = pair.redis.try_command(&[b"HLEN", b"ls:{st:group}r:group members"]).await?;
            (kept != ":0\r\n").then_some(())
        })
        .await;
        let third = pair.rig(|_| {});
        eventually(async || (third.ask("8", "/api/groups/g").await.status == 200).then_some(())).await;
        assert_eq!(contents(&third, "8", "g").await, [""; 0]);
        let after = format!("after {round}");
        clients[1].says(&after, "g", &after).await;
        for client in &mut clients {
            while client.message().await["content"] != *after {}
        }
    }
}

/// What is kept on Redis has a bound, beyond which it is refused with the setting that would allow it.
#[tokio::test]
async fn what_nodes_keep_on_redis_is_bounded() {
    let ground = Ground::new();
    let redis = RedisServer::start().await;
    let rig = Rig::start(|config| {
        ground.join(redis.port, config);
        config.group.stored_bytes = 65_536;
        config.group.messages_per_second = 0;
    });
    rig.group("g", &["7"]).await;
    let mut client = rig.user("7").await;
    let refused = eventually(async || {
        client.say("c", "g", &"x".repeat(20_000)).await;
        client.say("fresh", "g", &uuid()).await;
        let frame = client.next().await;
        (frame["type"] == "error").then_some(frame)
    })
    .await;
    assert_eq!(refused["data"]["code"], 503, "{refused}");
    assert!(refused["data"]["reason"].as_str().unwrap().contains("group.stored_bytes"), "{refused}");
    let notice = rig.service("POST", "/api/notifications", json!({"user_id": "7", "title": "t"})).await;
    assert_eq!(notice.status, 503, "{notice:?}");
}

fn uuid() -> String {
    format!("{:032x}{}", rand::random::<u128>(), "x".repeat(20_000))
}

/// A node that dies while it sends: what was acknowledged is there, once and in order, at the other one and when it is back with an
/// empty folder.
#[tokio::test]
async fn a_node_that_is_killed_while_it_sends() {
    let ground = Ground::new();
    let redis = RedisServer::start().await;
    let settings = ground.settings(redis.port);
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let folder = TempDir::new().expect("a folder");
    let (server, address) = start_by(&[], &folder, &settings).await;
    let other = Rig::start(|config| ground.join(redis.port, config));
    until_ready(address).await;
    make_group(address, "g", &["7", "8"]).await;
    eventually(async || (other.ask("8", "/api/groups/g").await.status == 200).then_some(())).await;
    let mut reader = other.user("8").await;
    let mut writer = Client::authenticated(address, "7").await;
    let (told, mut acks) = tokio::sync::mpsc::unbounded_channel();
    let writing = tokio::spawn(async move {
        for index in 0..100_000 {
            let content = index.to_string();
            writer.say(&content, "g", &content).await;
            if told.send((writer.acked(&content).await, content)).is_err() {
                break;
            }
        }
    });
    let mut acked = Vec::new();
    while acked.len() < 100 {
        acked.push(acks.recv().await.expect("an ack"));
    }
    let mut server = server;
    server.signal(Signal::SIGKILL);
    server.exit().await;
    // Its connection breaks in the middle of something.
    let _ = writing.await;
    while let Some(ack) = acks.recv().await {
        acked.push(ack);
    }
    let mut heard = Vec::new();
    while heard.len() < acked.len() {
        let message = reader.message().await;
        let text = |name: &str| message[name].as_str().unwrap().to_owned();
        heard.push((text("message_id"), text("content")));
    }
    assert_eq!(heard, acked, "each once, in order");
    drop(server);
    let folder = TempDir::new().expect("a folder");
    let (server, address) = start_by(&[], &folder, &settings).await;
    until_ready(address).await;
    let mut again = Client::authenticated(address, "7").await;
    let last = acked.last().expect("acks").clone();
    assert_eq!(again.says(&last.1, "g", &last.1).await, last.0, "sent again, it is known");
    let page = data(&ask(address, "7", "/api/messages?group_id=g&limit=100").await);
    let page: Vec<_> = page["messages"].as_array().unwrap().iter().map(|one| one["message_id"].clone()).collect();
    assert!(page.iter().filter(|id| **id == last.0).count() == 1, "once");
    server.terminate().await;
}

/// What a service writes while no node runs is stored by the next one, once.
#[tokio::test]
async fn what_a_service_says_while_no_node_runs_is_kept() {
    let mut pair = Pair::nodes().await;
    pair.group("g", &["7"]).await;
    let said = |id: &str| json!({"message_id": id, "group_id": "g", "sender_id": 99, "msg_type": 1, "content": id});
    pair.add("chat.message.new", said("m-1")).await;
    for rig in &pair.rigs {
        eventually(async || (contents(rig, "7", "g").await == ["m-1"]).then_some(())).await;
    }
    pair.end_all();
    pair.add("chat.message.new", said("m-2")).await;
    pair.add("chat.group.member.added", json!({"group_id": "g", "user_id": 8})).await;
    let next = pair.rig(|_| {});
    eventually(async || (contents(&next, "7", "g").await == ["m-1", "m-2"]).then_some(())).await;
    pair.until_members(&next, "g", 2).await;
}

/// How often Redis has run a command, also in scripts.
async fn run(redis: &RedisServer, command: &str) -> u64 {
    let told = redis.command(&[b"INFO", b"commandstats"]).await;
    let line = told.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// A message is stored by one script, with its three rows, however many nodes there are.
#[tokio::test]
async fn a_message_is_one_script() {
    const MESSAGES: u64 = 600;
    let pair = Pair::nodes().await;
    pair.group("g", &["7"]).await;
    for nodes in [2, 3] {
        let third = (nodes == 3).then(|| pair.rig(|_| {}));
        let mut readers = Vec::new();
        for rig in pair.rigs.iter().chain(&third) {
            readers.push(rig.user("7").await);
        }
        let mut writer = pair.rigs[0].user("7").await;
        let before = [run(&pair.redis, "evalsha").await, run(&pair.redis, "zadd").await];
        for index in 0..MESSAGES {
            writer.say(&format!("{nodes}-{index}"), "g", &index.to_string()).await;
        }
        let expected: Vec<_> = (0..MESSAGES).map(|index| index.to_string()).collect();
        for reader in &mut readers {
            assert_eq!(reader.contents(expected.len()).await, expected);
        }
        let [scripts, rows] =
            [run(&pair.redis, "evalsha").await - before[0], run(&pair.redis, "zadd").await - before[1]];
        // With them are those by which nodes say that they live.
        assert!(2 * scripts < 3 * MESSAGES, "{scripts} on {nodes} nodes");
        assert!((3 * MESSAGES..4 * MESSAGES).contains(&rows), "{rows} on {nodes} nodes");
    }
}
