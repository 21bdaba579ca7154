//! What nodes share beside their channels: the secret, connections, tokens, apps, what each of them counts.

use std::time::Duration;

use actix_web::rt::System;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use letshare_server::{app, clock::Clock, config::Config};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Ground, KEY, attached, message, proxy::Proxy};
use crate::support::{
    AblyClient, Http, Response, Server,
    ably::{TestApp, action},
    eventually,
    redis::RedisServer,
};

/// Why a node does not start.
pub fn refusal(ground: &Ground, redis: &RedisServer, adjust: impl FnOnce(&mut Config)) -> String {
    let data = tempfile::TempDir::new().unwrap();
    let mut config = Config::defaults().unwrap();
    ground.join(redis.port, &mut config);
    config.server.port = 0;
    config.data.dir = data.path().to_owned();
    adjust(&mut config);
    let start = async move { app::start(&config, Clock::system()).err().map(|error| format!("{error:#}")) };
    let started = std::thread::spawn(|| System::new().block_on(start)).join().unwrap();
    started.expect("it does not start")
}

/// `docs/design/cluster.md §2`: a connection of one node is to be good at the others.
#[tokio::test]
async fn a_node_that_is_set_up_otherwise_does_not_start() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let _node = ground.node(redis.port, |_| {});
    let other = ground.file("other", &"fedcba9876543210".repeat(4));
    let told = refusal(&ground, &redis, |config| config.cluster.secret_file = Some(other));
    assert!(told.contains("cluster.secret_file holds another secret"), "{told}");
    redis.command(&[b"HSET", b"ls:{ctl}conf", b"partitions", b"16"]).await;
    let told = refusal(&ground, &redis, |_| {});
    assert!(told.contains("their partitions are 16, those of this server are 64"), "{told}");
}

pub async fn ready(node: &Server) -> Response {
    Http::connect(node).await.ask("GET", "/ready", &[]).await
}

/// Waits until a node is ready, or is not, for a reason with this word in it.
pub async fn until_ready(node: &Server, reason: Option<&str>) {
    eventually(async || {
        let answer = ready(node).await;
        match reason {
            None => (answer.status == 200).then_some(()),
            Some(word) => (answer.status == 503 && answer.body.contains(word)).then_some(()),
        }
    })
    .await;
}

/// A load balancer learns that a node cannot serve, and why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_redis_takes_nothing_is_not_ready() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let node = ground.node(proxy.port, |config| config.cluster.deadline = Duration::from_millis(500));
    until_ready(&node, None).await;
    redis.command(&[b"CONFIG", b"SET", b"maxmemory", b"1"]).await;
    until_ready(&node, Some("maxmemory")).await;
    redis.command(&[b"CONFIG", b"SET", b"maxmemory", b"0"]).await;
    until_ready(&node, None).await;
    redis.command(&[b"REPLICAOF", b"127.0.0.1", b"1"]).await;
    until_ready(&node, Some("READONLY")).await;
    redis.command(&[b"REPLICAOF", b"NO", b"ONE"]).await;
    until_ready(&node, None).await;
    proxy.set_away(true);
    until_ready(&node, Some("is away for")).await;
    proxy.set_away(false);
    until_ready(&node, None).await;
    // Its lease may have ended meanwhile, and is taken again.
    let is_counted = async || {
        let figures = Http::connect(&node).await.ask("GET", "/metrics", &[]).await.json();
        (figures["cluster"]["nodes"] == 1 && figures["cluster"]["up"] == 1).then_some(())
    };
    eventually(is_counted).await;
}

