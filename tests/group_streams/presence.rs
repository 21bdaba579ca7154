//! Who is online on any instance.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use letshare_server::{clock::Clock, ids::Timestamp, older::group::streams::Status};

use super::{Instance, RedisServer, SHORT_LEASE, eventually};

const NOON: i64 = 1_760_000_000;

impl Instance {
    async fn is_online(&self, user: &str) -> Option<bool> {
        let status = self.bus.status(user).await.ok()?;
        status.map(|status| status.is_online)
    }

    async fn until_online(&self, user: &str, online: bool) {
        eventually(async || (self.is_online(user).await? == online).then_some(())).await;
    }

    async fn until_online_users(&self, expected: u64) {
        eventually(async || {
            let users = self.bus.online_users().await.ok()?;
            (users == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_user_is_online_until_the_last_connection_of_all_instances_is_gone() {
    let server = RedisServer::start().await;
    let (one, other) = (Instance::start(&server).await, Instance::start(&server).await);
    assert_eq!(one.bus.status("7").await, Ok(None));
    one.bus.online("7");
    one.bus.online("7");
    one.until_online("7", true).await;
    other.bus.online("7");
    other.bus.online("8");
    one.until_online_users(2).await;
    eventually(async || {
        let shares = server.command(&[b"HLEN", b"user:conns:7"]).await;
        (shares == ":2\r\n").then_some(())
    })
    .await;

    one.bus.offline("7");
    one.bus.offline("7");
    other.bus.offline("8");
    other.until_online("8", false).await;
    eventually(async || {
        let shares = server.command(&[b"HLEN", b"user:conns:7"]).await;
        (shares == ":1\r\n").then_some(())
    })
    .await;
    assert_eq!(one.is_online("7").await, Some(true));
    other.bus.offline("7");
    one.until_online("7", false).await;
    one.until_online_users(0).await;
}

#[tokio::test]
async fn the_status_is_a_hash_for_other_services() {
    let server = RedisServer::start().await;
    let clock = Clock::manual(Timestamp::from_millis(NOON as u64 * 1_000));
    let instance = Instance::launch(server.settings(), None, clock.clone());
    instance.bus.online("7");
    instance.until_online("7", true).await;
    clock.advance(Duration::from_secs(60));
    instance.bus.offline("7");
    instance.until_online("7", false).await;
    let expected = Status { is_online: false, last_seen: NOON + 60, last_online_at: NOON, last_offline_at: NOON + 60 };
    assert_eq!(instance.bus.status("7").await, Ok(Some(expected)));
    let words: [&[u8]; 6] =
        [b"HMGET", b"user:status:7", b"is_online", b"last_seen", b"last_online_at", b"last_offline_at"];
    assert_eq!(
        server.command(&words).await,
        "*4\r\n$1\r\n0\r\n$10\r\n1760000060\r\n$10\r\n1760000000\r\n$10\r\n1760000060\r\n"
    );
    let ttl = server.command(&[b"TTL", b"user:status:7"]).await;
    let ttl: i64 = ttl.trim_start_matches(':').trim_end().parse().unwrap();
    assert!((30 * 86_400 - 60..=30 * 86_400).contains(&ttl), "{ttl}");
}

/// The original compares with the text `true` what it writes as 1.
#[tokio::test]
async fn what_other_services_wrote_counts_too() {
    let server = RedisServer::start().await;
    let instance = Instance::start(&server).await;
    for (user, written, expected) in [("1", "1", true), ("2", "true", true), ("3", "0", false)] {
        let key = format!("user:status:{user}");
        let words: [&[u8]; 4] = [b"HSET", key.as_bytes(), b"is_online", written.as_bytes()];
        server.command(&words).await;
        assert_eq!(instance.is_online(user).await, Some(expected), "{written}");
    }
}

#[tokio::test]
async fn the_users_of_a_killed_instance_are_offline_when_its_lease_ends() {
    let server = RedisServer::start().await;
    let one = Instance::start_with(&server, 5 * SHORT_LEASE).await;
    let dying = Instance::start_with(&server, SHORT_LEASE).await;
    for user in ["7", "8"] {
        dying.bus.online(user);
        dying.until_online(user, true).await;
    }
    one.bus.online("8");
    eventually(async || {
        let shares = server.command(&[b"HLEN", b"user:conns:8"]).await;
        (shares == ":2\r\n").then_some(())
    })
    .await;
    dying.kill();
    // Nobody asks for user 7 itself: other services read the hash.
    eventually(async || {
        let online = [&b"HGET"[..], b"user:status:7", b"is_online"];
        let online = server.command(&online).await;
        (online == "$1\r\n0\r\n").then_some(())
    })
    .await;
    one.until_online_users(1).await;
    assert_eq!(one.is_online("8").await, Some(true));
    eventually(async || {
        let instances = server.command(&[b"ZCARD", b"broker:instances"]).await;
        (instances == ":1\r\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_stops_in_order_takes_its_users_offline() {
    let server = RedisServer::start().await;
    let (one, stopping) = (Instance::start(&server).await, Instance::start(&server).await);
    stopping.bus.online("7");
    one.until_online("7", true).await;
    stopping.bus.stop(crate::support::PATIENCE).await;
    assert_eq!(one.is_online("7").await, Some(false));
    assert_eq!(one.bus.online_users().await, Ok(0));
}

#[tokio::test]
async fn users_are_told_again_when_redis_was_away_or_lost_its_data() {
    let mut server = RedisServer::start().await;
    let instance = Instance::start_with(&server, 5 * SHORT_LEASE).await;
    instance.bus.online("7");
    instance.until_online("7", true).await;
    server.kill();
    instance.bus.online("8");
    instance.bus.offline("7");
    server.restart().await;
    instance.until_online("8", true).await;
    instance.until_online("7", false).await;

    server.command(&[b"FLUSHALL"]).await;
    instance.until_online("8", true).await;
    instance.until_online_users(1).await;
}

/// findings C7: however many users come and go, an instance says in time that it lives.
#[tokio::test]
async fn users_who_come_and_go_without_an_end_do_not_keep_the_lease_from_its_renewal() {
    let server = RedisServer::start().await;
    let instance = Instance::start_with(&server, SHORT_LEASE).await;
    let (bus, stop) = (instance.bus.clone(), Arc::new(AtomicBool::new(false)));
    let has_stopped = Arc::clone(&stop);
    // More than are told at a time, again and again: there is always somebody to tell of.
    let churning = std::thread::spawn(move || {
        while !has_stopped.load(Ordering::Relaxed) {
            for user in 0..20_000 {
                bus.online(&user.to_string());
            }
            for user in 0..20_000 {
                bus.offline(&user.to_string());
            }
        }
    });
    // Behind all of them by name.
    instance.bus.online("zoe");
    instance.until_online("zoe", true).await;
    let origin = instance.bus.origin().to_owned();
    let mut ends = String::new();
    for _ in 0..10 {
        ends = eventually(async || {
            let lease = server.command(&[b"ZSCORE", b"broker:instances", origin.as_bytes()]).await;
            (lease != ends).then_some(lease)
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    churning.join().expect("no panic");
}
