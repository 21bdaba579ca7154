//! A restart sends everybody back at once: each gets exactly what it missed, or an explicit break, and the
//! data file is read once for each channel (docs/goals.md §7).

use futures_util::future::join_all;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

use super::ground::{Ground, Rest, Subscriber, Ticket, data_of, is_resumed, numbers};
use crate::support::process::ServerProcess;

const CLIENTS: usize = 1_000;
/// The last two are not persisted.
const CHANNELS: usize = 10;
const PERSISTED: usize = 8;
/// The clients come in so many groups, and after each something is published.
const GROUPS: usize = 5;
const ROUND: u64 = 4;

#[tokio::test]
async fn a_thousand_come_back_after_an_orderly_restart() {
    let (ground, server, away) = everybody_is_away().await;
    server.terminate().await;
    everybody_comes_back(&ground, &away, |_| true).await;
}

#[tokio::test]
async fn a_thousand_come_back_after_a_crash() {
    let (ground, server, away) = everybody_is_away().await;
    server.kill().await;
    everybody_comes_back(&ground, &away, |channel| channel < PERSISTED).await;
}

/// Whom to await, in which channel, and the first number that it has not seen.
struct Away {
    ticket: Ticket,
    channel: usize,
    seen: u64,
}

fn name(channel: usize) -> String {
    if channel < PERSISTED { format!("persisted:{channel}") } else { format!("plain:{channel}") }
}

async fn everybody_is_away() -> (Ground, ServerProcess, Vec<Away>) {
    // Two ends of a socket in this process would be twice as many; the server raises its own.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
    let ground = Ground::new();
    let server = ground.start();
    let mut rest = Rest::connect(server.address).await;
    let mut away = Vec::new();
    for group in 0..GROUPS as u64 {
        for channel in 0..CHANNELS {
            rest.publish_numbers(&name(channel), group * ROUND..(group + 1) * ROUND).await;
        }
        let come = (0..CLIENTS / GROUPS).map(async |client| {
            let channel = client % CHANNELS;
            let mut subscriber = Subscriber::connect(server.address, "").await;
            subscriber.attach(&name(channel)).await;
            let (ticket, seen) = (subscriber.ticket, (group + 1) * ROUND);
            Away { ticket, channel, seen }
        });
        away.extend(join_all(come).await);
    }
    for channel in 0..CHANNELS {
        let first = GROUPS as u64 * ROUND;
        rest.publish_numbers(&name(channel), first..first + ROUND).await;
    }
    (ground, server, away)
}

async fn everybody_comes_back(ground: &Ground, away: &[Away], is_kept: impl Fn(usize) -> bool) {
    let server = ground.start();
    let before = reads(&server).await;
    let end = (GROUPS as u64 + 1) * ROUND;
    join_all(away.iter().map(async |away| {
        let Away { ticket, channel, seen } = away;
        let mut client = ticket.resume(server.address, "").await;
        let (attached, missed) = client.attach_again(&name(*channel)).await;
        assert_eq!(is_resumed(&attached), is_kept(*channel), "{attached}");
        if is_kept(*channel) {
            assert_eq!(data_of(&missed), numbers(*seen..end));
        } else {
            assert_eq!(attached["error"]["code"], 90003, "{attached}");
            assert_eq!(missed, Vec::<Value>::new());
        }
        // Stays, so that all of them are there at once.
        client
    }))
    .await;
    let read = reads(&server).await - before;
    assert!(read <= PERSISTED as u64, "{read} reads for {PERSISTED} channels");
}

async fn reads(server: &ServerProcess) -> u64 {
    let metrics = server.metrics().await;
    metrics["store"]["reads"].as_u64().expect("a number")
}