/// `docs/cluster.md`, Watching: what appends came to and took, and why a channel could not follow its log.
#[tokio::test]
async fn what_a_node_sees_of_redis_is_counted() {
    let redis = RedisServer::start().await;
    let node = Ground::new().node(redis.port, |_| {});
    let mut client = attached(&node, "room").await;
    let serial = client.publish("room", message("x")).await;
    client.acked(serial).await;
    let figures = async || Http::connect(&node).await.ask("GET", "/metrics", &[]).await.json()["cluster"].clone();
    let before = figures().await;
    assert_eq!((&before["appends"]["kept"], &before["breaks"]["other_log"]), (&json!(1), &json!(0)), "{before}");
    assert!(before["append_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{before}");
    assert!(before["clock_offset_seconds"].is_f64(), "{before}");
    redis.command(&[b"FLUSHALL"]).await;
    eventually(async || (figures().await["breaks"]["other_log"] == 1).then_some(())).await;
    assert_eq!(figures().await["breaks"]["expired"], 0);
}

fn key_of(connected: &Value) -> &str {
    connected["connectionDetails"]["connectionKey"].as_str().unwrap()
}

/// `docs/protocols/ably.md §4.3`: who comes back at another node has the connection there, and nowhere else.
#[tokio::test]
async fn a_connection_is_at_one_node() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let (mut first, connected) = AblyClient::connect_with(&one, &format!("v=6&key={KEY}")).await;
    let query = format!("v=6&key={KEY}&clientId=alice&resume={}", key_of(&connected));
    let (mut second, resumed) = AblyClient::connect_with(&other, &query).await;
    assert_eq!(resumed["connectionId"], connected["connectionId"]);
    let told = first.expect(action::DISCONNECTED).await;
    assert_eq!(told["error"]["code"], 80016, "{told}");
    first.expect_end().await;

    // It has a client by now, whichever key of it is shown.
    let query = format!("v=6&key={KEY}&clientId=bob&resume={}", key_of(&connected));
    let mut thief = AblyClient::open(&one, &query).await;
    assert_eq!(thief.expect(action::ERROR).await["error"]["code"], 40102);

    second.send(json!({"action": action::CLOSE})).await;
    second.expect(action::CLOSED).await;
    let query = format!("v=6&key={KEY}&resume={}", key_of(&resumed));
    eventually(async || {
        let (_, again) = AblyClient::connect_with(&one, &query).await;
        (again["connectionId"] != connected["connectionId"] && again["error"]["code"] == 80008).then_some(())
    })
    .await;
}

/// `docs/protocols/ably.md §6.6`: by HTTP at any node, for a connection of another one.
#[tokio::test]
async fn a_message_is_published_for_a_connection_of_another_node() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let (mut alice, connected) = AblyClient::connect_with(&one, &format!("v=6&key={KEY}&clientId=alice")).await;
    alice.attach("room").await;
    let publish = async |client: &str| {
        let body = json!({"data": "for alice", "connectionKey": key_of(&connected), "clientId": client});
        let target = format!("/channels/room/messages?key={KEY}");
        Http::connect(&other).await.post(&target, &[], &body.to_string()).await
    };
    assert_eq!(publish("bob").await.json()["error"]["code"], 40012);
    assert_eq!(publish("alice").await.status, 201);
    let frame = alice.expect(action::MESSAGE).await;
    let message = &frame["messages"][0];
    let connection = frame.get("connectionId").unwrap_or(&message["connectionId"]);
    assert_eq!(*connection, connected["connectionId"], "{frame}");
    assert_eq!(message["clientId"], "alice", "{frame}");
}

/// The same in a frame: what the client sends behind it comes behind it.
#[tokio::test]
async fn a_frame_publishes_for_a_connection_of_another_node() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let (_alice, connected) = AblyClient::connect_with(&one, &format!("v=6&key={KEY}&clientId=alice")).await;
    let mut reader = attached(&one, "room").await;
    let mut publisher = AblyClient::connect(&other, KEY).await;
    let behalf = |client: &str| json!([{"data": "for alice", "connectionKey": key_of(&connected), "clientId": client}]);
    let first = publisher.publish("room", behalf("alice")).await;
    let second = publisher.publish("room", message("behind it")).await;
    let third = publisher.publish("room", behalf("bob")).await;
    let unknown = json!([{"data": "x", "connectionKey": "nonsense"}]);
    let fourth = publisher.publish("room", unknown).await;
    publisher.acked(first).await;
    publisher.acked(second).await;
    publisher.nacked(third, 40_012).await;
    publisher.nacked(fourth, 40_006).await;
    let frame = reader.expect(action::MESSAGE).await;
    let told = &frame["messages"][0];
    let connection = frame.get("connectionId").unwrap_or(&told["connectionId"]);
    assert_eq!((connection, &told["clientId"]), (&connected["connectionId"], &json!("alice")), "{frame}");
    let frame = reader.expect(action::MESSAGE).await;
    assert_eq!(frame["messages"][0]["data"], "behind it", "{frame}");
}

