//! The relay and the post office at several nodes: pushes, delayed ones, mailboxes (`docs/cluster.md`).

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use letshare_server::config::Config;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use super::{Ground, proxy::Proxy, until_met};
use crate::{
    postoffice::client::{Client, letter},
    relay::Socket,
    support::{Http, Response, Server, eventually, redis::RedisServer},
};

const KEY: &str = "a key that only back ends know";

fn serving(config: &mut Config) {
    (config.relay.enabled, config.postoffice.enabled) = (true, true);
    config.relay.api_key = KEY.to_owned().into();
    config.relay.stats_path = Some("/relay/stats".into());
    config.relay.overdue_grace = Duration::ZERO;
    config.postoffice.threads_path = Some("/postoffice/threads".into());
}

fn keeping(config: &mut Config) {
    serving(config);
    config.relay.offline_ttl = Duration::from_secs(3_600);
}

fn nodes<const COUNT: usize>(ground: &Ground, redis: &RedisServer, adjust: impl Fn(&mut Config)) -> [Server; COUNT] {
    std::array::from_fn(|_| ground.node(redis.port, &adjust))
}

/// A request of a back end.
async fn ask(node: &Server, method: &str, target: &str, body: &str) -> Response {
    let mut http = Http::connect(node).await;
    let headers = [("X-API-KEY", KEY)];
    match method {
        "POST" => http.post(target, &headers, body).await,
        method => http.ask(method, target, &headers).await,
    }
}

/// The `data` of the answer to a push.
async fn push(node: &Server, push: Value) -> Value {
    let answer = ask(node, "POST", "/relay/api/push", &push.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["data"].clone()
}

fn to(user: &str, event: &str) -> Value {
    json!({"event_name": event, "subject": {"no": 1}, "token": user})
}

async fn user(node: &Server, name: &str) -> Socket {
    let mut socket = Socket::connect(&format!("ws://{}/relay/ws", node.address)).await;
    socket.identify(json!(name)).await;
    socket
}

/// Waits until so many have identified at all nodes.
async fn until_identified(node: &Server, count: usize) {
    eventually(async || {
        let stats = ask(node, "GET", "/relay/stats", "").await.json();
        (stats["data"]["identified"] == count && stats["data"]["connections"] == count).then_some(())
    })
    .await;
}

/// `docs/protocols/relay.md §5`: every connection in the group at the moment of sending, at whichever node; the answer counts them.
#[tokio::test]
async fn a_push_reaches_its_user_and_one_to_everybody_all_at_whichever_node() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = nodes(&ground, &redis, keeping);
    let mut sockets = [user(&one, "ann").await, user(&other, "ann").await, user(&other, "bob").await];
    until_identified(&one, 3).await;
    until_identified(&other, 3).await;
    for node in [&one, &other] {
        let pushed = push(node, to("ann", "hers")).await;
        assert_eq!((&pushed["connections"], &pushed["kept"]), (&json!(2), &json!(false)), "{pushed}");
        assert_eq!(push(node, json!({"event_name": "all", "subject": 1})).await["connections"], 3);
    }
    for (place, socket) in sockets.iter_mut().enumerate() {
        for _ in 0..2 {
            if place < 2 {
                socket.expect("hers").await;
            }
            socket.expect("all").await;
        }
    }
}

/// `docs/protocols/relay.md §5`, `offline_ttl_seconds`: handed over once, in order, wherever the user comes first.
#[tokio::test]
async fn what_a_user_has_missed_is_handed_over_once_at_whichever_node() {
    const COUNT: usize = 20;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = nodes(&ground, &redis, keeping);
    for number in 0..COUNT {
        let node = if number % 2 == 0 { &one } else { &other };
        let pushed = push(node, to("ann", &number.to_string())).await;
        assert_eq!((&pushed["connections"], &pushed["kept"]), (&json!(0), &json!(true)), "{pushed}");
    }
    let mut first = user(&other, "ann").await;
    for number in 0..COUNT {
        first.expect(&number.to_string()).await;
    }
    let mut second = user(&one, "ann").await;
    until_identified(&one, 2).await;
    assert_eq!(push(&one, to("ann", "live")).await["connections"], 2);
    first.expect("live").await;
    second.expect("live").await;
    drop((first, second));
    until_identified(&other, 0).await;
    push(&other, to("ann", "again")).await;
    user(&one, "ann").await.expect("again").await;
}

