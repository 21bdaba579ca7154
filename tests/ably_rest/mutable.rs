//! §9.1, §9.3: PATCH and GET of one message, and its versions.

use serde_json::{Value, json};

use super::sandbox::{EVERYTHING, PUBLISH_ONLY, SUBSCRIBE_ONLY, Sandbox, assert_refused, link};
use crate::support::Response;

const CHANNEL: &str = "mutable:log";

fn encoded(serial: &str) -> String {
    serial.replace('@', "%40").replace(':', "%3A")
}

async fn published(sandbox: &mut Sandbox, message: Value) -> String {
    let answer = sandbox.publish(CHANNEL, message).await;
    answer["serials"][0].as_str().expect("a serial").to_owned()
}

async fn patch(sandbox: &mut Sandbox, serial: &str, body: Value) -> Response {
    let target = format!("/channels/{CHANNEL}/messages/{}", encoded(serial));
    sandbox.ask_by(EVERYTHING, "PATCH", &target, &[], body.to_string().as_bytes()).await
}

async fn changed(sandbox: &mut Sandbox, serial: &str, body: Value) -> String {
    let response = patch(sandbox, serial, body).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["versionSerial"].as_str().expect("a serial").to_owned()
}

async fn get(sandbox: &mut Sandbox, serial: &str) -> Value {
    let response = sandbox.get(&format!("/channels/{CHANNEL}/messages/{}", encoded(serial))).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[tokio::test]
async fn a_message_is_what_was_done_to_it() {
    let mut sandbox = Sandbox::start().await;
    let serial = published(&mut sandbox, json!({"name": "n", "data": "a"})).await;
    let other = published(&mut sandbox, json!({"name": "other", "data": "o"})).await;
    let created = get(&mut sandbox, &serial).await;
    assert_eq!((&created["action"], &created["data"]), (&json!(0), &json!("a")));
    // observed: ably-python realtimechannelmutablemessages_test
    assert_eq!(created["version"], json!({"serial": serial, "timestamp": created["timestamp"]}));

    let append = changed(&mut sandbox, &serial, json!({"action": 5, "data": "b", "serial": serial})).await;
    let grown = get(&mut sandbox, &serial).await;
    assert_eq!((&grown["action"], &grown["data"], &grown["name"]), (&json!(1), &json!("ab"), &json!("n")));
    assert_eq!(grown["version"]["serial"], json!(append));
    assert_eq!((&grown["id"], &grown["timestamp"]), (&created["id"], &created["timestamp"]));
    let said = json!({"clientId": "eve", "description": "d"});
    let delete = changed(&mut sandbox, &serial, json!({"action": 2, "data": "gone", "version": said})).await;
    let deleted = get(&mut sandbox, &serial).await;
    assert_eq!((&deleted["action"], &deleted["data"]), (&json!(2), &json!("gone")));
    assert_eq!(deleted["version"]["clientId"], "eve");
    assert!(delete > append && append > serial);

    // §8.2: the latest version in the place of the original.
    let history = sandbox.history(CHANNEL).await;
    let shown: Vec<_> = history.iter().map(|message| (&message["serial"], &message["data"])).collect();
    assert_eq!(shown, [(&json!(other), &json!("o")), (&json!(serial), &json!("gone"))]);
}

/// §9.3: oldest first, appends are no versions of their own; paged, in both directions.
#[tokio::test]
async fn versions_page_by_page() {
    let mut sandbox = Sandbox::start().await;
    let serial = published(&mut sandbox, json!({"data": "0"})).await;
    for (action, data) in [(1, "1"), (5, "x"), (1, "2"), (2, "3")] {
        changed(&mut sandbox, &serial, json!({"action": action, "data": data})).await;
    }
    let data = |response: &Response| {
        let page = response.json();
        let page = page.as_array().expect("a list").clone();
        page.iter().map(|message| message["data"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let target = format!("/channels/{CHANNEL}/messages/{}/versions", encoded(&serial));
    let all = sandbox.get(&target).await;
    assert_eq!(data(&all), ["0", "1", "2", "3"]);
    let first = all.json()[0].clone();
    assert_eq!(first["version"]["serial"], json!(serial));
    for (direction, expected) in
        [("forwards", [["0", "1", "2"], ["3", "", ""]]), ("backwards", [["3", "2", "1"], ["0", "", ""]])]
    {
        let first = sandbox.get(&format!("{target}?limit=3&direction={direction}")).await;
        assert_eq!(data(&first), expected[0]);
        let next = link(&first, "versions", "next").expect("another page");
        let second = sandbox.get(&format!("{target}?{next}")).await;
        assert_eq!(data(&second), &expected[1][..1]);
    }
}

#[tokio::test]
async fn what_is_refused() {
    let mut sandbox = Sandbox::start().await;
    let serial = published(&mut sandbox, json!({"data": "a"})).await;
    let unknown = serial.replace(":000", ":001");
    for what in [format!("messages/{}", encoded(&unknown)), format!("messages/{}/versions", encoded(&unknown))] {
        let response = sandbox.get(&format!("/channels/{CHANNEL}/{what}")).await;
        assert_refused(&response, 404, 40400);
    }
    assert_refused(&sandbox.get(&format!("/channels/{CHANNEL}/messages/x")).await, 400, 40003);
    assert_refused(&patch(&mut sandbox, &unknown, json!({"action": 1, "data": "x"})).await, 404, 40400);
    assert_refused(&patch(&mut sandbox, "x", json!({"action": 1, "data": "x"})).await, 400, 40003);
    assert_refused(&patch(&mut sandbox, &serial, json!({"data": "x"})).await, 400, 40000);
    assert_refused(&patch(&mut sandbox, &serial, json!([])).await, 400, 40000);
    assert_refused(&patch(&mut sandbox, &serial, json!({"action": 1, "serial": unknown})).await, 400, 40003);
    assert_refused(&patch(&mut sandbox, &serial, json!({"action": 5, "data": 7})).await, 400, 40013);

    let body = json!({"action": 1, "data": "x"}).to_string();
    let target = format!("/channels/{CHANNEL}/messages/{}", encoded(&serial));
    for key in [SUBSCRIBE_ONLY, PUBLISH_ONLY] {
        assert_refused(&sandbox.ask_by(key, "PATCH", &target, &[], body.as_bytes()).await, 401, 40160);
        assert_refused(&sandbox.ask_by(key, "GET", &target, &[], b"").await, 401, 40160);
    }
    let plain = format!("/channels/plain/messages/{}", encoded(&serial));
    assert_refused(&sandbox.ask_by(EVERYTHING, "PATCH", &plain, &[], body.as_bytes()).await, 400, 93002);
    // A publish is no change of a message.
    let posted = sandbox.post(&format!("/channels/{CHANNEL}/messages"), &json!({"action": 1, "serial": serial})).await;
    assert_refused(&posted, 400, 40000);
    assert_eq!(get(&mut sandbox, &serial).await["data"], "a");
}

/// What a message may become in all (§9.4).
#[tokio::test]
async fn a_message_grows_up_to_a_limit() {
    const FRAGMENT: usize = 60_000;
    let mut sandbox = Sandbox::start().await;
    let serial = published(&mut sandbox, json!({"data": ""})).await;
    let fragment = "x".repeat(FRAGMENT);
    let mut length = 0;
    let refused = loop {
        let response = patch(&mut sandbox, &serial, json!({"action": 5, "data": fragment})).await;
        if response.status != 200 {
            break response;
        }
        length += FRAGMENT;
    };
    assert_refused(&refused, 413, 40009);
    assert!((1_000_000..1_050_000).contains(&length), "{length}");
    assert_eq!(get(&mut sandbox, &serial).await["data"].as_str().map(str::len), Some(length));
}

/// §6.8, §6.7: the test hook counts for operations, too, and a version is never ephemeral.
#[tokio::test]
async fn the_hook_of_tests_and_ephemeral_versions() {
    let mut sandbox = Sandbox::start().await;
    let serial = published(&mut sandbox, json!({"data": "a"})).await;
    let target = format!("/channels/{CHANNEL}/messages/{}?_forceNack=true", encoded(&serial));
    let body = json!({"action": 1, "data": "b"}).to_string();
    let response = sandbox.ask_by(EVERYTHING, "PATCH", &target, &[], body.as_bytes()).await;
    assert_refused(&response, 400, 40099);
    let extras = json!({"ephemeral": true, "headers": {"k": "v"}});
    changed(&mut sandbox, &serial, json!({"action": 5, "data": "b", "extras": extras})).await;
    let grown = get(&mut sandbox, &serial).await;
    assert_eq!((&grown["data"], &grown["extras"]), (&json!("ab"), &json!({"headers": {"k": "v"}})));
}
