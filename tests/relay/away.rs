//! `offline_ttl_seconds` (`docs/protocols/relay.md §5`): pushes for a user who is away wait, and come when they identify.

use std::time::Duration;

use letshare_server::ids::Timestamp;
use nix::sys::signal::Signal;

use super::*;
use crate::support::{AblyClient, ably::action, process::ServerProcess};

const START: u64 = 1_760_000_000_000;

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(START))
}

fn keeping(config: &mut Config) {
    config.relay.offline_ttl = Duration::from_secs(3_600);
}

fn push(event: &str) -> Value {
    json!({"event_name": event, "subject": {"no": 1}, "token": "u-208"})
}

impl Rig {
    async fn kept(&mut self) -> Value {
        let stats = self.ask("GET", "/stats").await.json();
        stats["data"]["kept"].clone()
    }
}

/// In order, before live ones, once; `ts` is when it was pushed.
#[tokio::test]
async fn they_come_first_and_in_order() {
    let clock = clock();
    let mut rig = Rig::start_at(clock.clone(), keeping).await;
    for number in 0..20 {
        let pushed = rig.push(push(&number.to_string())).await;
        assert_eq!(pushed["kept"], true);
        assert_eq!(pushed["connections"], 0);
    }
    // Unchanged, byte for byte.
    let whole = r#"{"event_name":"whole","subject":[1.10],"token":{"id": "u-208"}}"#;
    assert_eq!(rig.post(whole).await.status, 200);
    // Somebody else is not concerned, and everybody's pushes do not wait.
    let elsewhere = rig.push(json!({"event_name": "x", "subject": 1, "token": "u-209"})).await;
    assert_eq!(elsewhere["kept"], true);
    let all = rig.push(json!({"event_name": "all", "subject": 1})).await;
    assert_eq!(all["kept"], false);
    assert_eq!(rig.kept().await, 22);
    clock.advance(Duration::from_secs(10));

    let mut user = rig.user("u-208").await;
    let live = rig.push(push("live")).await;
    assert_eq!(live["kept"], false);
    assert_eq!(live["connections"], 1);
    for number in 0..20 {
        let data = user.expect(&number.to_string()).await;
        let expected = json!({"subject": {"no": 1}, "ts": START, "token": "u-208"});
        assert_eq!(data, expected);
    }
    let whole = user.next_text().await;
    let data = format!(r#"{{"subject":[1.10],"ts":{START},"token":{{"id": "u-208"}}}}"#);
    assert_eq!(whole, format!(r#"{{"event":"whole","data":{data}}}"#));
    user.expect("live").await;
    // Until its answer to the ping behind them is here.
    eventually(async || (rig.kept().await == 1).then_some(())).await;

    // Whoever comes next has got nothing.
    let mut second = rig.socket("?token=u-208").await;
    rig.until(2, 2).await;
    rig.fence().await;
    second.expect("fence").await;
    user.expect("fence").await;
}

/// By `identify` as by the URL; the answer to `identify` comes before.
#[tokio::test]
async fn identify_brings_them() {
    let mut rig = Rig::start(|config| {
        keeping(config);
        config.relay.identify_ack = true;
    })
    .await;
    rig.push(push("a")).await;
    let mut user = rig.socket("").await;
    rig.until(1, 0).await;
    user.identify(json!("u-1")).await;
    user.expect("identified").await;
    user.identify(json!("u-208")).await;
    user.expect("identified").await;
    user.expect("a").await;
    // Away again.
    user.identify(json!("u-1")).await;
    user.expect("identified").await;
    rig.until(1, 1).await;
    assert_eq!(rig.push(push("b")).await["kept"], true);
    user.identify(json!("u-208")).await;
    user.expect("identified").await;
    user.expect("b").await;
}

/// What is older than the setting says does not come, and is not kept on disk.
#[tokio::test]
async fn they_wait_so_long_and_no_longer() {
    let data = TempDir::new().expect("a folder");
    let clock = clock();
    let adjust = |config: &mut Config| {
        keeping(config);
        config.data.dir = data.path().to_owned();
    };
    let mut rig = Rig::start_at(clock.clone(), adjust).await;
    rig.push(push("old")).await;
    clock.advance(Duration::from_millis(1));
    rig.push(push("young")).await;
    clock.advance(Duration::from_secs(3_600));
    let mut user = rig.user("u-208").await;
    user.expect("young").await;
    drop(user);
    rig.until(0, 0).await;
    rig.push(push("last")).await;
    drop(rig);
    clock.advance(Duration::from_secs(3_601));
    let mut rig = Rig::start_at(clock.clone(), adjust).await;
    assert_eq!(rig.kept().await, 0);
    let mut user = rig.user("u-208").await;
    rig.fence().await;
    user.expect("fence").await;
}

/// A restart keeps them, and their order; switched off, they are gone.
#[tokio::test]
async fn a_restart_keeps_them() {
    let data = TempDir::new().expect("a folder");
    let adjust = |config: &mut Config| {
        keeping(config);
        config.data.dir = data.path().to_owned();
    };
    let mut rig = Rig::start(adjust).await;
    for number in 0..150 {
        rig.push(push(&number.to_string())).await;
    }
    drop(rig);
    let mut rig = Rig::start(adjust).await;
    assert_eq!(rig.kept().await, 150);
    rig.push(push("150")).await;
    let mut user = rig.user("u-208").await;
    for number in 0..=150 {
        user.expect(&number.to_string()).await;
    }
    drop(user);
    rig.until(0, 0).await;
    rig.push(push("forgotten")).await;
    drop(rig);
    let off = |config: &mut Config| {
        adjust(config);
        config.relay.offline_ttl = Duration::ZERO;
    };
    let mut rig = Rig::start(off).await;
    eventually(async || (rig.kept().await == 0).then_some(())).await;
    let dropped = rig.push(push("dropped")).await;
    assert_eq!(dropped.get("kept"), None, "the original answer");
    drop(rig);
    let mut rig = Rig::start(adjust).await;
    assert_eq!(rig.kept().await, 0);
    let mut user = rig.user("u-208").await;
    rig.fence().await;
    user.expect("fence").await;
}

/// The newest 256 of a user wait.
#[tokio::test]
async fn a_user_has_so_many() {
    let data = TempDir::new().expect("a folder");
    let adjust = |config: &mut Config| {
        keeping(config);
        config.data.dir = data.path().to_owned();
    };
    let mut rig = Rig::start(adjust).await;
    for number in 0..260 {
        rig.push(push(&number.to_string())).await;
    }
    assert_eq!(rig.kept().await, 256);
    drop(rig);
    let mut rig = Rig::start(adjust).await;
    let mut user = rig.user("u-208").await;
    for number in 4..260 {
        user.expect(&number.to_string()).await;
    }
}

/// findings C11: what a connection was sent and has not shown to have read waits again when it is gone.
#[tokio::test]
async fn what_a_lost_connection_did_not_read_comes_again() {
    let mut rig = Rig::start(keeping).await;
    for number in 0..20 {
        rig.push(push(&number.to_string())).await;
    }
    // It never reads, so it never answers the ping.
    let half_dead = rig.user("u-208").await;
    assert_eq!(rig.kept().await, 20);
    drop(half_dead);
    rig.until(0, 0).await;
    let mut user = rig.user("u-208").await;
    for number in 0..20 {
        user.expect(&number.to_string()).await;
    }
    rig.fence().await;
    user.expect("fence").await;
    eventually(async || (rig.kept().await == 0).then_some(())).await;
}

/// findings C11: another connection of the user gets it at once.
#[tokio::test]
async fn what_a_lost_connection_did_not_read_goes_to_another_one_of_its_user() {
    let mut rig = Rig::start(keeping).await;
    for event in ["a", "b"] {
        rig.push(push(event)).await;
    }
    let half_dead = rig.user("u-208").await;
    let mut other = rig.socket("?token=u-208").await;
    rig.until(2, 2).await;
    rig.fence().await;
    other.expect("fence").await;
    drop(half_dead);
    other.expect("a").await;
    other.expect("b").await;
    rig.fence().await;
    other.expect("fence").await;
    eventually(async || (rig.kept().await == 0).then_some(())).await;
}

/// findings C11: a restart with pushes on their way keeps them, too.
#[tokio::test]
async fn what_was_not_read_survives_a_restart() {
    let data = TempDir::new().expect("a folder");
    let adjust = |config: &mut Config| {
        keeping(config);
        config.data.dir = data.path().to_owned();
    };
    let mut rig = Rig::start(adjust).await;
    rig.push(push("a")).await;
    let half_dead = rig.user("u-208").await;
    drop(rig);
    drop(half_dead);
    let mut rig = Rig::start(adjust).await;
    assert_eq!(rig.kept().await, 1);
    rig.user("u-208").await.expect("a").await;
}

/// A delayed push whose user is away when it is due waits as well.
#[tokio::test]
async fn a_delayed_one_waits_when_it_is_due() {
    let clock = clock();
    let mut rig = Rig::start_at(clock.clone(), keeping).await;
    let mut delayed = push("later");
    delayed["delay_seconds"] = json!(30);
    let pushed = rig.push(delayed).await;
    assert_eq!(pushed.get("kept"), None, "not yet known");
    clock.advance(Duration::from_secs(30));
    eventually(async || (rig.kept().await == 1).then_some(())).await;
    let mut user = rig.user("u-208").await;
    assert_eq!(user.expect("later").await["ts"], START + 30_000);
}

/// An Ably subscriber of the user's channel sees it at once, and not again.
#[tokio::test]
async fn an_ably_subscriber_sees_it_at_once() {
    let data = TempDir::new().expect("a folder");
    let apps = super::cross::apps(&data);
    let mut rig = Rig::start(|config| {
        keeping(config);
        super::cross::with_apps(config, &apps);
    })
    .await;
    let mut ably = AblyClient::connect(&rig.server, super::cross::RELAY_KEY).await;
    ably.attach("relay:u:u-208").await;
    assert_eq!(rig.push(push("a")).await["kept"], true);
    let seen = ably.expect(action::MESSAGE).await;
    assert_eq!(seen["messages"][0]["name"], "a");
    let mut user = rig.user("u-208").await;
    user.expect("a").await;
    rig.push(push("b")).await;
    let seen = ably.expect(action::MESSAGE).await;
    assert_eq!(seen["messages"][0]["name"], "b");
    user.expect("b").await;
}

/// kill -9: whatever was answered with 200 comes.
#[tokio::test]
async fn kill_9_keeps_them() {
    let data = TempDir::new().expect("a folder");
    let folder = data.path().to_str().expect("UTF-8");
    let settings = [("DATA_DIR", folder), ("RELAY_API_KEY", KEY), ("RELAY_OFFLINE_TTL", "1h")];
    let settings = [&ON_THE_SHARED_PORT, &settings[..]].concat();
    let mut server = ServerProcess::start(&settings);
    let mut http = Http::connect_to(server.address).await;
    for number in 0..20 {
        let body = push(&number.to_string()).to_string();
        let answer = http.post("/api/push", &[("X-API-KEY", KEY)], &body).await;
        assert_eq!(answer.json()["data"]["kept"], true);
    }
    server.signal(Signal::SIGKILL);
    server.exit().await;
    let server = ServerProcess::start(&settings);
    let mut user = Socket::connect(&format!("ws://{}/ws?token=u-208", server.address)).await;
    for number in 0..20 {
        user.expect(&number.to_string()).await;
    }
}