/// `docs/protocols/relay.md §5`: a delayed push is sent once, by one of the nodes; each lists and cancels all.
#[tokio::test]
async fn a_delayed_push_is_sent_once_by_whichever_node() {
    const COUNT: usize = 30;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = nodes(&ground, &redis, serving);
    let mut ann = user(&other, "ann").await;
    until_identified(&one, 1).await;
    let delayed = |event: &str, seconds: u64| json!({"event_name": event, "subject": 1, "token": "ann", "delay_seconds": seconds});
    let cancelled = push(&one, delayed("cancelled", 60)).await["id"].as_str().unwrap().to_owned();
    let listed = ask(&other, "GET", "/relay/api/push/scheduled", "").await.json();
    assert_eq!(listed["data"]["scheduled"][0]["id"], cancelled, "{listed}");
    let target = format!("/relay/api/push/scheduled/{cancelled}");
    assert_eq!(ask(&other, "DELETE", &target, "").await.status, 200);
    assert_eq!(ask(&one, "DELETE", &target, "").await.status, 404);
    join_all(
        (0..COUNT).map(|number| push(if number % 2 == 0 { &one } else { &other }, delayed(&number.to_string(), 1))),
    )
    .await;
    let mut seen = BTreeSet::new();
    for _ in 0..COUNT {
        let event = ann.next().await["event"].as_str().unwrap().to_owned();
        assert!(seen.insert(event.clone()), "{event} came twice");
    }
    eventually(async || {
        let listed = ask(&one, "GET", "/relay/api/push/scheduled", "").await.json();
        (listed["data"]["scheduled"] == json!([])).then_some(())
    })
    .await;
    push(&one, to("ann", "the end")).await;
    ann.expect("the end").await;
}

/// As a node leaves it that is killed between claiming a push and sending it, or after it was published.
#[tokio::test]
async fn what_a_node_had_claimed_that_is_gone_is_sent_once_by_another() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = nodes(&ground, &redis, serving);
    let mut ann = user(&other, "ann").await;
    until_identified(&one, 1).await;
    let delayed = json!({"event_name": "claimed", "subject": 1, "token": "ann", "delay_seconds": 2});
    let id = push(&one, delayed).await["id"].as_str().unwrap().to_owned();
    let claimed = redis.command(&[b"HSET", b"ls:{st:relay}r:relay ids", id.as_bytes(), b"deadnode"]).await;
    assert_eq!(claimed, ":0\r\n", "there is such a row");
    ann.expect("claimed").await;
    push(&other, to("ann", "the end")).await;
    ann.expect("the end").await;
}

/// A push that Redis does not take is refused as the relay refuses what is busy, and never appears.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_pushes_and_letters_are_refused_and_do_not_appear_later() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let node = ground.node(proxy.port, |config| {
        keeping(config);
        config.cluster.deadline = Duration::from_millis(300);
    });
    let other = ground.node(redis.port, keeping);
    let mut ann = user(&node, "ann").await;
    until_identified(&other, 1).await;
    let (mut erp, mut desk) = (mailbox(&other, "erp").await, mailbox(&node, "desk").await);
    until_known(&mut desk, "erp", &mut erp).await;
    proxy.set_away(true);
    for (user, delay) in [("ann", 0), ("away", 0), ("ann", 1)] {
        let body = json!({"event_name": "refused", "subject": 1, "token": user, "delay_seconds": delay}).to_string();
        let answer = ask(&node, "POST", "/relay/api/push", &body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (503, &json!(-1)), "{answer:?}");
    }
    desk.send(letter("desk", "erp", "refused")).await;
    desk.refused("rate_limited").await;
    proxy.set_away(false);
    eventually(async || {
        let answer = ask(&node, "POST", "/relay/api/push", &to("ann", "again").to_string()).await;
        (answer.status == 200).then_some(())
    })
    .await;
    ann.expect("again").await;
    let mut away = user(&other, "away").await;
    until_identified(&other, 2).await;
    push(&other, to("away", "again")).await;
    away.expect("again").await;
    // Its line to the rows may be on its way back.
    loop {
        desk.send(letter("desk", "erp", "again")).await;
        tokio::select! {
            came = erp.next() => {
                assert_eq!(came["subject"], "again");
                break;
            }
            _ = desk.refused("rate_limited") => {}
        }
    }
}

