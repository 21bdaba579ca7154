//! §10.8: objects by HTTP.

use serde_json::{Value, json};

use super::sandbox::{EVERYTHING, PUBLISH_ONLY, Sandbox, assert_refused};

const OBJECTS: &str = "/channels/things/object";

async fn done(sandbox: &mut Sandbox, body: Value) -> Vec<String> {
    let response = sandbox.post(OBJECTS, &body).await;
    assert_eq!(response.status, 201, "{response:?}");
    let answer = response.json();
    assert_eq!(answer["channel"], "things");
    assert!(answer["messageId"].is_string(), "{answer}");
    answer["objectIds"].as_array().expect("a list").iter().map(|id| id.as_str().expect("an id").to_owned()).collect()
}

async fn shown(sandbox: &mut Sandbox, rest: &str) -> Value {
    let response = sandbox.get(&format!("{OBJECTS}{rest}")).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

fn escaped(id: &str) -> String {
    id.replace(':', "%3A").replace('@', "%40")
}

/// Created, changed and read by id and by path, compact and with ids.
#[tokio::test]
async fn objects_are_changed_and_shown_by_id_and_by_path() {
    let mut sandbox = Sandbox::start().await;
    assert_eq!(shown(&mut sandbox, "").await, json!({}), "there always is a root");
    let of_map = json!({"path": "a", "mapCreate": {"semantics": 0, "entries": {"n": {"data": {"number": 1.5}}}}});
    let map = done(&mut sandbox, of_map).await;
    assert_eq!(map[1], "root");
    let counters = json!([
        {"path": r"a.x\.y", "counterCreate": {"count": 2}},
        {"path": "c", "counterCreate": {}},
    ]);
    let counters = done(&mut sandbox, counters).await;
    // What is done at once is done to what was there before.
    done(
        &mut sandbox,
        json!([
            {"path": "a.*", "counterInc": {"number": 3}},
            {"path": "*", "mapSet": {"key": "bytes", "value": {"bytes": "AQI="}}},
            {"objectId": counters[2], "counterInc": {"number": -1}},
            {"path": "", "mapSet": {"key": "gone", "value": {"json": "{}"}}},
        ]),
    )
    .await;
    done(&mut sandbox, json!({"objectId": "root", "mapRemove": {"key": "gone"}})).await;
    let a = json!({"n": 1.5, "x.y": 5, "bytes": "AQI="});
    assert_eq!(shown(&mut sandbox, "").await, json!({"a": a, "c": -1}));
    assert_eq!(shown(&mut sandbox, "?path=a").await, a);
    assert_eq!(shown(&mut sandbox, "?path=a.x%5C.y").await, json!(5));
    let by_id = format!("/{}?path=n&compact=false", escaped(&map[0]));
    assert_eq!(shown(&mut sandbox, &by_id).await, json!({"number": 1.5}));
    let counter = json!({"objectId": counters[0], "counter": {"data": {"number": 5}}});
    assert_eq!(shown(&mut sandbox, &format!("/{}?compact=false", escaped(&counters[0]))).await, counter);
    let expanded = shown(&mut sandbox, "?compact=false").await;
    assert_eq!((&expanded["objectId"], &expanded["map"]["semantics"]), (&json!("root"), &json!("LWW")));
    assert_eq!(expanded["map"]["entries"]["a"]["data"]["map"]["entries"]["x.y"]["data"], counter);
}

/// A map that is in itself is shown once, then by its id; as is one that is in many.
#[tokio::test]
async fn maps_in_each_other_have_an_end() {
    let mut sandbox = Sandbox::start().await;
    let ids = done(&mut sandbox, json!({"path": "a", "mapCreate": {}})).await;
    let own = json!({"objectId": ids[0], "mapSet": {"key": "self", "value": {"objectId": ids[0]}}});
    let again = json!({"objectId": "root", "mapSet": {"key": "b", "value": {"objectId": ids[0]}}});
    done(&mut sandbox, json!([own, again])).await;
    let by_id = json!({"objectId": ids[0]});
    assert_eq!(shown(&mut sandbox, "").await, json!({"a": {"self": by_id}, "b": by_id}));
    let deep = (0..65).map(|_| "a").collect::<Vec<_>>().join(".");
    assert_refused(&sandbox.get(&format!("{OBJECTS}?path={deep}")).await, 400, 40003);
    let all = vec!["*"; 64].join(".");
    let wide: Vec<_> = (0..1_000).map(|_| json!({"path": all, "counterInc": {"number": 1}})).collect();
    assert_refused(&sandbox.post(OBJECTS, &json!(wide)).await, 400, 92007);
}

/// §6.4: the same id does it once, and is answered with the objects of the first time.
#[tokio::test]
async fn the_same_id_is_done_once_and_answered_alike() {
    let mut sandbox = Sandbox::start().await;
    let create = json!({"id": "once", "path": "c", "counterCreate": {"count": 1}});
    let first = done(&mut sandbox, create.clone()).await;
    assert_eq!(done(&mut sandbox, create).await, first);
    let counter = shown(&mut sandbox, "?path=c&compact=false").await;
    assert_eq!(counter["objectId"], json!(first[0]));
    // An id of a message is another thing.
    sandbox.publish("things", json!({"id": "twice", "name": "n"})).await;
    done(&mut sandbox, json!({"id": "twice", "objectId": first[0], "counterInc": {"number": 1}})).await;
    done(&mut sandbox, json!({"id": "twice", "objectId": first[0], "counterInc": {"number": 1}})).await;
    assert_eq!(shown(&mut sandbox, "?path=c").await, json!(2));
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let mut sandbox = Sandbox::start().await;
    let ids = done(&mut sandbox, json!({"path": "c", "counterCreate": {}})).await;
    for (body, status, code) in [
        (json!({"counterInc": {"number": 1}}), 400, 92006),
        (json!({"objectId": "counter:AAAA@1", "counterInc": {"number": 1}}), 404, 92004),
        (json!({"objectId": ids[0], "mapSet": {"key": "a", "value": {"number": 1}}}), 400, 92000),
        (json!({"path": "nothing", "counterInc": {"number": 1}}), 400, 92005),
        (json!({"path": "", "counterInc": {"number": 1}}), 400, 92007),
        (json!({"path": "c.d", "mapCreate": {}}), 400, 92007),
        (json!({"path": "", "mapCreate": {}}), 400, 40003),
        (json!({"objectId": ids[0]}), 400, 92000),
        (json!({"objectId": ids[0], "counterInc": {"number": 1}, "mapRemove": {"key": "a"}}), 400, 92000),
        (json!({"objectId": ids[0], "counterCreate": {}}), 400, 92000),
        (json!({"objectId": ids[0], "objectDelete": {}}), 400, 92000),
        (json!({"path": "c", "mapCreate": {"semantics": 1}}), 400, 92000),
        (json!({"path": "c", "counterInc": {"number": "x"}}), 400, 40001),
        (json!("x"), 400, 40001),
    ] {
        let response = sandbox.post(OBJECTS, &body).await;
        assert_refused(&response, status, code);
    }
    for (rest, status, code) in [
        ("?path=nothing", 400, 92005),
        ("?path=*", 400, 40003),
        ("?compact=x", 400, 40003),
        ("/nothing", 404, 92004),
        ("/counter%3AAAAA%401", 404, 92004),
    ] {
        let response = sandbox.get(&format!("{OBJECTS}{rest}")).await;
        assert_refused(&response, status, code);
    }
    let response = sandbox.ask_by(PUBLISH_ONLY, "GET", OBJECTS, &[], b"").await;
    assert_refused(&response, 401, 40160);
    let response = sandbox.ask_by(EVERYTHING, "DELETE", OBJECTS, &[], b"").await;
    assert_refused(&response, 405, 40500);
    assert_eq!(shown(&mut sandbox, "").await, json!({"c": 0}), "nothing of this is done");
}
