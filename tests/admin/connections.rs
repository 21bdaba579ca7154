//! What an operator sees of connections and channels, and does to them.

use serde_json::{Value, json};

use super::{Operator, client, server, token};
use crate::support::{
    AblyClient, Client,
    ably::{TestApp, action},
    eventually,
};

fn ids(page: &Value) -> Vec<u64> {
    page["items"].as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn connections_of_all_protocols_page_by_page() {
    let server = server(|_| {});
    let operator = Operator(&server);
    let app = TestApp::plain(&server).await;
    let mut anna = client(&server, &app, "anna").await;
    anna.attach("orders:1").await;
    let _page = Client::join(&server, "bob:1", "demo").await;
    let mut more = Vec::new();
    for number in 0..5 {
        more.push(client(&server, &app, &format!("c{number}")).await);
    }

    let all = operator.get("connections").await;
    assert_eq!((all["items"].as_array().unwrap().len(), &all["next"]), (7, &Value::Null));
    assert!(ids(&all).is_sorted());
    let row = &all["items"][0];
    for (name, value) in [
        ("app", json!(app.id)),
        ("clientId", json!("anna")),
        ("protocol", json!("Ably")),
        ("agent", json!("ably-js/2.28.0")),
        ("address", json!("127.0.0.1")),
        ("attachments", json!(1)),
        ("channels", json!(["orders:1"])),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    assert!(row["framesSent"].as_u64().unwrap() >= 2 && row["burstSpent"].is_u64());

    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = operator.get(&format!("connections?limit=3{after}")).await;
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_u64() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, ids(&all));
    for (filter, count) in [
        ("clientId=anna", 1),
        ("clientId=nobody", 0),
        ("protocol=letshare", 1),
        (&*format!("app={}", app.id), 6),
        ("address=127.0.0.1", 7),
        ("address=10.0.0.1", 0),
        (&*format!("connectionId={}", row["connectionId"].as_str().unwrap()), 1),
    ] {
        let page = operator.get(&format!("connections?{filter}")).await;
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{filter}");
    }
    for bad in ["connections?app=x", "connections?nothing=1", "connections?connectionId=x", "connections?limit=x"] {
        assert_eq!(operator.ask("GET", bad).await.status, 400, "{bad}");
    }
    let one = operator.get(&format!("connections/{}", row["id"])).await;
    assert_eq!((&one["clientId"], &one["channels"]), (&json!("anna"), &json!(["orders:1"])));
    assert_eq!(operator.ask("GET", "connections/999999").await.status, 404);
}

#[tokio::test]
async fn a_connection_is_ended_and_its_client_may_come_back() {
    let server = server(|_| {});
    let operator = Operator(&server);
    let app = TestApp::plain(&server).await;
    let mut anna = client(&server, &app, "anna").await;
    let mut bob = Client::join(&server, "bob:1", "demo").await;
    for filter in ["clientId=anna", "protocol=LetShare"] {
        let id = ids(&operator.get(&format!("connections?{filter}")).await)[0];
        assert_eq!(operator.ask("DELETE", &format!("connections/{id}")).await.status, 200);
        eventually(async || (operator.ask("GET", &format!("connections/{id}")).await.status == 404).then_some(()))
            .await;
        assert_eq!(operator.ask("DELETE", &format!("connections/{id}")).await.status, 404);
    }
    let told = anna.expect(action::DISCONNECTED).await;
    assert_eq!((&told["error"]["code"], &told["error"]["statusCode"]), (&json!(80003), &json!(503)));
    let closed = bob.expect_close().await.expect("a close frame");
    assert_eq!(u16::from(closed.code), 1008);
    client(&server, &app, "anna").await;
}

/// Blocking is a revocation of each key: tokens of the client are refused from then on, those of others are not.
#[tokio::test]
async fn a_client_that_is_blocked_stays_out_as_far_as_tokens_can_be_revoked() {
    let server = server(|_| {});
    let operator = Operator(&server);
    let app = TestApp::create(&server, json!({"keys": [{"revocableTokens": true}, {}]})).await;
    let (evil, good) = (token(&server, &app, "evil").await, token(&server, &app, "good").await);
    let query = |token: &str| format!("v=6&accessToken={token}");
    let (mut first, _) = AblyClient::connect_with(&server, &query(&evil)).await;
    let (mut other, _) = AblyClient::connect_with(&server, &query(&good)).await;
    let (mut by_key, _) = AblyClient::connect_with(&server, &format!("v=6&key={}&clientId=evil", app.keys[1])).await;

    let answer = operator.post("block", json!({"app": app.id, "clientId": "evil"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let keys = answer.json()["keys"].clone();
    assert_eq!((&keys[0]["revoked"], &keys[1]["revoked"]), (&json!(true), &json!(false)));
    assert!(keys[1]["reason"].as_str().unwrap().contains("revo"), "{keys}");
    assert!(answer.json()["caveat"].as_str().unwrap().contains("any clientId (*)"), "{answer:?}");
    for ended in [&mut first, &mut by_key] {
        ended.expect(action::DISCONNECTED).await;
    }
    let mut again = AblyClient::open(&server, &query(&evil)).await;
    assert_eq!(again.expect(action::ERROR).await["error"]["code"], 40141);
    other.attach("still").await;
    assert_eq!(operator.post("block", json!({"clientId": ""})).await.status, 400);
    assert_eq!(operator.post("block", json!({"app": "nobody", "clientId": "x"})).await.status, 404);
}

#[tokio::test]
async fn channels_page_by_page_and_publishing_to_one() {
    let server = server(|_| {});
    let operator = Operator(&server);
    let app = TestApp::plain(&server).await;
    let mut anna = client(&server, &app, "anna").await;
    for number in 0..7 {
        anna.attach(&format!("orders:{number}")).await;
    }
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let page = operator.get(&format!("channels?app={}&prefix=orders:&limit=3{after}", app.id)).await;
        for row in page["items"].as_array().unwrap() {
            assert_eq!(row["connections"], 1);
            names.push(row["name"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(names, (0..7).map(|number| format!("orders:{number}")).collect::<Vec<_>>());

    let message = json!({"app": app.id, "channel": "orders:1", "name": "placed", "data": {"n": 1}});
    assert_eq!(operator.post("publish", message).await.status, 200);
    let heard = anna.expect(action::MESSAGE).await;
    assert_eq!((&heard["channel"], &heard["messages"][0]["name"]), (&json!("orders:1"), &json!("placed")));
    assert_eq!(heard["messages"][0]["data"], json!(r#"{"n":1}"#));
    for bad in ["", "[meta]log", ":x", "a\nb"] {
        let answer = operator.post("publish", json!({"channel": bad, "data": "x"})).await;
        assert!([400, 404].contains(&answer.status), "{bad:?}: {answer:?}");
    }
    let nothing = operator.post("publish", json!({"app": app.id, "channel": "orders:1"})).await;
    assert_eq!((nothing.status, &nothing.json()["error"]["code"]), (400, &json!(40000)), "{nothing:?}");
    let only_a_name = json!({"app": app.id, "channel": "orders:1", "name": "placed"});
    assert_eq!(operator.post("publish", only_a_name).await.status, 200);
    // Lists of values are no objects.
    for (path, list) in [
        ("publish", json!([app.id, "orders:1", "placed"])),
        ("token", json!([app.id])),
        ("room-token", json!(["a", "demo"])),
    ] {
        let refused = operator.post(path, list).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!(40000)), "{path}: {refused:?}");
    }
    // As large as a client's message may be, and no larger.
    let message = |bytes| json!({"app": app.id, "channel": "orders:1", "data": "x".repeat(bytes)});
    assert_eq!(operator.post("publish", message(65_536)).await.status, 200);
    let nowhere = json!({"app": "nosuch", "channel": "demo", "data": "x"});
    assert_eq!(operator.post("publish", nowhere).await.status, 404);
    let refused = operator.post("publish", message(65_537)).await;
    let words = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(refused.status >= 400 && words.contains("65537") && words.contains("65536"), "{refused:?}");
    // A token to look at them with.
    let token = operator.post("token", json!({"app": app.id})).await.json()["token"].as_str().unwrap().to_owned();
    let (mut looker, _) = AblyClient::connect_with(&server, &format!("v=6&accessToken={token}")).await;
    looker.attach("orders:2").await;
}

#[tokio::test]
async fn what_is_kept_and_who_was_turned_away() {
    let server = server(|_| {});
    let operator = Operator(&server);
    let _anna = Client::join(&server, "anna:1", "demo").await;
    let kept = operator.get("kept").await;
    assert!(kept["kinds"]["connection"].as_u64().unwrap() >= 24 * 1024, "{kept}");
    assert!(kept["bytes"].as_u64().unwrap() < kept["limit"].as_u64().unwrap());
    assert_eq!(kept["apps"][0]["app"], "shared");
    let before = operator.get("refusals").await["reasons"]["token"].as_u64().unwrap();
    crate::support::Http::connect(&server).await.ask("GET", "/admin/api/node", &[]).await;
    assert_eq!(operator.get("refusals").await["reasons"]["token"].as_u64().unwrap(), before + 1);
    let node = operator.get("node").await;
    assert_eq!((&node["version"], &node["ready"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(true)));
    assert_eq!(node["ports"][0]["address"], server.address.to_string());
    assert!(node["ports"][0]["protocols"].as_str().unwrap().contains("LetShare"), "{node}");
    // Each worker thread reports what it has counted once a tick.
    let alone = eventually(async || {
        let nodes = operator.get("nodes").await;
        Some(nodes["items"][0].clone()).filter(|one| one["connections"] == 1 && nodes["items"][1].is_null())
    });
    let alone = alone.await;
    assert_eq!((&alone["id"], &alone["isThis"]), (&json!(null), &json!(true)));
}

/// A token of the admin API opens one room to one user.
#[tokio::test]
async fn a_token_for_a_room() {
    let server = server(|_| {});
    let operator = Operator(&server);
    let guest = json!({"user": "anna", "room": "demo"});
    let token = operator.post("room-token", guest.clone()).await.json()["token"].as_str().expect("a token").to_owned();
    let url = |user: &str| format!("ws://{}/ws?token={token}&userId={user}", server.address);
    let mut anna = Client::try_connect(&url("anna:x1"), "anna:x1").await.expect("she may");
    anna.subscribe("demo", "signal:all").await;
    anna.send(json!({"type": "subscribe", "channel": "other", "event": "signal:all"})).await;
    assert_eq!(anna.next().await["type"], "error");
    assert!(Client::try_connect(&url("bob:x1"), "bob:x1").await.is_err(), "it is hers");
    for bad in [json!({"user": "", "room": "demo"}), json!({"user": "anna", "room": ""}), json!({"user": "anna"})] {
        assert_eq!(operator.post("room-token", bad).await.status, 400);
    }
    let without = super::server(|config| config.letshare.enabled = false);
    let refused = Operator(&without).post("room-token", guest.clone()).await;
    assert!(refused.status == 404 && refused.body.contains("letshare.enabled"), "{refused:?}");
    // Where no JWT is taken there is one token for all.
    let shared = super::server(|config| config.auth.mode = letshare_server::config::AuthMode::Static);
    let token = Operator(&shared).post("room-token", guest).await.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(token, shared.token);
}
