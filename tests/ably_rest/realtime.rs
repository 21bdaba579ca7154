//! Where HTTP and connections meet: on one channel (§6.5, §6.7, §7.8, §8.4, §11.6, T36).

use serde_json::{Value, json};

use super::sandbox::{EVERYTHING, Sandbox, assert_refused, link};
use crate::support::ably::{AblyClient, action};

async fn connect(sandbox: &Sandbox, client: &str) -> (AblyClient, Value) {
    let key = sandbox.key(EVERYTHING);
    AblyClient::connect_with(&sandbox.server, &format!("v=6&key={key}&clientId={client}")).await
}

/// Subscribers get what HTTP publishes, as one frame for one publish, in its order.
#[tokio::test]
async fn a_publish_by_http_reaches_subscribers() {
    let mut sandbox = Sandbox::start().await;
    let (mut alice, _) = connect(&sandbox, "alice").await;
    alice.attach("room").await;
    let published =
        sandbox.publish("%5B%3Frewind%3D1%5Droom", json!([{"name": "a"}, {"name": "b", "data": "x"}])).await;
    let frame = alice.expect(action::MESSAGE).await;
    assert_eq!(frame["channel"], "room");
    assert_eq!(frame["id"], published["messageId"]);
    assert_eq!(frame.get("connectionId"), None);
    let messages = frame["messages"].as_array().expect("messages");
    let serials: Vec<&Value> = messages.iter().map(|message| &message["serial"]).collect();
    assert_eq!(serials, published["serials"].as_array().expect("serials").iter().collect::<Vec<_>>());
    assert_eq!(messages[1]["data"], "x");
    // T39: what comes again is delivered once.
    let again = json!({"id": "once:0", "name": "c"});
    let first = sandbox.publish("room", again.clone()).await;
    assert_eq!(sandbox.publish("room", again).await, first);
    let received = alice.received_so_far().await;
    assert_eq!(received.len(), 1, "{received:?}");
}

/// §6.7: delivered live, and kept nowhere.
#[tokio::test]
async fn ephemeral_messages_are_delivered() {
    let mut sandbox = Sandbox::start().await;
    let (mut alice, _) = connect(&sandbox, "alice").await;
    alice.attach("room").await;
    let response = sandbox.post("/channels/room/messages?ephemeral=true", &json!({"name": "now"})).await;
    assert_eq!(response.status, 201);
    let frame = alice.expect(action::MESSAGE).await;
    assert_eq!(frame["messages"][0]["name"], "now");
    assert_eq!(sandbox.history("room").await, Vec::<Value>::new());
}