async fn mailbox(node: &Server, name: &str) -> Client {
    let url = format!("ws://{}/postoffice/ws?clientID={name}", node.address);
    Client::open(&url, Some("Bearer any"), name).await.expect("the handshake succeeds")
}

/// Waits until a mailbox is known at a node: its sender is told no more that it is not.
async fn until_known(desk: &mut Client, name: &str, reader: &mut Client) {
    loop {
        desk.send(letter("desk", name, "known?")).await;
        let told = tokio::select! {
            told = desk.next() => told,
            _ = reader.next() => return,
        };
        assert_eq!(told["code"], "unknown_recipient", "{told}");
    }
}

/// `docs/protocols/postoffice.md §4`: first in, first out from one sender to one mailbox, each letter once.
#[tokio::test]
async fn letters_of_all_nodes_come_in_the_order_of_each_sender_once() {
    const EACH: usize = 200;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = nodes::<2>(&ground, &redis, serving);
    let mut erp = mailbox(&nodes[1], "erp").await;
    let mut desk = mailbox(&nodes[0], "desk").await;
    until_known(&mut desk, "erp", &mut erp).await;
    let send = async |place: usize| {
        let mut sender = mailbox(&nodes[place % 2], &format!("s{place}")).await;
        for number in 0..EACH {
            sender.send(letter("", "erp", &format!("{place}-{number}"))).await;
            // None waits for its turn until it is refused.
            if number % 50 == 49 {
                assert!(sender.received_so_far().await.is_empty());
            }
        }
        sender
    };
    let reading = async {
        let mut read: Vec<String> = Vec::new();
        while read.len() < 3 * EACH {
            read.push(erp.next().await["subject"].as_str().unwrap().to_owned());
        }
        read
    };
    let (read, _senders) = tokio::join!(reading, join_all((0..3).map(send)));
    for place in 0..3 {
        let own = read.iter().filter_map(|subject| subject.strip_prefix(&format!("{place}-")));
        let numbers: Vec<usize> = own.map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers, Vec::from_iter(0..EACH), "of sender {place}");
    }
    desk.send(letter("desk", "erp", "the end")).await;
    assert_eq!(erp.next().await["subject"], "the end");
}

/// Letters wait wherever they were sent, come wherever their owner does, and are gone when they were read.
#[tokio::test]
async fn letters_wait_for_their_owner_at_any_node() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = nodes(&ground, &redis, serving);
    let (mut erp, mut desk) = (mailbox(&one, "erp").await, mailbox(&other, "desk").await);
    until_known(&mut desk, "erp", &mut erp).await;
    erp.leave().await;
    let mut far = mailbox(&one, "far").await;
    for number in 0..10 {
        desk.send(letter("desk", "erp", &number.to_string())).await;
    }
    // Behind them: this one is not known, and its sender is told when the others are in.
    desk.send(letter("desk", "nobody", "x")).await;
    desk.refused("unknown_recipient").await;
    let mut erp = mailbox(&other, "erp").await;
    for number in 0..10 {
        assert_eq!(erp.next().await["subject"], number.to_string());
    }
    far.send(letter("far", "erp", "live")).await;
    assert_eq!(erp.next().await["subject"], "live");
    erp.leave().await;
    let mut erp = mailbox(&one, "erp").await;
    far.send(letter("far", "erp", "later")).await;
    assert_eq!(erp.next().await["subject"], "later", "what was read does not come again");
    let thread = json!({"to": "erp", "subject": "of a thread", "subjectId": "ord-1"});
    desk.send(thread).await;
    assert_eq!(erp.next().await["subject"], "of a thread");
    for node in [&one, &other] {
        let target = "/postoffice/threads?clientID=erp&subjectId=ord-1&token=any";
        let page = Http::connect(node).await.ask("GET", target, &[]).await;
        assert_eq!(page.json()["letters"][0]["subject"], "of a thread", "{page:?}");
    }
}

