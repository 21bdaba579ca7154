//! Rates, addresses, places, origins (`docs/protocols/group.md §1, §8`).

use std::{fs, time::Duration};

use letshare_server::ids::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::support::UPGRADE;

async fn shake(rig: &Rig, headers: &[(&str, &str)]) -> Response {
    let all: Vec<_> = UPGRADE.iter().chain(headers).copied().collect();
    let mut http = Http::connect_to(rig.address).await;
    http.ask("GET", "/ws", &all).await
}

/// §8: 20 a second, 40 at once; `error` 429 with the client's id, and the message is not sent.
#[tokio::test]
async fn messages_too_often() {
    let clock = Clock::manual(Timestamp::from_millis(1_760_000_000_000));
    let rig = Rig::start_at(clock.clone(), |_| {});
    rig.group("g", &["7", "8"]).await;
    let mut client = rig.user("7").await;
    let mut device = rig.user("7").await;
    let mut other = rig.user("8").await;
    for index in 0..40 {
        client.says(&format!("{index}"), "g", "x").await;
    }
    client.contents(0).await;
    // The user is out of breath on every connection, others are not.
    for (client, id) in [(&mut client, "c"), (&mut device, "d")] {
        client.say(id, "g", "too much").await;
        loop {
            let frame = client.next().await;
            if frame["type"] == "error" {
                assert_eq!(frame["message_id"], id);
                assert_eq!((&frame["data"]["code"], &frame["data"]["message"]), (&json!(429), &json!("发送过于频繁")));
                break;
            }
        }
    }
    other.says("o", "g", "fine").await;
    clock.advance(Duration::from_secs(1));
    for index in 0..20 {
        device.says(&format!("d{index}"), "g", "y").await;
    }
    let page = data(&rig.ask("7", "/api/messages?group_id=g&limit=100").await);
    assert!(!page.to_string().contains("too much"));
}

/// §8: 100 refusals in a minute.
#[tokio::test]
async fn whoever_goes_on_is_closed() {
    let clock = Clock::manual(Timestamp::from_millis(1_760_000_000_000));
    let rig = Rig::start_at(clock, |config| {
        config.group.messages_per_second = 1;
        config.group.message_burst = 1;
    });
    rig.group("g", &["7"]).await;
    let mut client = rig.user("7").await;
    client.says("first", "g", "x").await;
    for _ in 0..100 {
        client.say("c", "g", "x").await;
    }
    client.closes(1008).await;
}

