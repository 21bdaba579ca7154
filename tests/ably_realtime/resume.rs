//! §4.3: who comes back gets the same connection, or is told that it is another one.

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::json;

use super::stage::{EVERYTHING, Stage, assert_error, attach_after, connection_key, names};
use crate::support::{
    AblyClient, TestApp,
    ably::{action, flag},
};

#[tokio::test]
async fn a_first_connection_has_an_id_and_no_error() {
    let stage = Stage::start().await;
    let (_, connected) = stage.open("").await;
    let id = connected["connectionId"].as_str().expect("an id");
    // §3.8: ids are split at colons, and keys are pasted into paths (T25).
    assert!(!id.contains(':'));
    assert_eq!(connected.get("error"), None);
    let key = connection_key(&connected);
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(key.bytes().all(is_safe), "{key}");
    // An empty parameter is none.
    let (_, connected) = stage.open("resume=&recover=").await;
    assert_eq!(connected.get("error"), None);
}

/// T17: a new id never comes without an error.
#[tokio::test]
async fn t17_a_key_that_was_not_made_here() {
    let stage = Stage::start().await;
    let (_, connected) = stage.open("").await;
    let key = connection_key(&connected);
    let forged = format!("{}A", &key[..key.len() - 1]);
    let forged = if forged == key { format!("{}B", &key[..key.len() - 1]) } else { forged };
    for fake in ["fake-key", "_____!ablyjs_test_fake-key____", "%F0%9F%98%80", &forged] {
        for way in ["resume", "recover"] {
            let (_, other) = stage.open(&format!("{way}={fake}")).await;
            assert_ne!(other["connectionId"], connected["connectionId"]);
            assert_error(&other, 80018, 400);
            assert!(!connection_key(&other).contains(fake));
        }
    }
}

/// T18: nothing to be told; T26a: another key each time, and the one before stays good, because the answer
/// may have been lost.
#[tokio::test]
async fn t18_t26a_the_same_connection_by_another_key() {
    let stage = Stage::start().await;
    for way in ["resume", "recover"] {
        let (client, first) = stage.open("clientId=alice").await;
        client.cut();
        let mut keys = vec![connection_key(&first).to_owned()];
        for key in [0, 0, 1, 2] {
            let query = format!("clientId=alice&{way}={}", keys[key]);
            let (client, again) = stage.open(&query).await;
            assert_eq!(again["connectionId"], first["connectionId"]);
            assert_eq!(again.get("error"), None, "{again}");
            assert_eq!(again["connectionDetails"]["clientId"], "alice");
            let key = connection_key(&again).to_owned();
            assert!(!keys.contains(&key));
            keys.push(key);
            client.cut();
        }
    }
}

/// Continuity is judged by the channel, so the id may stay as long as the key is good.
#[tokio::test]
async fn the_state_is_discarded_and_the_id_stays() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let stage = Stage::at(&clock).await;
    let (client, first) = stage.open("").await;
    client.cut();
    clock.advance(Duration::from_secs(600));
    let (_, again) = stage.open(&format!("resume={}", connection_key(&first))).await;
    assert_eq!(again["connectionId"], first["connectionId"]);
    assert_eq!(again.get("error"), None);
}

#[tokio::test]
async fn a_connection_of_somebody_else() {
    let stage = Stage::start().await;
    let (client, first) = stage.open("clientId=alice").await;
    let key = connection_key(&first);
    let other = TestApp::plain(&stage.server).await;
    let queries = [
        format!("v=6&key={}&resume={key}", other.keys[0]),
        format!("{}&clientId=bob&resume={key}", stage.query(EVERYTHING)),
    ];
    for query in queries {
        let mut thief = AblyClient::open(&stage.server, &query).await;
        let error = thief.expect(action::ERROR).await;
        assert_error(&error, 40102, 401);
        thief.expect_end().await;
    }
    drop(client);
}

