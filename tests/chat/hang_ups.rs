//! Clients that hang up in the middle of a request (docs/findings/core.md C8).

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{
    client::Client,
    house::{House, token},
};

/// Requests behind each other on one connection: while one is delivered, the next is on its way to disk.
const PIPELINED: usize = 40;
const ROUNDS: usize = 12;

/// findings C8: a message whose sender resets its connection is stored and delivered, or neither.
#[tokio::test]
async fn what_is_stored_is_delivered_although_its_sender_hangs_up() {
    let house = House::start(|_| {});
    let mut bob = house.connect(8).await;
    let mut delivered = Vec::new();
    for round in 0..ROUNDS {
        let mut sender = TcpStream::connect(house.address).await.expect("the server listens");
        for number in 0..PIPELINED {
            let body = format!(r#"{{"to_user_id":8,"content":"{round}-{number}"}}"#);
            let head = format!(
                "POST /api/ws/send-message HTTP/1.1\r\nHost: h\r\nx-token: {}\r\nContent-Length: {}\r\n\r\n",
                token(7),
                body.len()
            );
            sender.write_all(format!("{head}{body}").as_bytes()).await.expect("the connection is open");
        }
        delivered.push(content(&mut bob).await);
        sender.set_zero_linger().expect("an open socket");
    }
    // What was stored before this one was delivered before it.
    let fence = serde_json::json!({"to_user_id": 8, "content": "fence"});
    crate::support::eventually(async || {
        house.post("/api/ws/send-message", 7, &fence).await;
        while let text = content(&mut bob).await
            && text != "fence"
        {
            delivered.push(text);
        }
        // Requests that were cut off may still run: both are looked at until they agree. Their order is not told.
        let mut stored = stored(&house).await;
        stored.sort_unstable();
        delivered.sort_unstable();
        (stored == delivered).then_some(())
    })
    .await;
}

async fn content(bob: &mut Client) -> String {
    let data = bob.data().await;
    assert_eq!(data["type"], "new_message", "{data}");
    data["content"].as_str().expect("a text").to_owned()
}

/// Without fences.
async fn stored(house: &House) -> Vec<String> {
    let mut stored = Vec::new();
    for page in 1.. {
        let target = format!("/api/ws/messages?room_id=private_7_8&page_size=100&page={page}");
        let page = house.get(&target, 8).await.json();
        let messages = page["data"]["messages"].as_array().expect("messages");
        if messages.is_empty() {
            break;
        }
        stored.extend(messages.iter().map(|message| message["content"].as_str().expect("a text").to_owned()));
    }
    stored.retain(|text| text != "fence");
    stored
}
