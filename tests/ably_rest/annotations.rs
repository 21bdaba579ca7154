//! §9.6, §9.7: annotations by HTTP, and what one client has said.

use serde_json::{Value, json};

use super::sandbox::{EVERYTHING, PUBLISH_ONLY, SUBSCRIBE_ONLY, Sandbox, assert_refused, link};
use crate::support::Response;

const CHANNEL: &str = "mutable:log";

struct Target {
    sandbox: Sandbox,
    serial: String,
}

impl Target {
    async fn new() -> Self {
        let mut sandbox = Sandbox::start().await;
        let answer = sandbox.publish(CHANNEL, json!({"name": "n", "data": "d"})).await;
        let serial = answer["serials"][0].as_str().expect("a serial").to_owned();
        Self { sandbox, serial }
    }

    fn path(&self, rest: &str) -> String {
        let serial = self.serial.replace('@', "%40").replace(':', "%3A");
        format!("/channels/{CHANNEL}/messages/{serial}/{rest}")
    }

    async fn post(&mut self, body: &Value) -> Response {
        let path = self.path("annotations");
        self.sandbox.post(&path, body).await
    }

    async fn say(&mut self, body: Value) -> Value {
        let response = self.post(&body).await;
        assert_eq!(response.status, 201, "{response:?}");
        response.json()
    }

    async fn get(&mut self, rest: &str) -> Response {
        let path = self.path(rest);
        self.sandbox.get(&path).await
    }

    async fn summary(&mut self) -> Value {
        let serial = self.serial.clone();
        let history = self.sandbox.history(CHANNEL).await;
        let message = history.into_iter().find(|message| message["serial"] == serial).expect("the message");
        let path = self.path("");
        let own = self.sandbox.get(path.trim_end_matches('/')).await;
        assert_eq!(own.json()["annotations"], message["annotations"], "{own:?}");
        message["annotations"]["summary"].clone()
    }
}

fn by(client: &str, name: &str) -> Value {
    json!({"type": "r:distinct.v1", "name": name, "clientId": client})
}

/// T54: oldest first; pages, and no empty last one.
#[tokio::test]
async fn annotations_page_by_page() {
    let mut target = Target::new().await;
    let answer = target.say(json!([by("a", "0"), by("b", "1"), by("a", "2")])).await;
    assert_eq!(answer["serials"].as_array().map(Vec::len), Some(3), "{answer}");
    for name in ["3", "4", "5"] {
        target.say(by("a", name)).await;
    }
    let names = |response: &Response| -> Vec<String> {
        let page = response.json();
        let page = page.as_array().expect("a list").iter();
        page.map(|annotation| annotation["name"].as_str().expect("a name").to_owned()).collect()
    };
    let all = target.get("annotations").await;
    assert_eq!(names(&all), ["0", "1", "2", "3", "4", "5"]);
    let third = &all.json()[2];
    assert_eq!((&third["messageSerial"], &third["action"]), (&json!(target.serial), &json!(0)));
    assert_eq!((&third["serial"], &third["clientId"]), (&answer["serials"][2], &json!("a")));
    assert!(third["id"].is_string() && third["timestamp"].is_u64());
    for (direction, expected) in
        [("forwards", [["0", "1"], ["2", "3"], ["4", "5"]]), ("backwards", [["5", "4"], ["3", "2"], ["1", "0"]])]
    {
        let mut query = format!("limit=2&direction={direction}");
        for (at, expected) in expected.iter().enumerate() {
            let page = target.get(&format!("annotations?{query}")).await;
            assert_eq!(names(&page), expected, "{direction}");
            let next = link(&page, "annotations", "next");
            assert_eq!(next.is_some(), at < 2, "{direction} {at}");
            query = next.unwrap_or_default();
        }
    }
}

#[tokio::test]
async fn messages_have_their_summaries_and_clients_their_part() {
    let mut target = Target::new().await;
    assert_eq!(target.summary().await, Value::Null);
    for (client, name) in [("a", "x"), ("b", "x"), ("b", "y")] {
        target.say(by(client, name)).await;
    }
    let list = |clients: &[&str]| json!({"total": clients.len(), "clientIds": clients, "clipped": false});
    let summary = json!({"r:distinct.v1": {"x": list(&["a", "b"]), "y": list(&["b"])}});
    assert_eq!(target.summary().await, summary);
    let of = target.get("client-summary?forClientId=a").await;
    let own = json!({"r:distinct.v1": {"x": {"total": 2, "clientIds": ["a"], "clipped": true}}});
    assert_eq!((of.status, of.json()), (200, own));
    assert_eq!(target.get("client-summary?forClientId=c").await.json(), json!({}));
    assert_refused(&target.get("client-summary").await, 400, 40003);

    // Updated, it keeps what was said about it.
    let path = target.path("");
    let update = json!({"action": 1, "data": "new"}).to_string();
    let path = path.trim_end_matches('/').to_owned();
    let updated = target.sandbox.ask_by(EVERYTHING, "PATCH", &path, &[], update.as_bytes()).await;
    assert_eq!(updated.status, 200, "{updated:?}");
    assert_eq!(target.summary().await, summary);

    target.say(json!({"action": 1, "type": "r:distinct.v1", "name": "x", "clientId": "a"})).await;
    assert_eq!(target.summary().await, json!({"r:distinct.v1": {"x": list(&["b"]), "y": list(&["b"])}}));
}

/// §6.4, and what is refused.
#[tokio::test]
async fn the_same_id_once_and_wrong_forms_never() {
    let mut target = Target::new().await;
    let said = json!([{"type": "seen:total.v1", "id": "own"}]);
    assert_eq!(target.say(said.clone()).await["serials"], target.say(said).await["serials"]);
    assert_eq!(target.summary().await, json!({"seen:total.v1": {"total": 1}}));
    for (bad, status, code) in [
        (json!([{"name": "x"}]), 400, 40003),
        (json!([{"type": "r:distinct.v1", "name": "x"}]), 400, 40012),
        (json!([{"type": "r:unique.v1", "clientId": "a"}]), 400, 40003),
        (json!([{"type": "seen:total.v1", "messageSerial": "other"}]), 400, 40003),
        (json!([{"type": "seen:total.v1", "action": 9}]), 400, 40000),
        (json!("text"), 400, 40001),
    ] {
        assert_refused(&target.post(&bad).await, status, code);
    }
    let path = target.path("annotations");
    let body = json!([{"type": "seen:total.v1"}]).to_string();
    for key in [SUBSCRIBE_ONLY, PUBLISH_ONLY] {
        let refused = target.sandbox.ask_by(key, "POST", &path, &[], body.as_bytes()).await;
        assert_refused(&refused, 401, 40160);
    }
    let other = path.replace("mutable", "plain");
    let refused = target.sandbox.ask_by(EVERYTHING, "POST", &other, &[], body.as_bytes()).await;
    assert_refused(&refused, 400, 93002);
    let unknown = format!("/channels/{CHANNEL}/messages/00000000000001-000%400000000000000000%3A000");
    let refused = target.sandbox.post(&format!("{unknown}/annotations"), &json!([{"type": "seen:total.v1"}])).await;
    assert_refused(&refused, 404, 40400);
    let refused = target.sandbox.get(&format!("{unknown}/client-summary?forClientId=a")).await;
    assert_refused(&refused, 404, 40400);
    assert_refused(&target.sandbox.get("/channels/mutable:log/messages/x/annotations").await, 400, 40003);
    assert_eq!(target.summary().await, json!({"seen:total.v1": {"total": 1}}));
}