/// §8: refused with 403 before the upgrade; the file is read again by an admin call.
#[tokio::test]
async fn the_blacklist() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("blacklist");
    fs::write(&file, "192.0.2.0/24\n2001:db8::/32\n").unwrap();
    let rig = Rig::start(|config| {
        config.group.blacklist = vec!["198.51.100.7/32".parse().unwrap()];
        config.group.blacklist_file = Some(file.clone());
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    for (address, status) in [("192.0.2.9", 403), ("2001:db8::9", 403), ("198.51.100.7", 403), ("198.51.100.8", 101)] {
        let shaken = shake(&rig, &[("X-Forwarded-For", address)]).await;
        assert_eq!(shaken.status, status, "{address}");
    }
    let mut http = Http::connect_to(rig.address).await;
    let asked = http.ask("GET", "/api/users/status?user_id=7", &[("X-Forwarded-For", "192.0.2.9")]);
    assert_eq!(asked.await.status, 403);
    fs::write(&file, "203.0.113.0/24\n").unwrap();
    let reloaded = data(&rig.service("POST", "/api/blacklist/reload", json!({})).await);
    assert_eq!(reloaded, json!({"networks": 1}));
    for (address, status) in [("192.0.2.9", 101), ("203.0.113.1", 403)] {
        let shaken = shake(&rig, &[("X-Forwarded-For", address)]).await;
        assert_eq!(shaken.status, status, "{address}");
    }
    fs::write(&file, "nonsense\n").unwrap();
    let refused = rig.service("POST", "/api/blacklist/reload", json!({})).await;
    assert_eq!(refused.status, 400);
    assert_eq!(shake(&rig, &[("X-Forwarded-For", "203.0.113.1")]).await.status, 403);
}

/// §8: the header counts behind proxies that are named only.
#[tokio::test]
async fn nobody_is_believed_by_default() {
    let rig = Rig::start(|config| config.group.blacklist = vec!["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(shake(&rig, &[("X-Forwarded-For", "192.0.2.9")]).await.status, 101);
    let rig = Rig::start(|config| config.group.blacklist = vec!["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(shake(&rig, &[("X-Forwarded-For", "192.0.2.9")]).await.status, 403);
}

/// §8: a temporary ban after repeated failures.
#[tokio::test]
async fn banned_for_a_while() {
    let clock = Clock::manual(Timestamp::from_millis(1_760_000_000_000));
    let rig = Rig::start_at(clock.clone(), |config| {
        config.group.ban_after = 3;
        config.group.ban_for = Duration::from_secs(60);
    });
    let mut client = rig.client().await;
    for _ in 0..3 {
        client.auth("x").await;
        client.expect("auth_failed").await;
    }
    assert_eq!(shake(&rig, &[]).await.status, 403);
    clock.advance(Duration::from_secs(60));
    assert_eq!(shake(&rig, &[]).await.status, 101);
}

/// Keys of services are tried like tokens.
#[tokio::test]
async fn banned_for_wrong_keys() {
    let rig = Rig::start(|config| config.group.ban_after = 3);
    for status in [401, 401, 401, 403] {
        let mut http = Http::connect_to(rig.address).await;
        let asked = http.ask("GET", "/api/groups/g", &[("X-Service-Key", "a guess")]);
        assert_eq!(asked.await.status, status);
    }
}

#[tokio::test]
async fn places_and_knocks() {
    let clock = Clock::manual(Timestamp::from_millis(1_760_000_000_000));
    let rig = Rig::start_at(clock, |config| {
        config.group.max_connections = 2;
        config.group.handshakes_per_second = 1;
    });
    let first = rig.client().await;
    let _second = rig.client().await;
    assert_eq!(shake(&rig, &[]).await.status, 503);
    drop(first);
    // Ten at once, of which three are used.
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) {
        statuses.push(shake(&rig, &[]).await.status);
    }
    assert_eq!(statuses.len(), 8);
}

/// §1: the same host for browsers by default.
#[tokio::test]
async fn pages() {
    let rig = Rig::start(|_| {});
    let own = format!("http://{}", rig.address);
    for (origin, status) in [(&*own, 101), ("https://evil.example", 403)] {
        assert_eq!(shake(&rig, &[("Origin", origin)]).await.status, status, "{origin}");
    }
    let listed = Rig::start(|config| {
        config.group.allowed_origins = vec!["https://app.example".into()];
    });
    assert_eq!(shake(&listed, &[("Origin", "https://app.example")]).await.status, 101);
    let any = Rig::start(|config| config.group.allowed_origins = vec!["*".into()]);
    assert_eq!(shake(&any, &[("Origin", "https://evil.example")]).await.status, 101);
}

/// §8: counted by type and code, without names.
#[tokio::test]
async fn figures() {
    let rig = Rig::start(|_| {});
    rig.group("secret group", &["secret user"]).await;
    let mut client = rig.user("secret user").await;
    client.says("c-1", "secret group", "x").await;
    client.send("join_group", "c-2", json!({"group_id": "none"})).await;
    client.refused("c-2", 404, NO_GROUP_TO_JOIN).await;
    let mut http = Http::connect(&rig.server).await;
    let page = http.ask("GET", "/metrics", &[("Accept", "text/plain")]).await;
    for line in [
        "letshare_group_open_connections 1",
        "letshare_group_online_users 1",
        "letshare_group_stored_messages_total 1",
        r#"letshare_group_received_frames_total{reason="send_message"} 1"#,
        r#"letshare_group_told_errors_total{reason="not_found"} 1"#,
    ] {
        assert!(page.body.contains(line), "{line}: {}", page.body);
    }
    assert!(!page.body.contains("secret"));
    let page = http.ask("GET", "/metrics", &[]).await.json();
    assert_eq!(page["group"]["errors"]["not_found"], 1);
}

#[tokio::test]
async fn what_is_no_handshake() {
    let rig = Rig::start(|_| {});
    let mut http = Http::connect_to(rig.address).await;
    assert_eq!(http.ask("GET", "/ws", &[]).await.status, 400);
    let mut http = Http::connect_to(rig.address).await;
    assert_eq!(http.post("/ws", &[], "").await.status, 405);
}
