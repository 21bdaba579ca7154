//! With Redis gone, and with Redis that does not answer, every operation of every protocol: what can be answered is answered, the
//! rest is refused in time with a code that says so, and nothing that was refused is there when Redis is back
//! (`docs/cluster.md`, What is promised).

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use letshare_server::config::{Config, Protocol};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    Ground, KEY,
    beside::{token_request, until_ready},
    history, message, until_met,
};
use crate::{
    ably_comet::Lines,
    chat, group,
    letshare_relay::raw,
    postoffice::{self, client::letter},
    relay::Socket,
    support::{
        AblyClient, Client, Http, PATIENCE, Response, Server,
        ably::{action, flag},
        eventually,
        redis::RedisServer,
    },
};

const SERVICE_KEY: &str = "a key that only back ends know";
/// In all that is refused, and in nothing else.
const GHOST: &str = "ghost-of-a-refusal";
/// A revocation that is refused holds all the same: at once at its server, at all when Redis is back.
const REVOKED: &str = "clientId:revoked-all-the-same";

/// How Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    /// It takes connections and commands, which it carries out when it is back.
    Silent,
    Gone,
}

fn serving(config: &mut Config, redis: u16) {
    config.cluster.deadline = Duration::from_secs(1);
    config.ably.sandbox = true;
    (config.relay.enabled, config.postoffice.enabled) = (true, true);
    (config.chat.enabled, config.group.enabled) = (true, true);
    config.relay.api_key = SERVICE_KEY.to_owned().into();
    config.relay.stats_path = Some("/relay/stats".into());
    config.relay.offline_ttl = Duration::from_secs(3_600);
    config.chat.jwt_secret = chat::house::SECRET.into();
    config.group.service_key = SERVICE_KEY.to_owned().into();
    config.group.redis = Some(format!("127.0.0.1:{redis}"));
    config.group.port = Some(0);
    (config.group.ws_path, config.group.api_path) = ("/ws".into(), "/api".into());
}

/// Who asks.
#[derive(Clone, Copy)]
enum Who {
    Ably,
    /// By a key whose tokens can be revoked.
    Revoker,
    Nobody,
    BackEnd,
    ChatUser,
    Service,
    Member,
}
use Who::{Ably, BackEnd, ChatUser, Member, Nobody, Revoker, Service};