/// While Redis is away nobody can say whose a connection is: that is no fault of whoever names it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_a_connection_is_cannot_be_said_without_redis() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let cut_off = ground.node(proxy.port, |config| config.cluster.deadline = Duration::from_millis(300));
    let other = ground.node(redis.port, |_| {});
    let keys = async || {
        let (client, connected) = AblyClient::connect_with(&other, &format!("v=6&key={KEY}")).await;
        (client, key_of(&connected).to_owned())
    };
    let ((_alice, one), (_bob, two)) = (keys().await, keys().await);
    let mut publisher = AblyClient::connect(&cut_off, KEY).await;
    let publish = async |body: Value| {
        let target = format!("/channels/room/messages?key={KEY}");
        Http::connect(&cut_off).await.post(&target, &[], &body.to_string()).await.json()["error"]["code"].clone()
    };
    // Of one connection, or of none.
    assert_eq!(publish(json!([{"connectionKey": one}, {"connectionKey": two}])).await, 40_006);
    assert_eq!(publish(json!([{"connectionKey": one}, {}])).await, 40_006);
    proxy.set_away(true);
    assert_eq!(publish(json!({"data": "x", "connectionKey": one})).await, 50_004);
    let serial = publisher.publish("room", json!([{"data": "x", "connectionKey": one}])).await;
    publisher.nacked(serial, 50_004).await;
}

/// Who closes a connection while Redis is away has closed it for all nodes when it is back; who leaves has left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_while_redis_was_away_has_ended() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let cut_off = ground.node(proxy.port, |config| config.cluster.deadline = Duration::from_millis(300));
    let other = ground.node(redis.port, |_| {});
    let (mut closes, connected) = AblyClient::connect_with(&cut_off, &format!("v=6&key={KEY}&clientId=alice")).await;
    let (mut leaves, _) = AblyClient::connect_with(&cut_off, &format!("v=6&key={KEY}&clientId=bob")).await;
    leaves.attach("room").await;
    let serial = leaves.presence("room", json!([{"action": 2}])).await;
    leaves.acked(serial).await;
    let present = async || {
        let target = format!("/channels/room/presence?key={KEY}");
        Http::connect(&other).await.ask("GET", &target, &[]).await.json()
    };
    eventually(async || (present().await[0]["clientId"] == "bob").then_some(())).await;
    // Its row is there: it can be resumed elsewhere.
    eventually(async || redis.command(&[b"KEYS", b"ls:{conn*"]).await.contains("ls:{conn").then_some(())).await;
    proxy.set_away(true);
    let serial = leaves.presence("room", json!([{"action": 3}])).await;
    leaves.nacked(serial, 50_004).await;
    closes.send(json!({"action": action::CLOSE})).await;
    closes.expect(action::CLOSED).await;
    // A publish that is refused comes behind: the deadline of what was closed is over.
    let serial = leaves.publish("room", message("late")).await;
    leaves.nacked(serial, 50_004).await;
    proxy.set_away(false);
    eventually(async || (present().await == json!([])).then_some(())).await;
    let pattern = format!("ls:{{conn*}}{}", connected["connectionId"].as_str().unwrap());
    let row = redis.command(&[b"KEYS", pattern.as_bytes()]).await.lines().nth(2).unwrap().to_owned();
    eventually(async || redis.command(&[b"HGET", row.as_bytes(), b"ended"]).await.contains("ended").then_some(()))
        .await;
    let query = format!("v=6&key={KEY}&clientId=alice&resume={}", key_of(&connected));
    let (_, again) = AblyClient::connect_with(&other, &query).await;
    assert_eq!(again["error"]["code"], 80008, "{again}");
    assert_ne!(again["connectionId"], connected["connectionId"]);
}

pub fn token_request(name: &str, nonce: &str, client: &str) -> Value {
    let timestamp = Clock::system().now().millis();
    let lines = format!("{name}\n\n\n{client}\n{timestamp}\n{nonce}\n");
    let mac = Hmac::<Sha256>::new_from_slice(b"open-sesame-open-sesame").unwrap().chain_update(lines);
    let mac = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    json!({"keyName": name, "clientId": client, "timestamp": timestamp, "nonce": nonce, "mac": mac})
}

async fn request_token(node: &Server, request: &Value) -> Response {
    let target = format!("/keys/{}/requestToken", request["keyName"].as_str().unwrap());
    Http::connect(node).await.post(&target, &[], &request.to_string()).await
}

