//! An app that has all that it may keep: what is cheapest to lose goes as fast as something else is wanted.

use serde_json::json;

use crate::support::{AblyClient, Server, TestApp, ably::action};

/// Of the server; an app may have half of it.
const MEMORY: usize = 8_000_000;
const ROUNDS: usize = 12;
const BURST: usize = 200;
const LOUD: usize = 8;
const PAYLOAD: usize = 8_000;

/// Each burst fills the share of the app with messages, which go for what comes next: a connection, a channel, a member, an id,
/// a page, a reader that lets them wait. Nobody is refused or cut, and nobody waits for the look that comes once a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_fills_its_share_at_once_is_not_refused() {
    let server = Server::sandbox(|config| {
        config.limits.memory = MEMORY;
        config.limits.app_share = 50;
        config.limits.network_share = 100;
        config.limits.client_memory = MEMORY;
        config.limits.publishes_per_second = 20_000;
        config.limits.publish_burst = 20_000;
    });
    let app = TestApp::plain(&server).await;
    let mut writer = AblyClient::connect(&server, &app.keys[0]).await;
    let mut reader = AblyClient::connect(&server, &app.keys[0]).await;
    let loud = |number: usize| format!("loud-{}", number % LOUD);
    for number in 0..LOUD {
        reader.attach(&loud(number)).await;
    }
    let data = "x".repeat(PAYLOAD);
    let mut newcomers = Vec::new();
    for round in 0..ROUNDS {
        let mut serial = 0;
        for number in 0..BURST {
            serial = writer.publish(&loud(number), json!([{"data": data}])).await;
        }
        // Whatever is not acknowledged would be seen here; acknowledgements may come together.
        loop {
            let ack = writer.expect(action::ACK).await;
            if ack["msgSerial"].as_u64().unwrap() + ack["count"].as_u64().unwrap() > serial {
                break;
            }
        }
        let query = format!("v=6&key={}&clientId=new-{round}", app.keys[0]);
        let (mut newcomer, _) = AblyClient::connect_with(&server, &query).await;
        let fresh = format!("fresh-{round}");
        newcomer.attach(&fresh).await;
        let entered = newcomer.presence(&fresh, json!([{"action": 2, "data": "y".repeat(20_000)}])).await;
        newcomer.acked(entered).await;
        let told = newcomer.publish(&fresh, json!([{"id": format!("{round}"), "data": "z"}])).await;
        newcomer.acked(told).await;
        newcomers.push(newcomer);
        for _ in 0..BURST {
            let frame = reader.expect(action::MESSAGE).await;
            assert_eq!(frame["messages"][0]["data"].as_str().map(str::len), Some(PAYLOAD));
        }
    }
}