/// `docs/protocols/postoffice.md §4`: the newest connection of a mailbox replaces the others, a letter with an id comes once, and
/// nobody writes as another mailbox.
#[tokio::test]
async fn a_mailbox_is_one_at_all_nodes() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = nodes(&ground, &redis, serving);
    let _users = [user(&one, "ann").await, user(&other, "ann").await];
    // Each node knows that the other one is there.
    until_identified(&one, 2).await;
    until_identified(&other, 2).await;
    let (mut old, mut desk) = (mailbox(&one, "erp").await, mailbox(&other, "desk").await);
    until_known(&mut desk, "erp", &mut old).await;
    let mut erp = mailbox(&other, "erp").await;
    assert_eq!(old.expect_close().await.0, 4009);
    let mut again = json!({"to": "erp", "subject": "once", "id": "l-1"});
    desk.send(again.clone()).await;
    // What the replaced connection has not confirmed comes again.
    while erp.next().await["subject"] != "once" {}
    desk.leave().await;
    let mut desk = mailbox(&one, "desk").await;
    desk.send(again.clone()).await;
    again["id"] = json!("l-2");
    desk.send(again).await;
    assert_eq!(erp.next().await["id"], "l-2");
    desk.send(json!({"from": "erp", "to": "erp", "subject": "forged"})).await;
    desk.refused("from_refused").await;
    let url = |node: &Server, started: u64| {
        format!("ws://{}/postoffice/ws?clientID=started&startTime={started}", node.address)
    };
    let _newer = Client::open(&url(&one, 200), Some("Bearer any"), "newer").await.unwrap();
    eventually(async || {
        let refused = Client::open(&url(&other, 100), Some("Bearer any"), "older").await.err()?;
        assert!(matches!(&*refused, Error::Http(answer) if answer.status() == 409), "{refused}");
        Some(())
    })
    .await;
}

/// Of connections that open a mailbox at two nodes in one moment one stays, and gets its letters.
#[tokio::test]
async fn of_two_that_open_a_mailbox_at_once_one_stays() {
    const ROUNDS: usize = 60;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = nodes(&ground, &redis, serving);
    until_met(one.address, 2).await;
    until_met(other.address, 2).await;
    let mut desk = mailbox(&one, "desk").await;
    let mut readers = Vec::new();
    for round in 0..ROUNDS {
        let name = format!("m{round}");
        let (mut first, mut second) = tokio::join!(mailbox(&one, &name), mailbox(&other, &name));
        let mut reader = tokio::select! {
            (code, _) = first.expect_close() => { assert_eq!(code, 4009); second }
            (code, _) = second.expect_close() => { assert_eq!(code, 4009); first }
        };
        desk.send(letter("desk", &*name, "to who stayed")).await;
        assert_eq!(reader.next().await["subject"], "to who stayed", "{name}");
        readers.push(reader);
    }
    // None of them was closed since, at either node.
    for node in [&one, &other] {
        let stats = Http::connect(node).await.ask("GET", "/postoffice/stats", &[]).await.json();
        let counted = (&stats["connections"], &stats["mailboxes"], &stats["max_connections"]);
        assert_eq!(counted, (&json!(ROUNDS + 1), &json!(ROUNDS + 1), &json!(40_000)), "{stats}");
    }
    for mut reader in readers {
        assert!(reader.received_so_far().await.is_empty());
    }
}

/// `postoffice.max_mailboxes`: of all nodes together; who comes again is known.
#[tokio::test]
async fn the_mailboxes_of_all_nodes_are_bounded() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = nodes(&ground, &redis, |config| {
        serving(config);
        config.postoffice.max_mailboxes = 2;
    });
    let row = async |name: &[u8]| redis.command(&[b"HEXISTS", b"ls:{st:postoffice}r:po_mailboxes", name]).await;
    for (node, name) in [(&one, "erp"), (&other, "desk"), (&other, "erp")] {
        mailbox(node, name).await.leave().await;
        eventually(async || (row(name.as_bytes()).await == ":1\r\n").then_some(())).await;
    }
    for node in [&one, &other] {
        let url = format!("ws://{}/postoffice/ws?clientID=audit", node.address);
        let refused = Client::open(&url, Some("Bearer any"), "audit").await.err().unwrap();
        let Error::Http(answer) = &*refused else { panic!("{refused}") };
        let reason = answer.headers()["refusal-reason"].to_str().unwrap();
        assert_eq!(answer.status(), 503);
        assert!(reason.starts_with("2 mailboxes are known, as many as postoffice.max_mailboxes allows"), "{reason}");
    }
}