/// A request, the status of its answer, and what stands in it.
struct Ask {
    who: Who,
    method: &'static str,
    target: String,
    body: Value,
    answer: (u16, &'static str),
}

const BUSY: (u16, &str) = (503, "50004");
const RELAY_BUSY: (u16, &str) = (503, "server is busy");
const GROUP_BUSY: (u16, &str) = (503, "\"code\":503");

fn get(who: Who, target: impl Into<String>, answer: (u16, &'static str)) -> Ask {
    Ask { who, method: "GET", target: target.into(), body: Value::Null, answer }
}

fn post(who: Who, target: impl Into<String>, body: Value, answer: (u16, &'static str)) -> Ask {
    Ask { who, method: "POST", target: target.into(), body, answer }
}

struct Stage {
    redis: RedisServer,
    node: Server,
    other: Server,
    group: SocketAddr,
    _ground: Ground,
}

impl Stage {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let ground = Ground::new();
        let [node, other] = std::array::from_fn(|_| ground.node(redis.port, |config| serving(config, redis.port)));
        for node in [&node, &other] {
            until_met(node.address, 2).await;
            until_ready(node, None).await;
        }
        let group = node.address_of(Protocol::Group);
        Self { redis, node, other, group, _ground: ground }
    }

    async fn ask(&self, ask: &Ask) -> Response {
        let mut headers = vec![("X-Ably-Version", "6".to_owned())];
        let mut target = ask.target.clone();
        let mark = if target.contains('?') { '&' } else { '?' };
        let mut address = self.node.address;
        match ask.who {
            Ably => target += &format!("{mark}key={KEY}"),
            Revoker => target += &format!("{mark}key=abc123.second:open-sesame-open-sesame"),
            Nobody => {}
            BackEnd => headers.push(("X-API-KEY", SERVICE_KEY.to_owned())),
            ChatUser => headers.push(("x-token", chat::house::token(7))),
            Service => {
                address = self.group;
                headers.push(("X-Service-Key", SERVICE_KEY.to_owned()));
            }
            Member => {
                address = self.group;
                headers.push(("Authorization", format!("Bearer {}", group::token(json!("7")))));
            }
        }
        let body = if ask.body.is_null() { String::new() } else { ask.body.to_string() };
        if !body.is_empty() {
            headers.push(("Content-Type", "application/json".to_owned()));
            headers.push(("Content-Length", body.len().to_string()));
        }
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Http::connect_to(address).await.ask_with(ask.method, &target, &headers, body.as_bytes()).await
    }

    fn leave(&mut self, away: Away) {
        match away {
            Away::Silent => kill(Pid::from_raw(self.redis.id() as i32), Signal::SIGSTOP).unwrap(),
            Away::Gone => self.redis.kill(),
        }
    }

    async fn come_back(&mut self, away: Away) {
        match away {
            Away::Silent => kill(Pid::from_raw(self.redis.id() as i32), Signal::SIGCONT).unwrap(),
            Away::Gone => self.redis.restart().await,
        }
        for node in [&self.node, &self.other] {
            until_ready(node, None).await;
        }
    }
}

/// Of `serial`, a message of the channel that is open.
fn requests(serial: &str) -> Vec<Ask> {
    let one = format!("/channels/kept:open/messages/{}", serial.replace('@', "%40").replace(':', "%3A"));
    let ghost = || json!([{"data": GHOST}]);
    let push = |more: Value| {
        let mut push = json!({"event_name": "x", "subject": GHOST});
        push.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        push
    };
    let reaction = json!([{"type": "reaction:distinct.v1", "name": GHOST, "clientId": "alice"}]);
    let counter = || json!([{"path": GHOST, "counterCreate": {"count": 1}}]);
    let signed = token_request("abc123.first1", "a nonce of enough letters", "alice");
    vec![
        get(Nobody, "/health", (200, "healthy")),
        get(Nobody, "/metrics", (200, "cluster")),
        get(Ably, "/time", (200, "[")),
        post(Ably, "/channels/kept:open/messages", ghost(), BUSY),
        post(Ably, "/channels/closed/messages", ghost(), BUSY),
        post(
            Ably,
            "/messages",
            json!([{"channels": ["kept:open", "closed"], "messages": [{"data": GHOST}]}]),
            (201, "\"failureCount\":2"),
        ),
        get(Ably, "/presence?channels=kept:open,closed", (200, "\"successCount\":1,\"failureCount\":1")),
        get(Ably, "/channels/kept:open/messages", BUSY),
        get(Ably, "/channels/closed/messages", BUSY),
        get(Ably, "/channels/kept:open/presence", (200, "[]")),
        get(Ably, "/channels/closed/presence", BUSY),
        get(Ably, "/channels/kept:open/presence/history", BUSY),
        get(Ably, "/channels/kept:open", (200, "\"isActive\":true")),
        get(Ably, "/channels/closed", BUSY),
        get(Ably, "/channels", BUSY),
        get(Ably, "/stats", BUSY),
        get(Ably, &*one, (200, "taken")),
        Ask { method: "PATCH", ..post(Ably, &*one, json!({"action": 1, "data": GHOST}), BUSY) },
        get(Ably, format!("{one}/versions"), BUSY),
        get(Ably, format!("{one}/annotations"), BUSY),
        post(Ably, format!("{one}/annotations"), reaction, BUSY),
        get(Ably, format!("{one}/client-summary?forClientId=alice"), (200, "{}")),
        get(Ably, "/channels/closed/object", BUSY),
        post(Ably, "/channels/closed/object", counter(), BUSY),
        post(Ably, "/channels/kept:open/object", counter(), BUSY),
        post(Ably, "/chat/v4/rooms/lobby/messages", json!({"text": GHOST}), BUSY),
        get(Ably, "/chat/v4/rooms/lobby/messages", BUSY),
        post(Ably, "/keys/abc123.first1/requestToken", json!({"keyName": "abc123.first1"}), (201, "token")),
        post(Nobody, "/keys/abc123.first1/requestToken", signed, BUSY),
        post(Revoker, "/keys/abc123.second/revokeTokens", json!({"targets": [REVOKED]}), BUSY),
        post(Nobody, "/apps", json!({"keys": [{}], "namespaces": [{"id": GHOST}]}), BUSY),
        get(Ably, "/comet/connect?v=6&stream=false", (200, "\"action\":4")),
        get(Ably, "/sse?v=3&channels=closed", (200, "event: error\ndata: {\"code\":50004")),
        post(BackEnd, "/relay/api/push", push(json!({"token": "ann"})), RELAY_BUSY),
        post(BackEnd, "/relay/api/push", push(json!({})), RELAY_BUSY),
        post(BackEnd, "/relay/api/push", push(json!({"token": "away"})), RELAY_BUSY),
        post(BackEnd, "/relay/api/push", push(json!({"token": "ann", "delay_seconds": 1})), RELAY_BUSY),
        get(BackEnd, "/relay/api/push/scheduled", RELAY_BUSY),
        Ask { method: "DELETE", ..get(BackEnd, "/relay/api/push/scheduled/none", RELAY_BUSY) },
        get(BackEnd, "/relay/stats", RELAY_BUSY),
        get(BackEnd, "/relay/health", (200, "ok")),
        get(Nobody, "/postoffice/stats", (503, "The server is busy")),
        get(Nobody, "/postoffice/health", (200, "ok")),
        get(ChatUser, "/api/ws/online-count", (200, "\"count\":1")),
        get(ChatUser, "/api/ws/online-users", (200, "[7]")),
        post(ChatUser, "/api/ws/send-message", json!({"room_id": "lobby", "content": GHOST}), (503, "10008")),
        post(ChatUser, "/api/ws/broadcast", json!({"message": GHOST}), (503, "10006")),
        get(ChatUser, "/api/ws/messages?room_id=lobby", (503, "10008")),
        get(ChatUser, "/chat/health", (200, "ok")),
        get(ChatUser, "/chat/health?deep=1", (503, "down")),
        get(Member, "/api/messages?group_id=g", GROUP_BUSY),
        get(Member, "/api/messages/offline?after_time=0", GROUP_BUSY),
        get(Member, "/api/users/status?user_id=7", GROUP_BUSY),
        get(Member, "/api/users/7/groups", GROUP_BUSY),
        get(Member, "/api/notifications", GROUP_BUSY),
        post(Service, "/api/notifications", json!({"user_id": "7", "title": GHOST}), GROUP_BUSY),
        get(Member, "/api/notifications/unread-count", GROUP_BUSY),
        post(Member, "/api/notifications/read-all", json!({}), GROUP_BUSY),
        post(Service, "/api/groups", json!({"group_id": "h", "name": GHOST, "members": ["7"]}), GROUP_BUSY),
        get(Service, "/api/groups/g", (200, "\"g\"")),
        get(Service, "/api/groups/g/members", (200, "\"7\"")),
        post(Service, "/api/groups/g/members", json!({"members": [GHOST]}), GROUP_BUSY),
        Ask { method: "DELETE", ..post(Service, "/api/groups/g/members", json!({"members": ["8"]}), GROUP_BUSY) },
    ]
}

/// What is not as it has to be.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    /// What comes in time, as text, has to have this in it.
    async fn check(&mut self, what: &str, comes: impl Future<Output = impl ToString>, expected: &str) {
        match timeout(PATIENCE, comes).await.map(|told| told.to_string()) {
            Ok(told) if told.contains(expected) => {}
            Ok(told) => self.0.push(format!("{what}: {expected:?} is not in {told}")),
            Err(_) => self.0.push(format!("{what}: no answer")),
        }
    }
}

/// The next frame about what a client of the group protocol has asked for.
async fn told_of(client: &mut group::client::Client, id: &str) -> Value {
    loop {
        let told = client.next().await;
        if told["message_id"] == id {
            return told;
        }
    }
}

async fn walk(away: Away) {
    let mut stage = Stage::start().await;
    let mut faults = Faults::default();
    let connect = async |name: &str| {
        let query = format!("v=6&key={KEY}&clientId={name}");
        AblyClient::connect_with(&stage.node, &query).await.0
    };
    // Who is there before, and who watches at the other node.
    let (mut alice, mut things, mut leaver) =
        (connect("alice").await, connect("things").await, connect("leaver").await);
    let modes = flag::PRESENCE | flag::PUBLISH | flag::SUBSCRIBE | flag::ANNOTATION_PUBLISH;
    alice.attach_with(json!({"action": action::ATTACH, "channel": "kept:open", "flags": modes})).await;
    let modes = flag::OBJECT_SUBSCRIBE | flag::OBJECT_PUBLISH;
    things.attach_with(json!({"action": action::ATTACH, "channel": "kept:open", "flags": modes})).await;
    things.expect(action::OBJECT_SYNC).await;
    leaver.attach("kept:open").await;
    let serial = alice.publish("kept:open", message("taken")).await;
    let told = alice.acked(serial).await;
    let serial = told[0]["messages"][0]["serial"].as_str().unwrap().to_owned();
    let comet = stage.ask(&get(Ably, "/comet/connect?v=6&stream=false", (200, ""))).await.json();
    let comet = comet[0]["connectionDetails"]["connectionKey"].as_str().unwrap().to_owned();
    let mut watchers = Vec::new();
    for channel in ["kept:open", "closed"] {
        watchers.push(super::attached(&stage.other, channel).await);
    }
    let made = post(Service, "/api/groups", json!({"group_id": "g", "name": "n", "members": ["7", "8"]}), (200, ""));
    assert_eq!(stage.ask(&made).await.status, 200);
    let mut member = group::client::Client::authenticated(stage.group, "7").await;
    let mut far_member = group::client::Client::authenticated(stage.other.address_of(Protocol::Group), "8").await;
    let mut chatter = chat::client::Client::connect(stage.node.address, 7).await;
    let mut listener = chat::client::Client::connect(stage.other.address, 8).await;
    chatter.send("create_group", json!({"group_name": "crew", "member_ids": [8]})).await;
    let crew = chatter.data().await["group_id"].clone();
    chatter.send("join_room", json!({"room_id": "lobby"})).await;
    chatter.data().await;
    let mailbox = async |node: &Server, name: &str| {
        let url = format!("ws://{}/postoffice/ws?clientID={name}", node.address);
        postoffice::client::Client::open(&url, Some("Bearer any"), name).await.unwrap()
    };
    let (mut desk, mut erp) = (mailbox(&stage.node, "desk").await, mailbox(&stage.other, "erp").await);
    let mut users = Vec::new();
    for node in [&stage.node, &stage.other] {
        let mut user = Socket::connect(&format!("ws://{}/relay/ws", node.address)).await;
        user.identify(json!("ann")).await;
        users.push(user);
    }
    let (mut page, mut peer) = (
        Client::join(&stage.node, raw::SENDER, "demo1").await,
        Client::join(&stage.node, raw::RECEIVER, "demo1").await,
    );
    let mut far = Client::join(&stage.other, "far:1", "demo1").await;
    eventually(async || {
        let stats = stage.ask(&get(BackEnd, "/relay/stats", (200, ""))).await.json();
        (stats["data"]["identified"] == 2 && stats["data"]["connections"] == 2).then_some(())
    })
    .await;

    stage.leave(away);
    let asks = requests(&serial);
    let told = join_all(asks.iter().map(async |ask| timeout(PATIENCE, stage.ask(ask)).await)).await;
    for (ask, told) in asks.iter().zip(told) {
        let (status, word) = ask.answer;
        match told {
            Ok(told) if told.status == status && told.body.contains(word) => {}
            Ok(told) => {
                let start: String = told.body.chars().take(300).collect();
                faults.0.push(format!("{} {}: {status} {word}, not {} {start}", ask.method, ask.target, told.status));
            }
            Err(_) => faults.0.push(format!("{} {}: no answer", ask.method, ask.target)),
        }
    }

    // Frames of Ably.
    alice.publish("kept:open", message(GHOST)).await;
    alice.publish("closed", message(GHOST)).await;
    alice.presence("kept:open", json!([{"action": 2, "data": GHOST}])).await;
    let update = json!([{"action": 1, "serial": serial, "data": GHOST}]);
    alice.push(action::MESSAGE, "messages", "kept:open", update).await;
    let reaction = json!([{"action": 0, "messageSerial": serial, "type": "reaction:distinct.v1", "name": GHOST}]);
    let last = alice.push(action::ANNOTATION, "annotations", "kept:open", reaction).await;
    let mut answered = 1;
    while answered <= last {
        let told = alice.next().await;
        if told["action"] != action::NACK || told["error"]["code"] != 50_004 || told["msgSerial"] != answered {
            faults.0.push(format!("frame {answered}: {told}"));
        }
        answered += told["count"].as_u64().unwrap_or(1);
    }
    let set = json!({"action": 1, "objectId": "root", "mapSet": {"key": "k", "value": {"string": GHOST}}});
    things.push(action::OBJECT, "state", "kept:open", json!([{"operation": set}])).await;
    faults.check("OBJECT", things.next(), "50004").await;
    alice.send(json!({"action": action::ATTACH, "channel": "closed"})).await;
    let refused = alice.next().await;
    if refused["action"] != action::DETACHED || refused["error"]["code"] != 50_004 {
        faults.0.push(format!("ATTACH closed: {refused}"));
    }
    alice.send(json!({"action": action::DETACH, "channel": "closed"})).await;
    faults.check("DETACH closed", alice.next(), "\"action\":13").await;
    leaver.expect(action::MESSAGE).await;
    leaver.send(json!({"action": action::DETACH, "channel": "kept:open"})).await;
    faults.check("DETACH", leaver.next(), "\"action\":13").await;
    leaver.send(json!({"action": action::CLOSE})).await;
    faults.check("CLOSE", leaver.next(), "\"action\":8").await;
    let mut bob = AblyClient::open(&stage.node, &format!("v=6&key={KEY}&clientId=bob")).await;
    faults.check("CONNECT", bob.next(), "\"action\":4").await;
    bob.send(json!({"action": action::ATTACH, "channel": "kept:open", "params": {"rewind": "1"}})).await;
    faults.check("ATTACH", bob.next(), "\"action\":11").await;
    faults.check("rewind", bob.next(), "taken").await;
    bob.send(json!({"action": action::HEARTBEAT, "id": "x"})).await;
    faults.check("HEARTBEAT", bob.next(), "\"action\":0").await;
    let stream = Lines::open(stage.node.address, &format!("/sse?v=3&channels=kept:open&key={KEY}"), "").await;
    assert!(stream.head.starts_with("HTTP/1.1 200"), "{}", stream.head);
    let frames =
        json!([{"action": action::MESSAGE, "channel": "kept:open", "msgSerial": 0, "messages": [{"data": GHOST}]}]);
    assert_eq!(stage.ask(&post(Nobody, format!("/comet/{comet}/send"), frames, (204, ""))).await.status, 204);
    let hears = get(Nobody, format!("/comet/{comet}/recv"), (200, ""));
    let nacked = async {
        loop {
            let told = stage.ask(&hears).await.body;
            if told.contains("\"action\":2") {
                break told;
            }
        }
    };
    faults.check("comet", nacked, "50004").await;

    // LetShare.
    page.publish("demo1", "signal:all", json!({"n": GHOST})).await;
    faults.check("publish to a room", page.next(), "\"code\":503").await;
    page.send(json!({"type": "subscribe", "channel": "demo2", "event": "signal:all"})).await;
    faults.check("a room", page.next(), "\"code\":503").await;
    page.send(json!({"type": "subscribe", "channel": "demo1", "event": "other"})).await;
    faults.check("another event", page.next(), "subscribed").await;
    page.send(json!({"type": "unsubscribe", "channel": "demo1", "event": "other"})).await;
    faults.check("not that event", page.next(), "unsubscribed").await;
    page.send(raw::request("t-1", 4)).await;
    faults.check("a file", peer.next(), "file:transfer:request").await;
    raw::say(&mut peer, "reject", "t-1", json!({})).await;
    faults.check("no file", page.next(), "file:transfer:reject").await;
    let mut newcomer = Client::connect(&stage.node, "new:1").await;
    newcomer.send(json!({"type": "subscribe", "channel": "demo1", "event": "signal:all"})).await;
    faults.check("a newcomer", newcomer.next(), "\"code\":503").await;

    // The older protocols.
    for (cmd, data, word) in [
        ("send_message", json!({"to_user_id": 8, "content": GHOST}), "\"code\":10008"),
        ("send_group_message", json!({"group_id": crew, "content": GHOST}), "\"code\":3009"),
        ("broadcast", json!({"message": GHOST}), "\"code\":10006"),
        ("join_room", json!({"room_id": "other"}), "\"code\":503"),
        ("leave_room", json!({"room_id": "lobby"}), "\"code\":0"),
        ("create_group", json!({"group_name": GHOST, "member_ids": [8]}), "\"code\":3009"),
        ("online", json!({}), "\"code\":0"),
        ("ping", json!({}), "pong"),
    ] {
        faults.check(cmd, chatter.asks(cmd, data), word).await;
    }
    let came = async {
        let url = format!("ws://{}/ws/chat", stage.node.address);
        let opened = chat::client::Client::open(&url, &[("x-token", &chat::house::token(9))], 9).await;
        match opened {
            Ok(mut client) => format!("{:?}", client.expect_close().await),
            Err(refused) => refused.to_string(),
        }
    };
    faults.check("a user of the chat", came, "1013").await;
    desk.send(letter("desk", "erp", GHOST)).await;
    faults.check("a letter", desk.next(), "rate_limited").await;
    let mut user = Socket::connect(&format!("ws://{}/relay/ws", stage.node.address)).await;
    user.identify(json!("eve")).await;
    member.say("m1", "g", GHOST).await;
    faults.check("a message to a group", told_of(&mut member, "m1"), "\"code\":503").await;
    member.send("mark_read", "m2", json!({"group_id": "g", "message_id": "none"})).await;
    faults.check("mark_read", told_of(&mut member, "m2"), "\"type\":\"error\"").await;
    member.send("ping", "m3", json!({})).await;
    faults.check("a ping of a group", told_of(&mut member, "m3"), "pong").await;
    assert!(faults.0.is_empty(), "{away:?}:\n{}", faults.0.join("\n"));

    stage.come_back(away).await;
    // By each way something is published again: whatever was behind a refusal is there by then.
    let again = post(Ably, "/channels/kept:open/messages", message("again"), (201, ""));
    eventually(async || (stage.ask(&again).await.status == 201).then_some(())).await;
    let closed = post(Ably, "/channels/closed/messages", message("again"), (201, ""));
    eventually(async || (stage.ask(&closed).await.status == 201).then_some(())).await;
    let pushed =
        post(BackEnd, "/relay/api/push", json!({"event_name": "again", "subject": 1, "token": "ann"}), (200, ""));
    eventually(async || (stage.ask(&pushed).await.status == 200).then_some(())).await;
    eventually(async || {
        let told = chatter.asks("send_message", json!({"to_user_id": 8, "content": "again"})).await;
        (told["code"] == 0).then_some(())
    })
    .await;
    eventually(async || {
        desk.send(letter("desk", "erp", "again")).await;
        tokio::select! {
            told = erp.next() => { assert_eq!(told["subject"], "again"); Some(()) }
            _ = desk.next() => None,
        }
    })
    .await;
    eventually(async || {
        page.publish("demo1", "signal:all", json!({"n": "again"})).await;
        tokio::select! {
            told = far.next() => { assert_eq!(told["data"]["n"], "again", "{told}"); Some(()) }
            _ = page.next() => None,
        }
    })
    .await;
    let mut number = 9;
    eventually(async || {
        number += 1;
        let id = format!("m{number}");
        member.say(&id, "g", "again").await;
        let told = told_of(&mut member, &id).await;
        (told["data"]["success"] == true).then_some(())
    })
    .await;
    let heard = loop {
        let told = far_member.next().await;
        if told["type"] == "new_message" {
            break told;
        }
    };
    assert_eq!(heard["data"]["content"], "again");
    for watcher in &mut watchers {
        loop {
            let frame = watcher.next().await;
            assert!(!frame.to_string().contains(GHOST), "{frame}");
            if frame["action"] == action::MESSAGE && frame["messages"][0]["data"] == "again" {
                break;
            }
        }
    }
    for user in &mut users {
        user.expect("again").await;
    }
    assert_eq!(listener.data().await["content"], "again");
    assert_eq!(history(&stage.other, "closed").await, ["again"]);
    assert_eq!(history(&stage.other, "kept:open").await, ["taken", "again"]);
    // Whatever else there is.
    let written = async || String::from_utf8_lossy(&stage.redis.written()).into_owned();
    eventually(async || written().await.contains(REVOKED).then_some(())).await;
    let written = written().await;
    assert!(written.contains("taken") && written.contains("again"), "it is to be read there");
    if let Some((before, after)) = written.split_once(GHOST) {
        let before: String = before.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
        panic!("what was refused was written: {before}{GHOST}{}", after.chars().take(200).collect::<String>());
    }
}

#[tokio::test]
async fn with_redis_gone_everything_is_answered_or_refused_and_nothing_appears_later() {
    walk(Away::Gone).await;
}

#[tokio::test]
async fn with_redis_that_does_not_answer_everything_is_answered_or_refused_and_nothing_appears_later() {
    walk(Away::Silent).await;
}
