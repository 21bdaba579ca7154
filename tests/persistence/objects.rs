//! Objects outlive the server, however it ends, and the entries that they follow from (`docs/protocols/ably.md §10.7`).

use serde_json::json;

use super::{
    ground::{Ground, Rest},
    restart::End,
};

/// Of a persisted channel nothing that was acknowledged is lost; of another one neither, if the server ends in order.
#[tokio::test]
async fn a_restart_forgets_no_object() {
    for (channel, end) in [("persisted:a", End::Ordered), ("persisted:a", End::Crash), ("plain", End::Ordered)] {
        let ground = Ground::new();
        let objects = format!("/channels/{channel}/object");
        let server = ground.start();
        let mut rest = Rest::connect(server.address).await;
        for body in [
            json!({"path": "m", "mapCreate": {"entries": {"a": {"data": {"string": "x"}}, "b": {"data": {"boolean": true}}}}}),
            json!({"path": "c", "counterCreate": {"count": 1}}),
            json!([{"path": "c", "counterInc": {"number": 41}}, {"path": "m", "mapRemove": {"key": "a"}}]),
        ] {
            let response = rest.post(&objects, &body).await;
            assert_eq!(response.status, 201, "{response:?}");
        }
        end.of(server).await;

        let server = ground.start();
        let mut rest = Rest::connect(server.address).await;
        let kept = rest.get(&objects).await.json();
        assert_eq!(kept, json!({"m": {"b": true}, "c": 42}), "{channel} {end:?}");
        // It goes on from there, again and again.
        for round in 1..=3 {
            let response = rest.post(&objects, &json!({"path": "c", "counterInc": {"number": 1}})).await;
            assert_eq!(response.status, 201, "{response:?}");
            assert_eq!(rest.get(&format!("{objects}?path=c")).await.json(), json!(42 + round));
        }
        End::Ordered.of(server).await;
        let server = ground.start();
        let mut rest = Rest::connect(server.address).await;
        assert_eq!(rest.get(&format!("{objects}?path=c")).await.json(), json!(45), "{channel} {end:?}");
    }
}
