//! What survives a restart, in order or not: connections, positions, ids, tokens, keys
//! (`docs/protocols/ably.md §4.3, §5.3, §6.4`).

use serde_json::{Value, json};

use super::ground::{Ground, KEY, Rest, Subscriber, data_of, is_resumed, messages_of, numbers};
use crate::support::{
    AblyClient,
    ably::{action, flag},
    eventually,
    process::ServerProcess,
};

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM.
    Ordered,
    /// SIGKILL.
    Crash,
}

const ENDS: [End; 2] = [End::Ordered, End::Crash];
const CHANNELS: [&str; 2] = ["persisted:room", "room"];

impl End {
    pub async fn of(self, server: ServerProcess) {
        match self {
            Self::Ordered => server.terminate().await,
            Self::Crash => server.kill().await,
        }
    }
}

fn is_persisted(channel: &str) -> bool {
    channel.starts_with("persisted:")
}

/// Same connection; on the channel exactly what was missed and RESUMED, or an explicit break. After an ordered end
/// there is no break, on any channel.
#[tokio::test]
async fn a_client_comes_back_to_exactly_what_it_missed_or_is_told() {
    for end in ENDS {
        for channel in CHANNELS {
            let ground = Ground::new();
            let server = ground.start();
            let mut rest = Rest::connect(server.address).await;
            let mut alice = Subscriber::connect(server.address, "&clientId=alice").await;
            alice.attach(channel).await;
            rest.publish_numbers(channel, 0..3).await;
            assert_eq!(data_of(&alice.hear(3).await), numbers(0..3));
            // The network is gone before the server is.
            let away = alice.cut();
            rest.publish_numbers(channel, 3..8).await;
            end.of(server).await;

            let server = ground.start();
            let mut alice = away.resume(server.address, "&clientId=alice").await;
            let (attached, missed) = alice.attach_again(channel).await;
            let case = format!("{end:?} {channel}: {attached}");
            if end == End::Ordered || is_persisted(channel) {
                assert!(is_resumed(&attached), "{case}");
                assert_eq!(attached.get("error"), None, "{case}");
                assert_eq!(attached["channelSerial"], away.position, "{case}");
                assert_eq!(data_of(&missed), numbers(3..8), "{case}");
            } else {
                assert!(!is_resumed(&attached), "{case}");
                assert_eq!(attached["error"]["code"], 90003, "{case}");
                assert_eq!(attached["error"]["statusCode"], 404, "{case}");
                assert_eq!(missed, Vec::<Value>::new(), "{case}");
            }
            // And it goes on.
            let mut rest = Rest::connect(server.address).await;
            let serial = rest.publish(channel, json!({"data": "on"})).await;
            assert_eq!(data_of(&alice.hear(1).await), ["on"], "{case}");
            let is_same_log = serial.split_once('@').unwrap().1.split(':').next()
                == away.position.split_once('@').map(|(_, epoch)| epoch);
            assert_eq!(is_same_log, is_resumed(&attached), "{case}");
            if is_same_log {
                assert!(serial > away.position, "{case}");
            }
        }
    }
}

/// Who listens when SIGTERM comes is asked to come back, and misses nothing of what is published before and
/// after.
#[tokio::test]
async fn a_client_that_is_sent_away_in_order_misses_nothing() {
    for channel in CHANNELS {
        let ground = Ground::new();
        let server = ground.start();
        let mut rest = Rest::connect(server.address).await;
        let mut alice = Subscriber::connect(server.address, "").await;
        alice.attach(channel).await;
        rest.publish_numbers(channel, 0..3).await;
        alice.hear(3).await;
        let (_, ()) = tokio::join!(server.terminate(), async {
            let away = alice.client.expect(action::DISCONNECTED).await;
            assert!(away["error"]["statusCode"].is_u64(), "{away}");
            alice.client.expect_end().await;
        });
        let server = ground.start();
        let mut rest = Rest::connect(server.address).await;
        rest.publish_numbers(channel, 3..5).await;
        let mut alice = alice.ticket.resume(server.address, "").await;
        let (attached, missed) = alice.attach_again(channel).await;
        assert!(is_resumed(&attached), "{attached}");
        assert_eq!(data_of(&missed), numbers(3..5));
    }
}

