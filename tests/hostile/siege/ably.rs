//! What Ably clients can be kept for, and how much they can ask.

use serde_json::{Value, json};

use super::{besiege, text, texts};
use crate::support::{ably::action, raw::Raw};

/// findings B6: a connection that may come back is remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_and_go_with_long_names() {
    besiege(&[], async |siege| {
        let attack = async |number: usize| {
            let client_id = format!("&clientId={number}-{}", "x".repeat(240));
            let mut raw = siege.ably(number, &client_id).await?;
            raw.linger().await;
            None::<Raw>
        };
        siege.crowd(attack).await
    })
    .await;
}

/// findings B7: members and their data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_with_much_data() {
    besiege(&[], async |siege| {
        let data = "x".repeat(60_000);
        let attack = async |number: usize| {
            let mut raw = siege.ably(number, "").await?;
            let channel = format!("crowded-{}", number % 80);
            let attach = json!({"action": action::ATTACH, "channel": channel, "flags": 1 << 16});
            let member = json!([{"action": 2, "clientId": number.to_string(), "data": data}]);
            let enter = json!({"action": action::PRESENCE, "channel": channel, "msgSerial": 0, "presence": member});
            raw.flood(&texts([attach, enter])).await;
            Some(raw)
        };
        siege.crowd(attack).await
    })
    .await;
}

/// findings B8: every kind of frame has a rate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_every_kind_of_frame() {
    besiege(&[], async |siege| {
        let key = siege.app.keys[super::EVERYTHING].as_str();
        let kinds: [&dyn Fn(usize) -> Value; 6] = [
            &|number| json!({"action": action::HEARTBEAT, "id": number.to_string()}),
            &|_| json!({"action": action::AUTH, "auth": {"accessToken": key}}),
            &|number| json!({"action": action::ATTACH, "channel": format!("[?rewind=1&a={number}]flooded")}),
            &|number| json!({"action": action::DETACH, "channel": format!("[?a={number}]flooded")}),
            &|_| json!({"action": action::SYNC, "channel": "flooded"}),
            &|_| json!({"action": 99}),
        ];
        let floods = kinds.map(|kind| texts((0..2_500).map(kind)));
        let attack = async |number: usize| {
            let mut raw = siege.ably(number, "").await?;
            raw.flood(&floods[number % floods.len()]).await;
            Some(raw)
        };
        siege.some(60, attack).await
    })
    .await;
}

/// findings B9: nothing is known of what was never attached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn detaching_what_was_never_attached() {
    besiege(&[], async |siege| {
        let long = "x".repeat(1_900);
        let attack = async |number: usize| {
            let mut raw = siege.ably(number, "").await?;
            let detach = |alias| json!({"action": action::DETACH, "channel": format!("[?a={alias}{long}]x")});
            raw.flood(&texts((0..200).map(detach))).await;
            Some(raw)
        };
        siege.some(100, attack).await
    })
    .await;
}

/// The newest messages of many channels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_of_many_channels() {
    besiege(&[("HISTORY_WINDOW", "8s")], async |siege| {
        let data = "x".repeat(60_000);
        let attack = async |number: usize| {
            let mut raw = siege.ably(number, "").await?;
            let message = json!([{"data": data}]);
            let channel = format!("w-{number}");
            let publish = json!({"action": action::MESSAGE, "channel": channel, "msgSerial": 0, "messages": message});
            raw.flood(&text(&publish)).await;
            Some(raw)
        };
        siege.crowd(attack).await
    })
    .await;
}

/// What waits for the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_stored_faster_than_the_disk_takes_them() {
    besiege(&[("HISTORY_PERSISTED_BYTES", "1048576")], async |siege| {
        let data = "x".repeat(60_000);
        let attack = async |number: usize| {
            let mut raw = siege.ably(number, "").await?;
            let publish = |serial| {
                let message = json!([{"data": data}]);
                json!({"action": action::MESSAGE, "channel": format!("stored:{}", number % 20), "msgSerial": serial, "messages": message})
            };
            raw.flood(&texts((0..10).map(publish))).await;
            Some(raw)
        };
        siege.some(100, attack).await
    })
    .await;
}
