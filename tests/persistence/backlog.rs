//! What is read from the disk while somebody waits for it (`docs/protocols/ably.md §5.3, §8.5`).

use serde_json::json;

use super::ground::{Ground, KEY, Rest};
use crate::support::{
    AblyClient,
    ably::{action, flag},
};

const MESSAGES: usize = 100;

async fn client(address: std::net::SocketAddr) -> AblyClient {
    let mut client = AblyClient::open_at(address, &format!("v=6&key={KEY}")).await;
    client.expect(action::CONNECTED).await;
    client
}

/// The numbers of the messages that a client gets on its channel, up to this one.
async fn numbers(client: &mut AblyClient, channel: &str, upto: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&upto) {
        let message = client.expect(action::MESSAGE).await;
        assert_eq!(message["channel"], channel);
        numbers.push(message["messages"][0]["name"].as_str().expect("a name").parse().expect("a number"));
    }
    numbers
}

/// findings B1 and G2: a backlog that is only on disk comes portion by portion, whole and before what is published meanwhile,
/// by the plain name and by another one.
#[tokio::test]
async fn a_backlog_from_the_disk_comes_whole_and_first() {
    let ground = Ground::new();
    let server = ground.start_with(&[("HISTORY_WINDOW", "0s")]);
    let mut rest = Rest::connect(server.address).await;
    let data = "x".repeat(30_000);
    for round in ["plain", "alias", "resume"] {
        let channel = format!("persisted:{round}");
        let mut serials = Vec::new();
        for number in 0..MESSAGES {
            serials.push(rest.publish(&channel, json!({"name": number.to_string(), "data": data})).await);
        }
        let requested = if round == "alias" { format!("[?a=1]{channel}") } else { channel.clone() };
        let mut attach = json!({"action": action::ATTACH, "channel": requested});
        let first = if round == "resume" {
            let (position, _index) = serials[9].rsplit_once(':').expect("the serial of a message");
            attach["channelSerial"] = json!(position);
            10
        } else {
            attach["params"] = json!({"rewind": "100"});
            0
        };
        let mut reader = client(server.address).await;
        let attached = reader.attach_with(attach).await;
        assert_ne!(attached["flags"].as_u64().expect("flags") & flag::HAS_BACKLOG, 0, "{attached}");
        rest.publish(&channel, json!({"name": MESSAGES.to_string(), "data": data})).await;
        let found = numbers(&mut reader, &requested, MESSAGES).await;
        assert_eq!(found, (first..=MESSAGES).collect::<Vec<_>>(), "{round}");
    }
}
