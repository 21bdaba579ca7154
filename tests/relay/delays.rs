//! Delayed pushes (`docs/protocols/relay.md §5`): kept on disk, sent when due, listed, cancelled.

use std::time::Duration;

use letshare_server::ids::Timestamp;
use nix::sys::signal::Signal;

use super::*;
use crate::support::process::ServerProcess;

const START: u64 = 1_760_000_000_000;

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(START))
}

fn delayed(event: &str, seconds: i64) -> Value {
    json!({"event_name": event, "subject": {"no": 1}, "token": "u-208", "delay_seconds": seconds})
}

/// Recipients are those connected when due; `ts` is the time of sending.
#[tokio::test]
async fn whoever_is_connected_when_it_is_due() {
    let clock = clock();
    let mut rig = Rig::start_at(clock.clone(), |_| {}).await;
    let gone = rig.user("u-208").await;
    let pushed = rig.push(delayed("later", 30)).await;
    assert_eq!(pushed["delay_seconds"], 30);
    assert_eq!(pushed["connections"], json!(null));
    drop(gone);
    rig.until(0, 0).await;
    let mut here = rig.user("u-208").await;
    clock.advance(Duration::from_millis(29_999));
    rig.fence().await;
    here.expect("fence").await;
    clock.advance(Duration::from_millis(1));
    let data = here.expect("later").await;
    assert_eq!(data["ts"], START + 30_000);
    assert_eq!(data["subject"], json!({"no": 1}));
    eventually(async || rig.scheduled().await.is_empty().then_some(())).await;
    clock.advance(Duration::from_secs(3_600));
    rig.fence().await;
    here.expect("fence").await;
}