#[tokio::test]
async fn bad_credentials_come_before_the_resume() {
    let stage = Stage::start().await;
    let (_, first) = stage.open("").await;
    let key = connection_key(&first);
    let (name, _) = stage.app.keys[EVERYTHING].split_once(':').unwrap();
    for credential in [format!("{name}:wrong"), "this.is:wrong".into()] {
        let query = format!("v=6&key={credential}&resume={key}");
        let mut client = AblyClient::open(&stage.server, &query).await;
        assert_error(&client.expect(action::ERROR).await, 40101, 401);
        client.expect_end().await;
    }
}

/// T19: clients drop what comes before their ATTACH, and count it as seen.
#[tokio::test]
async fn t19_nothing_of_a_channel_comes_before_it_is_attached_again() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    let (mut alice, first) = stage.open("clientId=alice").await;
    alice.attach("room").await;
    let serial = bob.publish("room", json!([{"name": "before"}])).await;
    bob.acked(serial).await;
    let seen = alice.expect(action::MESSAGE).await["channelSerial"].clone();
    alice.cut();
    let serial = bob.publish("room", json!([{"name": "away"}])).await;
    bob.acked(serial).await;

    let query = format!("clientId=alice&resume={}", connection_key(&first));
    let (mut alice, _) = stage.open(&query).await;
    let serial = bob.publish("room", json!([{"name": "early"}])).await;
    bob.acked(serial).await;
    assert!(alice.received_so_far().await.is_empty());
    let attached = alice.attach_with(attach_after("room", &seen)).await;
    let flags = attached["flags"].as_u64().unwrap();
    assert_ne!(flags & flag::RESUMED, 0);
    assert_ne!(flags & flag::HAS_BACKLOG, 0);
    let serial = bob.publish("room", json!([{"name": "live"}])).await;
    bob.acked(serial).await;
    let mut frames = Vec::new();
    for _ in 0..3 {
        frames.push(alice.expect(action::MESSAGE).await);
    }
    assert_eq!(names(&frames), ["away", "early", "live"]);
    assert!(alice.received_so_far().await.is_empty());
}

/// findings A8: the newest transport wins; the older one is told so and closed at once, and what it still says changes
/// nothing. Its members were never away.
#[tokio::test]
async fn the_older_of_two_transports_is_told_and_closed() {
    // On one thread, so that the older transport knows when the newer one is attached.
    let stage = Stage::with(|config| config.server.workers = 1).await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    for way in ["resume", "recover"] {
        let (mut old, first) = stage.open("clientId=alice").await;
        old.attach("room").await;
        let serial = old.presence("room", json!([{"action": 2}])).await;
        old.acked(serial).await;
        watcher.expect(action::PRESENCE).await;

        let (mut new, again) = stage.open(&format!("clientId=alice&{way}={}", connection_key(&first))).await;
        assert_eq!(again["connectionId"], first["connectionId"]);
        // Not heard: it may be gone already.
        let _ = old.try_publish("room", json!([{"name": "late"}])).await;
        let told = old.expect(action::DISCONNECTED).await;
        assert_error(&told, 80016, 410);
        old.expect_end().await;
        new.attach("room").await;
        new.expect(action::SYNC).await;

        let serial = watcher.publish("room", json!([{"name": "now"}])).await;
        let mut seen = watcher.acked(serial).await;
        assert_eq!(names(&[new.expect(action::MESSAGE).await]), ["now"]);
        let sync = json!({"action": action::SYNC, "channel": "room"});
        new.send(sync).await;
        let members = new.expect(action::SYNC).await;
        assert_eq!(members["presence"][0]["clientId"], "alice", "{members}");
        seen.extend(watcher.received_so_far().await);
        assert_eq!(names(&seen), ["now"], "{seen:?}");
        assert!(seen.iter().all(|frame| frame["action"] != action::PRESENCE), "{seen:?}");
        new.send(json!({"action": action::CLOSE})).await;
        watcher.expect(action::PRESENCE).await;
    }
}

