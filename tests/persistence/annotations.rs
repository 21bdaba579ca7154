//! Annotations and summaries outlive the server, however it ends (`docs/protocols/ably.md §9.6, §9.7`).

use serde_json::json;

use super::{
    ground::{Ground, Rest},
    restart::End,
};
use crate::support::{AblyClient, ably::action};

const CHANNEL: &str = "mutable:room";

#[tokio::test]
async fn a_restart_forgets_no_annotation() {
    for end in [End::Ordered, End::Crash] {
        let ground = Ground::new();
        let server = ground.start();
        let mut rest = Rest::connect(server.address).await;
        let serial = rest.publish(CHANNEL, json!({"name": "question", "data": "?"})).await;
        let message = format!("/channels/{CHANNEL}/messages/{}", serial.replace('@', "%40").replace(':', "%3A"));
        let said = |client: &str| json!([{"type": "r:distinct.v1", "name": "x", "clientId": client}]);
        for client in ["a", "b"] {
            let response = rest.post(&format!("{message}/annotations"), &said(client)).await;
            assert_eq!(response.status, 201, "{response:?}");
        }
        end.of(server).await;

        let server = ground.start();
        // Who comes back after its server was gone gets the summary that it has missed.
        let query = format!("v=6&key={}&clientId=reader", super::ground::KEY);
        let mut reader = AblyClient::open_at(server.address, &query).await;
        reader.expect(action::CONNECTED).await;
        let position = serial.rsplit_once(':').expect("an index").0;
        let attach = json!({"action": action::ATTACH, "channel": CHANNEL, "channelSerial": position});
        reader.attach_with(attach).await;
        let list = |clients: &[&str]| json!({"total": clients.len(), "clientIds": clients, "clipped": false});
        let told = reader.expect(action::MESSAGE).await;
        let summary = json!({"r:distinct.v1": {"x": list(&["a", "b"])}});
        assert_eq!(told["messages"][0]["annotations"]["summary"], summary, "{end:?}: {told}");

        // It goes on from there.
        let mut rest = Rest::connect(server.address).await;
        let kept = rest.get(&message).await.json();
        assert_eq!(kept["annotations"]["summary"], summary, "{end:?}: {kept}");
        let response = rest.post(&format!("{message}/annotations"), &said("c")).await;
        assert_eq!(response.status, 201, "{response:?}");
        let annotations = rest.get(&format!("{message}/annotations")).await.json();
        let clients: Vec<_> = annotations.as_array().expect("a list").iter().map(|item| &item["clientId"]).collect();
        assert_eq!(clients, ["a", "b", "c"]);
        let history = rest.get(&format!("/channels/{CHANNEL}/messages")).await.json();
        let summary = json!({"r:distinct.v1": {"x": list(&["a", "b", "c"])}});
        assert_eq!(history[0]["annotations"]["summary"], summary, "{end:?}: {history}");
    }
}