#[tokio::test]
async fn they_are_listed_the_earliest_first() {
    let mut rig = Rig::start_at(clock(), |_| {}).await;
    rig.push(delayed("second", 20)).await;
    let first = rig.push(delayed("first", 10)).await;
    rig.push(json!({"event_name": "third", "subject": 1, "delay_seconds": 30})).await;
    let listed = rig.scheduled().await;
    let expected = json!({
        "id": first["id"],
        "due": START + 10_000,
        "event_name": "first",
        "target_user_id": "u-208",
        "broadcast": false,
    });
    assert_eq!(listed[0], expected);
    assert_eq!(listed[1]["event_name"], "second");
    assert_eq!(listed[2]["broadcast"], true);
    let page = rig.ask("GET", "/api/push/scheduled?limit=2").await.json();
    assert_eq!(page["data"]["scheduled"].as_array().unwrap().len(), 2);
    assert_eq!(page["data"]["has_more"], true);
    let bad = rig.ask("GET", "/api/push/scheduled?limit=0").await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn they_can_be_cancelled_until_they_are_sent() {
    let clock = clock();
    let mut rig = Rig::start_at(clock.clone(), |_| {}).await;
    let mut user = rig.user("u-208").await;
    let target = |pushed: &Value| {
        let id = pushed["id"].as_str().expect("an id");
        format!("/api/push/scheduled/{id}")
    };
    let never = rig.push(delayed("never", 10)).await;
    let once = rig.push(delayed("once", 10)).await;
    let cancelled = rig.ask("DELETE", &target(&never)).await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    assert_eq!(cancelled.json()["data"]["id"], never["id"]);
    clock.advance(Duration::from_secs(10));
    user.expect("once").await;
    eventually(async || rig.scheduled().await.is_empty().then_some(())).await;
    for gone in [&target(&never), &target(&once), "/api/push/scheduled/x"] {
        let answer = rig.ask("DELETE", gone).await;
        assert_eq!(answer.status, 404, "{answer:?}");
        assert_eq!(answer.json()["code"], -1);
    }
}

/// Those that are due at one moment come as they were accepted.
#[tokio::test]
async fn the_same_moment() {
    let clock = clock();
    let mut rig = Rig::start_at(clock.clone(), |_| {}).await;
    let mut user = rig.user("u-208").await;
    for number in 0..50 {
        rig.push(delayed(&format!("{number}"), 5)).await;
    }
    clock.advance(Duration::from_secs(60));
    for number in 0..50 {
        user.expect(&format!("{number}")).await;
    }
}

/// A restart keeps them; overdue ones wait for their user, in the order in which they were due.
#[tokio::test]
async fn a_restart_keeps_them() {
    let data = TempDir::new().expect("a folder");
    let clock = clock();
    let apps = super::cross::apps(&data);
    let adjust = |config: &mut Config| {
        config.data.dir = data.path().join("data");
        super::cross::with_apps(config, &apps);
    };
    let mut rig = Rig::start_at(clock.clone(), adjust).await;
    rig.push(delayed("b", 20)).await;
    rig.push(delayed("a", 10)).await;
    rig.push(delayed("c", 90)).await;
    drop(rig);
    clock.advance(Duration::from_secs(60));
    let mut rig = Rig::start_at(clock.clone(), adjust).await;
    let waiting = eventually(async || {
        let waiting = rig.scheduled().await;
        (waiting.len() == 1).then_some(waiting)
    })
    .await;
    assert_eq!(waiting[0]["event_name"], "c");
    // Nobody was there to get them; the channel remembers.
    let sent = super::cross::history(&rig.server, "relay:u:u-208").await;
    assert_eq!(sent, ["a", "b"]);
    let mut user = rig.user("u-208").await;
    for event in ["a", "b"] {
        user.expect(event).await;
    }
    clock.advance(Duration::from_secs(30));
    user.expect("c").await;
}

/// findings O3: what fell due while the server was down is its user's when they come, however late, and once.
#[tokio::test]
async fn an_overdue_push_waits_for_its_user() {
    let data = TempDir::new().expect("a folder");
    let clock = clock();
    let adjust = |config: &mut Config| config.data.dir = data.path().to_owned();
    let mut rig = Rig::start_at(clock.clone(), adjust).await;
    let pushed = rig.push(delayed("overdue", 10)).await;
    drop(rig);
    clock.advance(Duration::from_secs(60));
    let mut rig = Rig::start_at(clock.clone(), adjust).await;
    // Said to have reached nobody, and to be kept.
    let unreached = eventually(async || rig.unreached().await.pop()).await;
    assert_eq!(unreached["id"], pushed["id"]);
    assert_eq!(unreached["target_user_id"], "u-208");
    assert_eq!(unreached["kept"], true);
    eventually(async || rig.scheduled().await.is_empty().then_some(())).await;
    drop(rig);
    clock.advance(Duration::from_secs(86_400));
    let mut rig = Rig::start_at(clock.clone(), adjust).await;
    let mut user = rig.user("u-208").await;
    user.expect("overdue").await;
    rig.fence().await;
    user.expect("fence").await;
    let mut again = rig.socket("?token=u-208").await;
    rig.until(2, 2).await;
    rig.fence().await;
    again.expect("fence").await;
}

/// findings O3: what is for everybody waits until clients have had the time to come back.
#[tokio::test]
async fn an_overdue_push_to_everybody_waits_for_the_grace_to_end() {
    let data = TempDir::new().expect("a folder");
    let clock = clock();
    let adjust = |config: &mut Config| config.data.dir = data.path().to_owned();
    let mut rig = Rig::start_at(clock.clone(), adjust).await;
    rig.push(json!({"event_name": "all", "subject": 1, "delay_seconds": 10})).await;
    drop(rig);
    clock.advance(Duration::from_secs(60));
    let mut rig = Rig::start_at(clock.clone(), adjust).await;
    let mut early = rig.socket("").await;
    rig.until(1, 0).await;
    // One to a user is not held up behind it.
    rig.push(delayed("due", 1)).await;
    clock.advance(Duration::from_secs(1));
    eventually(async || (rig.scheduled().await.len() == 1).then_some(())).await;
    assert_eq!(rig.scheduled().await[0]["event_name"], "all");
    let mut late = rig.socket("").await;
    rig.until(2, 0).await;
    clock.advance(Duration::from_secs(30));
    early.expect("all").await;
    late.expect("all").await;
}

/// findings O3: a push that reached nobody is listed as such.
#[tokio::test]
async fn a_push_that_reached_nobody_is_told() {
    let clock = clock();
    let mut rig = Rig::start_at(clock.clone(), |_| {}).await;
    assert!(rig.unreached().await.is_empty());
    clock.advance(Duration::from_secs(31));
    let lost = rig.push(delayed("lost", 10)).await;
    let all = rig.push(json!({"event_name": "all", "subject": 1, "delay_seconds": 11})).await;
    clock.advance(Duration::from_secs(60));
    let unreached = eventually(async || {
        let unreached = rig.unreached().await;
        (unreached.len() == 2).then_some(unreached)
    })
    .await;
    let expected = |pushed: &Value, event: &str, after: u64, user: &str| {
        json!({
            "id": pushed["id"],
            "due": START + 31_000 + after,
            "event_name": event,
            "target_user_id": user,
            "broadcast": user.is_empty(),
            "kept": false,
        })
    };
    assert_eq!(unreached, [expected(&all, "all", 11_000, ""), expected(&lost, "lost", 10_000, "u-208")]);
}

/// `max_lateness`: what is too late is dropped.
#[tokio::test]
async fn those_that_are_too_late_are_dropped() {
    let data = TempDir::new().expect("a folder");
    let clock = clock();
    let apps = super::cross::apps(&data);
    let adjust = |config: &mut Config| {
        config.data.dir = data.path().join("data");
        config.relay.max_lateness = Duration::from_secs(15);
        super::cross::with_apps(config, &apps);
    };
    let mut rig = Rig::start_at(clock.clone(), adjust).await;
    rig.push(delayed("late", 10)).await;
    rig.push(delayed("fresh", 20)).await;
    drop(rig);
    clock.advance(Duration::from_secs(30));
    let mut rig = Rig::start_at(clock.clone(), adjust).await;
    eventually(async || rig.scheduled().await.is_empty().then_some(())).await;
    let sent = super::cross::history(&rig.server, "relay:u:u-208").await;
    assert_eq!(sent, ["fresh"]);
}

/// kill -9: whatever was answered with 200 is there.
#[tokio::test]
async fn kill_9_keeps_them() {
    let data = TempDir::new().expect("a folder");
    let folder = data.path().to_str().expect("UTF-8");
    let settings = [("DATA_DIR", folder), ("RELAY_API_KEY", KEY)];
    let settings = [&ON_THE_SHARED_PORT, &settings[..]].concat();
    let mut server = ServerProcess::start(&settings);
    let mut http = Http::connect_to(server.address).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        let body = delayed(&format!("{number}"), 3_600).to_string();
        let answer = http.post("/api/push", &[("X-API-KEY", KEY)], &body).await;
        ids.push(answer.json()["data"]["id"].clone());
    }
    let now = json!({"event_name": "soon", "subject": 1, "token": "u-208", "delay_seconds": 1});
    http.post("/api/push", &[("X-API-KEY", KEY)], &now.to_string()).await;
    server.signal(Signal::SIGKILL);
    server.exit().await;

    let server = ServerProcess::start(&settings);
    let mut http = Http::connect_to(server.address).await;
    // The one that was due soon is sent, before or after the kill, and then gone.
    let listed = eventually(async || {
        let headers = [("X-API-KEY", KEY)];
        let listed = http.ask("GET", "/api/push/scheduled", &headers).await;
        let listed = listed.json()["data"]["scheduled"].clone();
        let listed = listed.as_array().expect("a list").clone();
        (listed.len() == 20).then_some(listed)
    })
    .await;
    let listed: Vec<Value> = listed.iter().map(|push| push["id"].clone()).collect();
    assert_eq!(listed, ids);
}