/// findings A4: clients of a version before 2 take the same connectionId for continuity and do not attach again, so they
/// get another connection and are told that the old one has ended.
#[tokio::test]
async fn a_client_that_would_not_attach_again_gets_a_new_connection() {
    let stage = Stage::start().await;
    let key = &stage.app.keys[EVERYTHING];
    for version in ["1.2", "1.1", "1"] {
        for way in ["resume", "recover"] {
            let (mut client, first) = AblyClient::connect_with(&stage.server, &format!("v={version}&key={key}")).await;
            assert_eq!(first.get("error"), None);
            client.attach("room").await;
            client.cut();
            let query = format!("v={version}&key={key}&{way}={}&connectionSerial=-1", connection_key(&first));
            let (mut client, again) = AblyClient::connect_with(&stage.server, &query).await;
            assert_ne!(again["connectionId"], first["connectionId"]);
            assert_error(&again, 80008, 400);
            // What it does then (RTN15c3).
            client.attach("room").await;
            let serial = client.publish("room", json!([{"name": "heard"}])).await;
            let mut seen = client.acked(serial).await;
            seen.extend(client.received_so_far().await);
            assert_eq!(names(&seen), ["heard"]);
        }
    }
    let (client, first) = AblyClient::connect_with(&stage.server, &format!("v=2&key={key}")).await;
    client.cut();
    let query = format!("v=2&key={key}&resume={}", connection_key(&first));
    let (_, again) = AblyClient::connect_with(&stage.server, &query).await;
    assert_eq!(again["connectionId"], first["connectionId"]);
}

/// findings S6: a connection keeps its clientId for life. Whoever may speak for nobody, or for somebody else, does not
/// come back to it; whoever may speak for anybody comes back as the client that it has.
#[tokio::test]
async fn a_connection_keeps_its_client_for_life() {
    let stage = Stage::start().await;
    let (mut bob, first) = stage.open("clientId=bob").await;
    bob.attach("room").await;
    let serial = bob.presence("room", json!([{"action": 2}])).await;
    bob.acked(serial).await;
    bob.cut();
    let key = connection_key(&first);
    let nobody = stage.token(json!({})).await;
    let alice = stage.token(json!({"clientId": "alice"})).await;
    for token in [&nobody, &alice, &nobody] {
        for way in ["resume", "recover"] {
            let query = format!("v=6&access_token={token}&{way}={key}");
            let mut other = AblyClient::open(&stage.server, &query).await;
            assert_error(&other.expect(action::ERROR).await, 40102, 401);
            other.expect_end().await;
        }
    }
    let (anybody, again) = stage.open(&format!("resume={key}")).await;
    assert_eq!(again["connectionId"], first["connectionId"]);
    assert_eq!(again["connectionDetails"]["clientId"], "bob");
    anybody.cut();
    let bob = stage.token(json!({"clientId": "bob"})).await;
    let (_, again) = stage.with_token(&format!("{bob}&resume={key}")).await;
    assert_eq!(again["connectionId"], first["connectionId"]);
}

/// findings S6: an anonymous connection becomes somebody's once, also by a resume.
#[tokio::test]
async fn an_anonymous_connection_becomes_somebodys_once() {
    let stage = Stage::start().await;
    let nobody = stage.token(json!({})).await;
    let (client, first) = stage.with_token(&nobody).await;
    client.cut();
    let key = connection_key(&first);
    let alice = stage.token(json!({"clientId": "alice"})).await;
    let (client, again) = stage.with_token(&format!("{alice}&resume={key}")).await;
    assert_eq!(again["connectionId"], first["connectionId"]);
    client.cut();
    let bob = stage.token(json!({"clientId": "bob"})).await;
    for token in [&bob, &nobody] {
        let mut other = AblyClient::open(&stage.server, &format!("v=6&access_token={token}&resume={key}")).await;
        assert_error(&other.expect(action::ERROR).await, 40102, 401);
    }
}