/// Several ends of both kinds follow each other: serials rise through all of them, history has everything once.
#[tokio::test]
async fn serials_never_fall() {
    let ground = Ground::new();
    let mut serials = Vec::new();
    for end in [End::Ordered, End::Crash, End::Crash, End::Ordered] {
        let server = ground.start();
        let mut rest = Rest::connect(server.address).await;
        for _ in 0..20 {
            serials.push(rest.publish("persisted:room", json!({"data": "x"})).await);
        }
        end.of(server).await;
    }
    assert!(serials.is_sorted_by(|one, next| one < next), "{serials:#?}");
    let server = ground.start();
    let mut rest = Rest::connect(server.address).await;
    let history = rest.history("persisted:room").await;
    let kept: Vec<_> = history.iter().map(|message| &message["serial"]).collect();
    assert_eq!(kept, serials.iter().collect::<Vec<_>>());
}

/// R5: what is published again after the restart is answered like the first time, and is there once.
#[tokio::test]
async fn published_ids_are_still_known() {
    for end in ENDS {
        for channel in CHANNELS {
            if end == End::Crash && !is_persisted(channel) {
                continue;
            }
            let ground = Ground::new();
            let server = ground.start();
            let mut rest = Rest::connect(server.address).await;
            let once = json!({"id": "only-once:0", "data": "by HTTP"});
            let by_http = rest.publish(channel, once.clone()).await;
            // With an id of its own, and by the number of the frame.
            let own = json!([{"id": "own", "data": "by id"}]);
            let mut alice = Subscriber::connect(server.address, "").await;
            let mut acks = Vec::new();
            for messages in [&own, &json!([{"data": "by frame"}])] {
                alice.client.publish(channel, messages.clone()).await;
                acks.push(alice.client.expect(action::ACK).await);
            }
            end.of(server).await;

            let server = ground.start();
            let mut rest = Rest::connect(server.address).await;
            assert_eq!(rest.publish(channel, once).await, by_http);
            // The answers were lost: the client sends both frames again, with their numbers.
            let mut alice = alice.ticket.resume(server.address, "").await;
            for (messages, ack) in [&own, &json!([{"data": "by frame"}])].into_iter().zip(acks) {
                alice.client.publish(channel, messages.clone()).await;
                assert_eq!(alice.client.expect(action::ACK).await, ack, "{end:?} {channel}");
            }
            let history = rest.history(channel).await;
            assert_eq!(data_of(&history), ["by HTTP", "by id", "by frame"]);
        }
    }
}

/// What was handed over is used once: a server that is killed later must not find it again, and leave out in
/// silence what came since.
#[tokio::test]
async fn a_window_that_was_handed_over_is_not_found_twice() {
    let ground = Ground::new();
    let server = ground.start();
    let mut rest = Rest::connect(server.address).await;
    let mut alice = Subscriber::connect(server.address, "").await;
    alice.attach("room").await;
    rest.publish_numbers("room", 0..3).await;
    alice.hear(3).await;
    server.terminate().await;

    let server = ground.start();
    let mut rest = Rest::connect(server.address).await;
    rest.publish_numbers("room", 3..6).await;
    server.kill().await;

    let server = ground.start();
    let mut alice = alice.ticket.resume(server.address, "").await;
    let (attached, missed) = alice.attach_again("room").await;
    assert!(!is_resumed(&attached), "{attached}");
    assert_eq!(attached["error"]["code"], 90003);
    assert_eq!(missed, Vec::<Value>::new());
}