/// `docs/protocols/ably.md §12.2`: whoever overhears a token request has no use for it, at no node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_request_is_granted_once_by_all_nodes_together() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let one = ground.node(redis.port, |_| {});
    let other = ground.node(proxy.port, |config| config.cluster.deadline = Duration::from_millis(300));
    let request = token_request("abc123.first1", "a nonce of enough letters", "alice");
    assert_eq!(request_token(&one, &request).await.status, 201);
    for node in [&one, &other] {
        let refused = request_token(node, &request).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (401, &json!(40105)), "{}", refused.body);
    }
    // Nobody can say whether it was granted: it may come again.
    let request = token_request("abc123.first1", "another one, as long as that", "alice");
    proxy.set_away(true);
    let refused = request_token(&other, &request).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!(50004)), "{}", refused.body);
    proxy.set_away(false);
    eventually(async || (request_token(&other, &request).await.status == 201).then_some(())).await;
}

/// The same when Redis has lost its data: whoever has granted one tells it.
#[tokio::test]
async fn a_token_request_is_granted_once_also_when_redis_has_lost_its_data() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    until_ready(&one, None).await;
    let request = token_request("abc123.first1", "a nonce of enough letters", "alice");
    assert_eq!(request_token(&one, &request).await.status, 201);
    redis.command(&[b"FLUSHALL"]).await;
    eventually(async || redis.command(&[b"KEYS", b"ls:{ctl}once:*"]).await.contains("ls:{ctl}once:").then_some(()))
        .await;
    let refused = request_token(&other, &request).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (401, &json!(40105)), "{}", refused.body);
}

/// `docs/protocols/ably.md §12.7`: what is revoked at one node is revoked at all, those that start later among them.
#[tokio::test]
async fn a_token_that_was_revoked_is_good_at_no_node() {
    const REVOCABLE: &str = "abc123.second";
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let granted = request_token(&one, &token_request(REVOCABLE, "a nonce of enough letters", "alice")).await.json();
    let query = format!("v=6&accessToken={}", granted["token"].as_str().unwrap());
    let (mut alice, _) = AblyClient::connect_with(&one, &query).await;
    let target = format!("/keys/{REVOCABLE}/revokeTokens?key={REVOCABLE}:open-sesame-open-sesame");
    let body = json!({"targets": ["clientId:alice"]}).to_string();
    let told = Http::connect(&other).await.post(&target, &[("X-Ably-Version", "3")], &body).await;
    assert_eq!(told.status, 201, "{}", told.body);
    let told = alice.expect(action::DISCONNECTED).await;
    assert_eq!(told["error"]["code"], 40141, "{told}");

    let is_refused = async |node: &Server| {
        let mut client = AblyClient::open(node, &query).await;
        (client.next().await["error"]["code"] == 40141).then_some(())
    };
    let late = ground.node(redis.port, |_| {});
    eventually(async || is_refused(&late).await).await;
    // Redis without its data learns it again from whoever knows.
    redis.command(&[b"FLUSHALL"]).await;
    eventually(async || redis.command(&[b"HLEN", b"ls:{ctl}revocations"]).await.contains(":1").then_some(())).await;
    let later = ground.node(redis.port, |_| {});
    eventually(async || is_refused(&later).await).await;
}

/// `docs/protocols/ably.md §11.13`: an app that one node has made is one of all.
#[tokio::test]
async fn an_app_that_one_node_makes_is_there_at_all() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let node = || ground.node(redis.port, |config| config.ably.sandbox = true);
    let (one, other) = (node(), node());
    let setup = json!({"keys": [{}], "namespaces": [{"id": "kept", "persisted": true}],
        "channels": [{"name": "room", "presence": [{"clientId": "fixed", "data": "there"}]}]});
    let app = TestApp::create(&one, setup).await;
    let members = async |node: &Server| {
        let target = format!("/channels/room/presence?key={}", app.keys[0]);
        Http::connect(node).await.ask("GET", &target, &[]).await
    };
    let there = eventually(async || Some(members(&other).await).filter(|answer| answer.status == 200)).await;
    assert_eq!(there.json()[0]["clientId"], "fixed", "{}", there.body);
    let late = node();
    eventually(async || (members(&late).await.status == 200).then_some(())).await;
    let mut clients = [AblyClient::connect(&one, &app.keys[0]).await, AblyClient::connect(&other, &app.keys[0]).await];
    let target = format!("/apps/{}?key={}", app.id, app.keys[0]);
    assert_eq!(Http::connect(&other).await.ask("DELETE", &target, &[]).await.status, 204);
    for client in &mut clients {
        let told = client.expect(action::ERROR).await;
        assert_eq!((&told["error"]["code"], told.get("channel")), (&json!(40400), None), "{told}");
        client.expect_end().await;
    }
    for node in [&one, &late] {
        eventually(async || (members(node).await.status == 404).then_some(())).await;
    }
}

