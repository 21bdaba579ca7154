//! §4.8: every frame counts, and how each is answered that comes too fast.

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::{Value, json};

use super::stage::{EVERYTHING, Stage, assert_error};
use crate::support::{AblyClient, Server, ably::action};

async fn stage(burst: u32) -> (Stage, Clock) {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let server = Server::sandbox_at(clock.clone(), |config| {
        config.limits.publishes_per_second = 1;
        config.limits.publish_burst = burst;
    });
    (Stage::on(server).await, clock)
}

fn heartbeat(id: &str) -> Value {
    json!({"action": action::HEARTBEAT, "id": id})
}

/// Uses up what the rate leaves; no time passes meanwhile.
async fn exhaust(client: &mut AblyClient, frames: u32) {
    for number in 0..frames {
        client.send(heartbeat(&number.to_string())).await;
    }
}

/// findings B8: a frame of any kind counts; one that is too much is not answered, or by an error that lets the client try
/// again, and the connection lives.
#[tokio::test]
async fn frames_of_any_kind_have_one_rate() {
    for format in ["json", "msgpack"] {
        let (stage, clock) = stage(20).await;
        let (mut client, _) = stage.open(&format!("clientId=alice&format={format}")).await;
        client.attach("room").await;
        client.attach("[?rewind=1]room").await;
        clock.advance(Duration::from_secs(60));
        exhaust(&mut client, 20).await;
        // None of these is answered.
        client.send(heartbeat("late")).await;
        client.send(json!({"action": action::DETACH, "channel": "room"})).await;
        client.send(json!({"action": action::SYNC, "channel": "room"})).await;
        client.send(json!({"action": action::ATTACH, "channel": "other"})).await;
        let serial = client.publish("room", json!([{"data": "x"}])).await;
        let mut echoes = 0;
        // The error of a publish comes before the echoes, which wait for a moment.
        for expected in [action::DETACHED, action::NACK] {
            let answer = loop {
                let answer = client.next().await;
                match answer["action"] == action::HEARTBEAT {
                    true => echoes += 1,
                    false => break answer,
                }
            };
            assert_eq!(answer["action"], expected, "{answer}");
            assert_error(&answer, 42911, 429);
        }
        while echoes < 20 {
            assert_eq!(client.next().await["action"], action::HEARTBEAT);
            echoes += 1;
        }
        clock.advance(Duration::from_secs(60));
        assert!(client.received_so_far().await.is_empty());
        let again = client.publish("room", json!([{"data": "y"}])).await;
        assert_eq!(again, serial + 1);
        clock.advance(Duration::from_secs(60));
        let frames = client.received_so_far().await;
        assert!(frames.iter().any(|frame| frame["action"] == action::ACK), "{frames:?}");
    }
}

/// findings B8: what makes more work costs more: an ATTACH 5, with rewind 10, a SYNC or an AUTH 10.
#[tokio::test]
async fn what_makes_more_work_costs_more() {
    let (stage, clock) = stage(20).await;
    for (frames, left) in [
        (vec![json!({"action": action::ATTACH, "channel": "new"})], 15),
        (vec![json!({"action": action::ATTACH, "channel": "[?rewind=1]new"})], 10),
        (vec![json!({"action": action::SYNC, "channel": "room"})], 10),
        // A detach of what is not attached, and an attach that is refused, cost no more than any frame.
        (vec![json!({"action": action::DETACH, "channel": "new"})], 19),
        (vec![json!({"action": action::ATTACH, "channel": ""})], 19),
    ] {
        let (mut client, _) = stage.open("").await;
        client.attach("room").await;
        clock.advance(Duration::from_secs(60));
        for frame in &frames {
            client.send(frame.clone()).await;
        }
        exhaust(&mut client, 40).await;
        // It is refused, and then time may pass.
        client.publish("room", json!([{}])).await;
        let mut echoes = 0;
        loop {
            let answer = client.next().await;
            match answer["action"].as_u64() {
                Some(action::NACK) => {
                    clock.advance(Duration::from_secs(60));
                    client.send(heartbeat("last")).await;
                }
                Some(action::HEARTBEAT) if answer["id"] == "last" => break,
                Some(action::HEARTBEAT) => echoes += 1,
                _ => {}
            }
        }
        assert_eq!(echoes, left, "{frames:?}");
    }
}

/// §4.8: a new token that comes too fast ends the transport, not the connection: the client comes back with it.
#[tokio::test]
async fn a_token_over_the_rate_disconnects() {
    let (stage, _clock) = stage(5).await;
    let (mut client, _) = stage.open("").await;
    exhaust(&mut client, 5).await;
    client.send(json!({"action": action::AUTH, "auth": {"accessToken": "x"}})).await;
    let disconnected = client.expect(action::DISCONNECTED).await;
    assert_error(&disconnected, 42911, 429);
}

/// Whoever wants to go is not held.
#[tokio::test]
async fn close_is_answered_over_the_rate() {
    let (stage, _clock) = stage(5).await;
    let (mut client, _) = stage.open("").await;
    exhaust(&mut client, 5).await;
    client.send(json!({"action": action::CLOSE})).await;
    client.expect(action::CLOSED).await;
}

/// findings B8: 42921, twenty times over the rate: the connection ends for good.
#[tokio::test]
async fn a_flood_ends_the_connection() {
    let (stage, _clock) = stage(5).await;
    let query = stage.query(EVERYTHING);
    let (mut client, _) = AblyClient::connect_with(&stage.server, &query).await;
    exhaust(&mut client, 5 + 5 * 20 + 1).await;
    // The first five may be answered before the rest is read.
    let error = loop {
        let frame = client.next().await;
        if frame["action"] != action::HEARTBEAT {
            break frame;
        }
    };
    assert_eq!(error["action"], action::ERROR);
    assert_error(&error, 42921, 429);
}