/// History and the presence history of persisted channels are on disk; rewind reads them.
#[tokio::test]
async fn history_and_rewind_go_back_before_the_restart() {
    for end in ENDS {
        let ground = Ground::new();
        let server = ground.start();
        let mut rest = Rest::connect(server.address).await;
        rest.publish_numbers("persisted:room", 0..5).await;
        let mut alice = Subscriber::connect(server.address, "&clientId=alice").await;
        alice.attach("persisted:room").await;
        let enter = json!([{"action": 2, "data": "here"}]);
        let serial = alice.client.presence("persisted:room", enter).await;
        alice.client.acked(serial).await;
        end.of(server).await;

        let server = ground.start();
        let mut rest = Rest::connect(server.address).await;
        let history = rest.history("persisted:room").await;
        assert_eq!(data_of(&history), numbers(0..5));
        let past = rest.get("/channels/persisted:room/presence/history?direction=forwards").await.json();
        assert_eq!(past[0]["clientId"], "alice", "{end:?} {past}");
        assert_eq!(past[0]["data"], "here");
        let mut bob = Subscriber::connect(server.address, "").await;
        let rewind = json!({"action": action::ATTACH, "channel": "persisted:room", "params": {"rewind": "2"}});
        let attached = bob.client.attach_with(rewind).await;
        assert_ne!(attached["flags"].as_u64().unwrap() & flag::HAS_BACKLOG, 0);
        let frames = bob.client.received_so_far().await;
        assert_eq!(data_of(&messages_of(&frames)), numbers(3..5));
    }
}

/// Tokens, the answer to an old connection key of somebody else, and the key that the server prints.
#[tokio::test]
async fn credentials_survive() {
    for end in ENDS {
        let ground = Ground::new();
        let settings = [("ABLY_LOCAL_KEY", "true")];
        let server = ground.start_with(&settings);
        let mut rest = Rest::connect(server.address).await;
        let (name, _) = KEY.split_once(':').unwrap();
        let request = json!({"keyName": name, "clientId": "alice"});
        let token = rest.post(&format!("/keys/{name}/requestToken"), &request).await.json();
        let request = json!({"keyName": name, "clientId": "mallory"});
        let other = rest.post(&format!("/keys/{name}/requestToken"), &request).await.json();
        let query = format!("v=6&access_token={}", token["token"].as_str().unwrap());
        let mut alice = AblyClient::open_at(server.address, &query).await;
        let connected = alice.expect(action::CONNECTED).await;
        let old_key = connected["connectionDetails"]["connectionKey"].as_str();
        let printed = local_key(&server).await;
        end.of(server).await;

        let server = ground.start_with(&settings);
        assert_eq!(local_key(&server).await, printed, "{end:?}");
        // §4.3: of another client, which the key alone tells before its own has come back.
        let taken = format!("v=6&access_token={}&recover={}", other["token"].as_str().unwrap(), old_key.unwrap());
        let mut thief = AblyClient::open_at(server.address, &taken).await;
        let refused = thief.expect(action::ERROR).await;
        assert_eq!(refused["error"]["code"], 40102, "{refused}");
        // Whoever may be anybody comes back as the one that it was.
        let anybody = format!("v=6&key={KEY}&resume={}", old_key.unwrap());
        let mut anybody = AblyClient::open_at(server.address, &anybody).await;
        let connected_again = anybody.expect(action::CONNECTED).await;
        assert_eq!(connected_again["connectionDetails"]["clientId"], "alice", "{connected_again}");
        let resume = format!("{query}&resume={}", old_key.unwrap());
        let mut alice = AblyClient::open_at(server.address, &resume).await;
        let again = alice.expect(action::CONNECTED).await;
        assert_eq!(again["connectionId"], connected["connectionId"]);
        assert_eq!(again.get("error"), None, "{again}");
        assert_eq!(again["connectionDetails"]["clientId"], "alice");
        let mut local = AblyClient::open_at(server.address, &format!("v=6&key={printed}")).await;
        local.expect(action::CONNECTED).await;
        // §4.3: of another app.
        let stolen = format!("v=6&key={printed}&resume={}", old_key.unwrap());
        let mut thief = AblyClient::open_at(server.address, &stolen).await;
        let refused = thief.expect(action::ERROR).await;
        assert_eq!(refused["error"]["code"], 40102, "{refused}");
    }
}

