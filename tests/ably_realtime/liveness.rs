//! §1.5: signs of life.

use serde_json::{Value, json};

use super::stage::{EVERYTHING, Stage};
use crate::support::{AblyClient, ably::action};

/// T6: ably-go leaves out zeros. A heartbeat without an id is not answered.
#[tokio::test]
async fn t6_a_frame_without_an_action_is_a_heartbeat() {
    let stage = Stage::start().await;
    for format in ["json", "msgpack"] {
        let (mut client, _) = stage.open(&format!("format={format}")).await;
        client.send(json!({})).await;
        client.send(json!({"action": null, "msgSerial": 0})).await;
        client.send(json!({"id": "ping"})).await;
        let echo = client.next_of_all().await;
        assert_eq!(echo, json!({"action": 0, "id": "ping"}));
    }
}

/// T20: who says nothing about heartbeats counts on frames; also sent to who has asked for pings.
#[tokio::test]
async fn t20_an_idle_client_gets_heartbeats_as_frames() {
    let stage = Stage::start().await;
    let mut clients = Vec::new();
    for heartbeats in ["", "&heartbeats=true", "&heartbeats=false&format=msgpack"] {
        let query = format!("{}{heartbeats}", stage.query(EVERYTHING));
        let (client, connected) = AblyClient::connect_with(&stage.server, &query).await;
        assert_eq!(connected["connectionDetails"]["maxIdleInterval"], 15_000);
        clients.push(client);
    }
    for client in &mut clients {
        let heartbeat: Value = client.next_of_all().await;
        assert_eq!(heartbeat, json!({"action": action::HEARTBEAT}));
    }
}
