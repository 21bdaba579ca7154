//! GET `/channels/{c}/presence` and `/presence/history` (§7.7, §7.8), with the members that the set-up of the
//! app has placed.

use serde_json::Value;

use super::sandbox::{PUBLISH_ONLY, SUBSCRIBE_ONLY, Sandbox, assert_refused, link};
use crate::support::Response;

const CHANNEL: &str = "/channels/persisted%3Apresence_fixtures";
const CLIENTS: [&str; 6] =
    ["client_bool", "client_decoded", "client_encoded", "client_int", "client_json", "client_string"];

fn clients(response: &Response) -> Vec<String> {
    assert_eq!(response.status, 200, "{response:?}");
    let members = response.json();
    let members = members.as_array().expect("a list").iter();
    let client = |member: &Value| member["clientId"].as_str().expect("a client").to_owned();
    members.map(client).collect()
}

/// By client id, each with all that clients judge newness by.
#[tokio::test]
async fn fixtures_are_present_by_client() {
    let mut sandbox = Sandbox::start().await;
    let response = sandbox.get(&format!("{CHANNEL}/presence")).await;
    assert_eq!(clients(&response), CLIENTS);
    for member in response.json().as_array().expect("a list") {
        assert_eq!(member["action"], 1, "{member}");
        assert!(member["timestamp"].is_u64(), "{member}");
        let id = member["id"].as_str().expect("an id");
        let connection = member["connectionId"].as_str().expect("a connection");
        assert!(id.starts_with(&format!("{connection}:")), "{member}");
    }
    let members = response.json();
    assert_eq!(members[1]["encoding"], "json");
    assert_eq!(members[1]["data"], r#"{"example":{"json":"Object"}}"#);
    // As it was handed in: nobody here can decrypt it.
    assert_eq!(members[2]["encoding"], "json/utf-8/cipher+aes-128-cbc/base64");
    assert_eq!(members[2]["data"], "HO4cYSP8LybPYBPZPHQOtuD53yrD3YV3NBoTEYBh4U0N1QXHbtkfsDfTspKeLQFt");
    assert_eq!(members[3]["data"], "24");
}

#[tokio::test]
async fn some_of_them() {
    let mut sandbox = Sandbox::start().await;
    let response = sandbox.get(&format!("{CHANNEL}/presence?clientId=client_int")).await;
    assert_eq!(clients(&response), ["client_int"]);
    let connection = response.json()[0]["connectionId"].as_str().expect("a connection").to_owned();
    let target = format!("{CHANNEL}/presence?connectionId={connection}");
    assert!(clients(&sandbox.get(&target).await).contains(&"client_int".to_owned()));
    // As ably-ruby names them.
    let response = sandbox.get(&format!("{CHANNEL}/presence?client_id=client_int&connection_id={connection}")).await;
    assert_eq!(clients(&response), ["client_int"]);
    let response = sandbox.get(&format!("{CHANNEL}/presence?connection_id=does.not.exist")).await;
    assert_eq!(clients(&response), Vec::<String>::new());
    let response = sandbox.get(&format!("{CHANNEL}/presence?clientId=nobody")).await;
    assert_eq!(clients(&response), Vec::<String>::new());
}

#[tokio::test]
async fn members_page_by_page() {
    let mut sandbox = Sandbox::start().await;
    let mut query = Some("limit=4".to_owned());
    let mut pages = Vec::new();
    while let Some(asked) = query {
        let response = sandbox.get(&format!("{CHANNEL}/presence?{asked}")).await;
        assert!(link(&response, "presence", "first").is_some());
        assert!(link(&response, "presence", "current").is_some());
        pages.push(clients(&response));
        query = link(&response, "presence", "next");
    }
    assert_eq!(pages, [&CLIENTS[..4], &CLIENTS[4..]]);
    let response = sandbox.get(&format!("{CHANNEL}/presence?limit=6")).await;
    assert_eq!(link(&response, "presence", "next"), None);
    let response = sandbox.get(&format!("{CHANNEL}/presence?limit=1001")).await;
    assert_refused(&response, 400, 40003);
}

/// That they entered is never forgotten.
#[tokio::test]
async fn fixtures_are_in_the_history() {
    let mut sandbox = Sandbox::start().await;
    let response = sandbox.get(&format!("{CHANNEL}/presence/history")).await;
    let mut entered = clients(&response);
    entered.sort();
    assert_eq!(entered, CLIENTS);
    assert_eq!(response.json()[0]["action"], 2);
    let response = sandbox.get(&format!("{CHANNEL}/presence/history?limit=4&direction=forwards")).await;
    assert_eq!(clients(&response).len(), 4);
    let next = link(&response, "history", "next").expect("more");
    let response = sandbox.get(&format!("{CHANNEL}/presence/history?{next}")).await;
    assert_eq!(clients(&response).len(), 2);
    assert_eq!(link(&response, "history", "next"), None);
}

/// §7.7: `subscribe` lets read, `publish` does not.
#[tokio::test]
async fn who_may_read() {
    let mut sandbox = Sandbox::start().await;
    for path in ["presence", "presence/history"] {
        let target = format!("/channels/only%3Athis/{path}");
        let response = sandbox.ask_by(SUBSCRIBE_ONLY, "GET", &target, &[], b"").await;
        assert_eq!(response.status, 200, "{response:?}");
        let response = sandbox.ask_by(PUBLISH_ONLY, "GET", &target, &[], b"").await;
        assert_refused(&response, 401, 40160);
    }
}