/// §12.7: what was taken back stays taken back.
#[tokio::test]
async fn revocations_survive() {
    for end in ENDS {
        let ground = Ground::new();
        let server = ground.start();
        let mut rest = Rest::connect(server.address).await;
        let (name, _) = KEY.split_once(':').unwrap();
        let mut queries = Vec::new();
        for client in ["alice", "bob"] {
            let request = json!({"keyName": name, "clientId": client});
            let target = format!("/keys/{name}/requestToken");
            let token = rest.post(&target, &request).await.json();
            queries.push(format!("v=6&access_token={}", token["token"].as_str().unwrap()));
        }
        let targets = json!({"targets": ["clientId:bob"]});
        let revoked = rest.post(&format!("/keys/{name}/revokeTokens"), &targets).await;
        assert_eq!(revoked.json()["successCount"], 1, "{revoked:?}");
        end.of(server).await;

        let server = ground.start();
        let mut alice = AblyClient::open_at(server.address, &queries[0]).await;
        alice.expect(action::CONNECTED).await;
        let mut bob = AblyClient::open_at(server.address, &queries[1]).await;
        let refused = bob.expect(action::ERROR).await;
        assert_eq!(refused["error"]["code"], 40141, "{end:?}: {refused}");
    }
}

/// The key in the banner.
async fn local_key(server: &ServerProcess) -> String {
    eventually(async || {
        tokio::task::yield_now().await;
        let banner = server.stderr();
        let mut words = banner.split(|c: char| c.is_whitespace() || c == '"' || c == '\'');
        let key = words.find(|word| word.starts_with("shared.") && word.contains(':'));
        key.map(str::to_owned)
    })
    .await
}

/// findings S3: a token request that was granted is not granted again by the server that comes next, however the first
/// one ended; one that was not granted before is.
#[tokio::test]
async fn a_token_request_is_granted_once_over_all_restarts() {
    for end in ENDS {
        let ground = Ground::new();
        let server = ground.start();
        let now = letshare_server::clock::Clock::system().now().millis();
        // A client whose clock is ahead, too: its request looks as if it was signed after the start.
        let requests = [now, now + 100_000].map(|timestamp| token_request(timestamp, "0123456789abcdef"));
        let target = format!("/keys/{}/requestToken", KEY.split_once(':').unwrap().0);
        let mut rest = Rest::connect(server.address).await;
        for request in &requests {
            assert_eq!(rest.post(&target, request).await.status, 201, "{end:?}");
            assert_eq!(rest.post(&target, request).await.status, 401, "{end:?}");
        }
        end.of(server).await;

        let server = ground.start();
        let mut rest = Rest::connect(server.address).await;
        for request in &requests {
            let again = rest.post(&target, request).await;
            assert_eq!(again.status, 401, "{end:?}: {again:?}");
            assert_eq!(again.json()["error"]["code"], 40105, "{end:?}");
        }
        let other = token_request(now, "another-nonce-of-these");
        assert_eq!(rest.post(&target, &other).await.status, 201, "{end:?}");
    }
}

/// Signed by the key (`docs/protocols/ably.md §12.2`).
fn token_request(timestamp: u64, nonce: &str) -> Value {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use hmac::{Hmac, KeyInit as _, Mac as _};

    let (name, secret) = KEY.split_once(':').expect("a key");
    let text = format!("{name}\n\n\n\n{timestamp}\n{nonce}\n");
    let mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    let mac = BASE64_STANDARD.encode(mac.chain_update(text).finalize().into_bytes());
    json!({"keyName": name, "timestamp": timestamp, "nonce": nonce, "mac": mac})
}