/// Redis loses its data: who reads a mailbox is found from all nodes a moment later, without coming again.
#[tokio::test]
async fn open_mailboxes_are_known_again_when_redis_has_lost_its_data() {
    const COUNT: usize = 150;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = nodes(&ground, &redis, serving);
    let mut readers = Vec::new();
    for number in 0..COUNT {
        readers.push(mailbox(if number % 2 == 0 { &one } else { &other }, &format!("m{number}")).await);
    }
    let mut desk = mailbox(&other, "desk").await;
    for (number, reader) in readers.iter_mut().enumerate() {
        until_known(&mut desk, &format!("m{number}"), reader).await;
    }
    redis.command(&[b"FLUSHALL"]).await;
    let known = async || redis.command(&[b"HLEN", b"ls:{st:postoffice}r:po_mailboxes"]).await;
    eventually(async || (known().await == format!(":{}\r\n", COUNT + 1)).then_some(())).await;
    for (number, reader) in readers.iter_mut().enumerate() {
        desk.send(letter("desk", &*format!("m{number}"), "after")).await;
        while reader.next().await["subject"] != "after" {}
    }
    // Who else is there is known when they have renewed their leases.
    eventually(async || {
        let stats = Http::connect(&one).await.ask("GET", "/postoffice/stats", &[]).await.json();
        (stats["connections"] == COUNT + 1 && stats["mailboxes"] == COUNT + 1).then_some(())
    })
    .await;
}

/// However many letters wait, one more reads what gives way for it.
#[tokio::test]
async fn a_letter_for_a_full_mailbox_reads_what_gives_way() {
    let letters: usize = if std::env::var_os("LETSHARE_NIGHTLY").is_some() { 5_000 } else { 500 };
    const MORE: usize = 20;
    let redis = RedisServer::start_as(&["--appendfsync", "no"]).await;
    let ground = Ground::new();
    let [node] = nodes(&ground, &redis, |config| {
        serving(config);
        config.postoffice.mailboxes = vec!["erp".into()];
        config.postoffice.mailbox_messages = letters;
    });
    let mut desk = mailbox(&node, "desk").await;
    for number in 0..letters {
        desk.send(letter("desk", "erp", &number.to_string())).await;
        // Not so many at a time that the last wait too long for their turn.
        if number % 250 == 249 {
            desk.received_so_far().await;
        }
    }
    let counted = async || {
        let stats = redis.command(&[b"INFO", b"all"]).await;
        let figure = |name: &str| {
            let line = stats.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
            line.split(',').next().unwrap().parse::<usize>().unwrap()
        };
        [figure("total_net_output_bytes:"), figure("cmdstat_evalsha:calls=")]
    };
    let [bytes, scripts] = counted().await;
    for number in 0..MORE {
        desk.send(letter("desk", "erp", &format!("more {number}"))).await;
    }
    desk.received_so_far().await;
    let [bytes, scripts] = [counted().await[0] - bytes, counted().await[1] - scripts].map(|figure| figure / MORE);
    println!("a letter for a mailbox that is full with {letters}: {scripts} scripts, {bytes} bytes of answers");
    assert!(bytes < 4_096, "{bytes}");
    let mut erp = mailbox(&node, "erp").await;
    for number in MORE..letters {
        assert_eq!(erp.next().await["subject"], number.to_string());
    }
}

/// Redis comes back without its data: its owner's next connection makes a mailbox known again.
#[tokio::test]
async fn a_mailbox_that_redis_has_forgotten_is_remembered_when_its_owner_comes() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one] = nodes(&ground, &redis, serving);
    let row = async |command: &[u8]| redis.command(&[command, b"ls:{st:postoffice}r:po_mailboxes", b"erp"]).await;
    let erp = mailbox(&one, "erp").await;
    eventually(async || (row(b"HEXISTS").await == ":1\r\n").then_some(())).await;
    erp.leave().await;
    assert_eq!(row(b"HDEL").await, ":1\r\n");
    let _erp = mailbox(&one, "erp").await;
    eventually(async || (row(b"HEXISTS").await == ":1\r\n").then_some(())).await;
}

/// Each node looks all the time whether something is due; for that it needs no pushes.
#[tokio::test]
async fn a_push_that_is_not_due_stays_where_it_is() {
    const BYTES: usize = 60_000;
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, _other] = nodes(&ground, &redis, serving);
    let text = "x".repeat(BYTES);
    push(&one, json!({"event_name": "later", "subject": text, "token": "ann", "delay_seconds": 3_600})).await;
    let sent = async || {
        let stats = redis.command(&[b"INFO", b"stats"]).await;
        let line = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap().to_owned();
        line.parse::<usize>().unwrap()
    };
    let before = sent().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = sent().await;
    assert!(after - before < BYTES, "{}", after - before);
}
