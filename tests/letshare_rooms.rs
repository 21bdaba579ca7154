//! Rooms: `protocols/letshare.md §2`, row by row.

use serde_json::json;

use crate::support::{Client, Server};

/// §2.3: no copy for the publisher; exact match; a third page sees no targeted signal.
#[tokio::test]
async fn a_signal_reaches_whom_it_names_and_nobody_else() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    let mut c = Client::join(&server, "c:3", "demo1").await;

    a.publish(
        "demo1",
        "signal:b:2",
        json!({"type": "offer", "from": "a:1"}),
    )
    .await;
    let offer = b.next().await;
    assert_eq!(offer["type"], "message");
    assert_eq!(offer["channel"], "demo1");
    assert_eq!(offer["event"], "signal:b:2");
    assert_eq!(offer["data"], json!({"type": "offer", "from": "a:1"}));
    assert!(offer["timestamp"].is_u64());

    a.publish("demo1", "signal:all", json!({"type": "discover"}))
        .await;
    assert_eq!(
        b.next().await["data"],
        json!({"type": "discover", "from": "a:1"})
    );
    assert_eq!(c.next().await["data"]["type"], "discover");
    assert!(a.received_so_far().await.is_empty());
}