/// An app that this node has not heard of is no final refusal while it cannot hear of any: its client tries again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_app_is_refused_for_good_only_by_a_node_that_hears_the_others() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let node = ground.node(proxy.port, |config| config.cluster.deadline = Duration::from_millis(300));
    let code = async || {
        let query = "v=6&key=nobody.first1:open-sesame-open-sesame";
        AblyClient::open(&node, query).await.next().await["error"]["code"].clone()
    };
    until_ready(&node, None).await;
    assert_eq!(code().await, 40400);
    proxy.set_away(true);
    until_ready(&node, Some("is away for")).await;
    assert_eq!(code().await, 50004);
    let target = "/channels/room?key=nobody.first1:open-sesame-open-sesame";
    let told = Http::connect(&node).await.ask("GET", target, &[]).await;
    assert_eq!((told.status, &told.json()["error"]["code"]), (503, &json!(50004)), "{}", told.body);
}

/// A request that needs Redis is answered while Redis is away, or has no memory for what it would keep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_a_channel_is_told_or_refused_as_busy() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let node = ground.node(proxy.port, |config| config.cluster.deadline = Duration::from_secs(2));
    let status = async |channel: &str| {
        Http::connect(&node).await.ask("GET", &format!("/channels/{channel}?key={KEY}"), &[]).await
    };
    until_ready(&node, None).await;
    let target = format!("/channels/full/messages?key={KEY}");
    let told = Http::connect(&node).await.post(&target, &[], &message("kept").to_string()).await;
    assert_eq!(told.status, 201, "{}", told.body);
    redis.command(&[b"CONFIG", b"SET", b"maxmemory", b"1"]).await;
    let told = status("full").await;
    assert_eq!(told.status, 200, "{}", told.body);
    // Its log cannot be begun.
    let told = status("new").await;
    assert_eq!((told.status, &told.json()["error"]["code"]), (503, &json!(50004)), "{}", told.body);
    redis.command(&[b"CONFIG", b"SET", b"maxmemory", b"0"]).await;
    proxy.set_away(true);
    for target in ["away", "away/messages", "away/presence"] {
        let told = status(target).await;
        assert_eq!((told.status, &told.json()["error"]["code"]), (503, &json!(50004)), "{target}: {}", told.body);
    }
}

/// `docs/protocols/ably.md §11.7, §11.8`: lists and counts are of all nodes together.
#[tokio::test]
async fn channels_and_statistics_are_those_of_all_nodes() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let _clients = (attached(&one, "alpha").await, attached(&other, "beta").await);
    for (node, channel) in [(&one, "alpha"), (&other, "beta")] {
        let target = format!("/channels/{channel}/messages?key={KEY}");
        let told = Http::connect(node).await.post(&target, &[], &message("counted").to_string()).await;
        assert_eq!(told.status, 201, "{}", told.body);
    }
    let ask = async |node: &Server, target: &str| {
        Http::connect(node).await.ask("GET", &format!("{target}key={KEY}"), &[("X-Ably-Version", "3")]).await
    };
    for node in [&one, &other] {
        eventually(async || {
            let listed = ask(node, "/channels?").await;
            (listed.status == 200 && listed.json() == json!(["alpha", "beta"])).then_some(())
        })
        .await;
        assert_eq!(ask(node, "/channels?prefix=b&").await.json(), json!(["beta"]));
        eventually(async || {
            let page = ask(node, "/stats?unit=month&").await.json();
            (page[0]["entries"]["messages.inbound.all.messages.count"] == 2).then_some(())
        })
        .await;
    }
}

/// `docs/design/cluster.md §4`: tokens begin and end at the same moment at all nodes, whatever their machines take the time for.
#[tokio::test]
async fn a_node_whose_clock_is_an_hour_off_takes_the_time_of_redis() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let ahead = Clock::system().led();
    ahead.set_ahead(3_600_000);
    let node = Server::start_at(ahead, |config| ground.join(redis.port, config));
    eventually(async || {
        let told = Http::connect(&node).await.ask("GET", "/time", &[]).await.json();
        (told[0].as_u64().unwrap().abs_diff(Clock::system().now().millis()) < 600_000).then_some(())
    })
    .await;
}