/// §6.5: on behalf of a connection, with its name, and as its own.
#[tokio::test]
async fn a_publish_on_behalf_of_a_connection() {
    let mut sandbox = Sandbox::start().await;
    let (_alice, connected) = connect(&sandbox, "alice").await;
    let key = connected["connectionDetails"]["connectionKey"].clone();
    sandbox.publish("room", json!({"name": "a", "connectionKey": key})).await;
    sandbox.publish("room", json!({"name": "b", "connectionKey": key, "clientId": "alice"})).await;
    for message in sandbox.history("room").await {
        assert_eq!(message["connectionId"], connected["connectionId"], "{message}");
        assert_eq!(message["clientId"], "alice");
        assert_eq!(message.get("connectionKey"), None);
    }
    let target = "/channels/room/messages";
    let foreign = json!({"connectionKey": key, "clientId": "bob"});
    assert_refused(&sandbox.post(target, &foreign).await, 400, 40012);
    let mixed = json!([{"connectionKey": key}, {}]);
    assert_refused(&sandbox.post(target, &mixed).await, 400, 40006);

    // Another app has no such connection.
    let other = sandbox.http.post("/apps", &[], r#"{"keys":[{}]}"#).await;
    sandbox.app = other.json();
    let response = sandbox.post(target, &json!({"connectionKey": key})).await;
    assert_refused(&response, 400, 40006);
}

/// §8.4, T36: up to the position of ATTACHED and including it.
#[tokio::test]
async fn history_until_an_attach() {
    let mut sandbox = Sandbox::start().await;
    for name in ["first", "before"] {
        sandbox.publish("room", json!({"name": name})).await;
    }
    let (mut alice, _) = connect(&sandbox, "alice").await;
    let attached = alice.attach("room").await;
    sandbox.publish("room", json!({"name": "live"})).await;
    let serial = attached["channelSerial"].as_str().expect("a serial").replace('@', "%40");
    let response = sandbox.get(&format!("/channels/room/messages?from_serial={serial}")).await;
    let names: Vec<Value> = response.json().as_array().expect("a list").iter().map(|m| m["name"].clone()).collect();
    assert_eq!(names, ["before", "first"]);
    alice.expect(action::MESSAGE).await;
    // A channel without a past has a position, too.
    let attached = alice.attach("silence").await;
    let serial = attached["channelSerial"].as_str().expect("a serial").replace('@', "%40");
    let response = sandbox.get(&format!("/channels/silence/messages?from_serial={serial}")).await;
    assert_eq!(response.json(), json!([]));
}

/// §7.8: by client, whatever the order in which they came; §8.1: and what they did.
#[tokio::test]
async fn members_and_their_history() {
    let mut sandbox = Sandbox::start().await;
    let key = sandbox.key(EVERYTHING).to_owned();
    let (mut all, connected) = AblyClient::connect_with(&sandbox.server, &format!("v=6&key={key}")).await;
    all.attach("room").await;
    let (mut own, own_connected) = connect(&sandbox, "b").await;
    own.attach("room").await;
    let serial = own.presence("room", json!([{"action": 2, "data": {"x": 1}}])).await;
    own.acked(serial).await;
    for client in ["d", "a", "b", "c"] {
        let entered = json!([{"action": 2, "clientId": client, "data": client}]);
        let serial = all.presence("room", entered).await;
        all.acked(serial).await;
    }
    let serial = all.presence("room", json!([{"action": 4, "clientId": "a", "data": "new"}])).await;
    all.acked(serial).await;
    let serial = all.presence("room", json!([{"action": 3, "clientId": "d"}])).await;
    all.acked(serial).await;

    // One at a time: a client on two connections is on two pages.
    let mut query = Some("limit=1".to_owned());
    let mut members = Vec::new();
    while let Some(asked) = query {
        let response = sandbox.get(&format!("/channels/room/presence?{asked}")).await;
        assert_eq!(response.status, 200, "{response:?}");
        members.extend(response.json().as_array().expect("a list").clone());
        query = link(&response, "presence", "next");
    }
    let clients: Vec<&str> = members.iter().map(|m| m["clientId"].as_str().expect("a client")).collect();
    assert_eq!(clients, ["a", "b", "b", "c"]);
    assert_eq!(members[0]["data"], "new");
    assert_eq!(members[0]["action"], 1);
    let connection = connected["connectionId"].as_str().expect("an id");
    assert_eq!(members[0]["id"], format!("{connection}:4:0"));

    let own = own_connected["connectionId"].as_str().expect("an id");
    let response = sandbox.get(&format!("/channels/room/presence?connectionId={own}")).await;
    assert_eq!(response.json()[0]["data"], r#"{"x":1}"#);
    assert_eq!(response.json()[0]["encoding"], "json");
    assert_eq!(response.json().as_array().map(Vec::len), Some(1));

    let response = sandbox.get("/channels/room/presence/history").await;
    let history = response.json();
    let told: Vec<(u64, &str)> = history
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| (event["action"].as_u64().expect("an action"), event["clientId"].as_str().expect("a client")))
        .collect();
    assert_eq!(told, [(3, "d"), (4, "a"), (2, "c"), (2, "b"), (2, "a"), (2, "d"), (2, "b")]);
    // The leave tells the member's last data.
    assert_eq!(history[0]["data"], "d");
    // Presence is no message.
    assert_eq!(sandbox.history("room").await, Vec::<Value>::new());

    let response = sandbox.get("/channels/room").await;
    let metrics = &response.json()["status"]["occupancy"]["metrics"];
    assert_eq!(metrics["connections"], 2, "{metrics}");
    assert_eq!(metrics["presenceMembers"], 4, "{metrics}");
    assert_eq!(metrics["subscribers"], 2, "{metrics}");
}
