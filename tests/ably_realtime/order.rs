//! §6.2: answers to publishes (T3, T4, T37, T38).

use serde_json::{Value, json};

use super::stage::{EVERYTHING, Stage, assert_error};
use crate::support::{AblyClient, ably::action};

/// T3: serial 0 is written; T4: frames are counted, not messages. Serials since version 5.
#[tokio::test]
async fn t3_t4_an_ack_says_what_it_is_for() {
    let stage = Stage::start().await;
    let key = &stage.app.keys[EVERYTHING];
    for version in ["1.2", "2", "4", "5", "6"] {
        for format in ["json", "msgpack"] {
            let query = format!("v={version}&key={key}&format={format}");
            let (mut alice, _) = AblyClient::connect_with(&stage.server, &query).await;
            alice.publish("room", json!([{}, {}, {}])).await;
            let ack = alice.next().await;
            assert_eq!(ack["action"], action::ACK);
            assert_eq!(ack["msgSerial"], 0, "{ack}");
            assert_eq!(ack["count"], 1);
            if version == "5" || version == "6" {
                let res = ack["res"].as_array().expect("results");
                assert_eq!(res.len(), 1);
                assert_eq!(res[0]["serials"].as_array().map(Vec::len), Some(3));
            } else {
                assert_eq!(ack.get("res"), None);
            }
            // T5: with an error.
            alice.publish(":bad", json!([{}, {}])).await;
            let nack = alice.next().await;
            assert_eq!(nack["action"], action::NACK);
            assert_eq!((&nack["msgSerial"], &nack["count"]), (&json!(1), &json!(1)));
            assert_error(&nack, 40010, 400);
        }
    }
}

/// The serials are those that subscribers see.
#[tokio::test]
async fn the_serials_of_an_ack() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let mut alice = stage.client("alice").await;
    alice.publish("room", json!([{}, {}])).await;
    let ack = alice.expect(action::ACK).await;
    let frame = watcher.expect(action::MESSAGE).await;
    let seen = frame["messages"].as_array().unwrap();
    let seen: Vec<&Value> = seen.iter().map(|message| &message["serial"]).collect();
    let told = ack["res"][0]["serials"].as_array().unwrap();
    assert_eq!(seen, told.iter().collect::<Vec<_>>());
}

/// T38: whatever channel they are for, of whatever kind they are, and whether they are refused or not.
#[tokio::test]
async fn t38_answers_come_in_the_order_of_the_frames() {
    let stage = Stage::with(|config| config.server.workers = 3).await;
    let mut alice = stage.client("alice").await;
    for channel in 0..7 {
        alice.attach(&format!("room{channel}")).await;
    }
    for number in 0..300_u64 {
        let channel = format!("room{}", number % 7);
        match number % 11 {
            3 => alice.publish(":bad", json!([{}])).await,
            5 => alice.publish(&channel, json!([{"clientId": "bob"}])).await,
            7 => alice.presence(&channel, json!([{"action": 4, "data": "x"}])).await,
            8 => alice.presence("nowhere", json!([{"action": 2}])).await,
            9 => alice.publish("transient", json!([{}])).await,
            _ => alice.publish(&channel, json!([{}])).await,
        };
    }
    let mut expected = 0;
    while expected < 300 {
        let frame = alice.next().await;
        let is_answer = [action::ACK, action::NACK].iter().any(|one| frame["action"] == *one);
        if !is_answer {
            continue;
        }
        assert_eq!(frame["msgSerial"], expected, "{frame}");
        assert_eq!(frame["count"], 1);
        let is_bad = matches!(expected % 11, 3 | 5 | 8);
        assert_eq!(frame["action"] == action::NACK, is_bad, "{frame}");
        expected += 1;
    }
}

/// T37: an answer waits for nobody who reads slowly.
#[tokio::test]
async fn t37_the_answer_does_not_wait_for_readers() {
    let stage = Stage::start().await;
    // It never reads.
    let mut idle = stage.client("idle").await;
    idle.attach("room").await;
    let mut alice = stage.client("alice").await;
    for _ in 0..200 {
        let data = "x".repeat(50_000);
        let serial = alice.publish("room", json!([{"data": data}])).await;
        alice.acked(serial).await;
    }
}
