//! GET `/stats`, and POST of what a test suite wants to find there (§11.8).

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::{Value, json};

use super::sandbox::{EVERYTHING, PUBLISH_ONLY, Sandbox, assert_refused, link};
use crate::support::AblyClient;

/// 2026-08-06T13:05:10Z
const NOW: Timestamp = Timestamp::from_millis(1_786_021_510_000);

/// Three minutes of the year before, as the suites of the client libraries post them.
fn fixtures() -> Value {
    json!([
        {"intervalId": "2025-02-03:15:03", "inbound": {"realtime": {"messages": {"count": 50, "data": 5000}}},
            "outbound": {"realtime": {"messages": {"count": 20, "data": 2000}}}},
        {"intervalId": "2025-02-03:15:04", "inbound": {"realtime": {"messages": {"count": 60, "data": 6000}}},
            "outbound": {"realtime": {"messages": {"count": 10, "data": 1000}}}},
        {"intervalId": "2025-02-03:15:05", "inbound": {"realtime": {"messages": {"count": 70, "data": 7000}}},
            "outbound": {"realtime": {"messages": {"count": 40, "data": 4000}}},
            "connections": {"tls": {"peak": 20, "opened": 10}}, "apiRequests": {"succeeded": 50, "failed": 10}},
    ])
}

async fn with_fixtures() -> Sandbox {
    let mut sandbox = Sandbox::start().await;
    let response = sandbox.post("/stats", &fixtures()).await;
    assert_eq!(response.status, 201, "{response:?}");
    sandbox
}

async fn page(sandbox: &mut Sandbox, query: &str) -> Vec<Value> {
    let response = sandbox.get(&format!("/stats?{query}")).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json().as_array().expect("a list").clone()
}

/// As with Ably (ably-go's suite posts the same again and again): a minute takes the place of what was said of it before, in its
/// hour, day and month as well, and leaves the other minutes as they are.
#[tokio::test]
async fn a_minute_that_is_posted_again_is_another_one() {
    let mut sandbox = with_fixtures().await;
    sandbox.post("/stats", &fixtures()).await;
    let again = json!([{"intervalId": "2025-02-03:15:04", "inbound": {"realtime": {"messages": {"count": 61}}}}]);
    sandbox.post("/stats", &again).await;
    let range = "start=2025-02-03:15:03&end=2025-02-03:15:05&direction=forwards";
    assert_eq!(inbound(&page(&mut sandbox, range).await), [50, 61, 70]);
    for unit in ["hour", "day", "month"] {
        assert_eq!(inbound(&page(&mut sandbox, &format!("{range}&unit={unit}")).await), [181], "{unit}");
    }
}

fn inbound(items: &[Value]) -> Vec<u64> {
    let count = |item: &Value| item["entries"]["messages.inbound.all.messages.count"].as_u64().expect("a count");
    items.iter().map(count).collect()
}

#[tokio::test]
async fn what_happened_between_two_moments() {
    let mut sandbox = with_fixtures().await;
    let app = sandbox.app["appId"].clone();
    let minutes = page(&mut sandbox, "start=2025-02-03:15:03&end=2025-02-03:15:05&direction=forwards").await;
    assert_eq!(inbound(&minutes), [50, 60, 70]);
    let last = &minutes[2];
    assert_eq!(
        (&last["intervalId"], &last["unit"], &last["appId"]),
        (&json!("2025-02-03:15:05"), &json!("minute"), &app)
    );
    assert!(last["schema"].is_string() && last.get("inProgress").is_none(), "{last}");
    let entries = &last["entries"];
    for (name, number) in [
        ("messages.outbound.realtime.messages.count", 40),
        ("messages.inbound.realtime.all.data", 7000),
        ("messages.all.messages.count", 110),
        ("connections.all.peak", 20),
        ("apiRequests.other.failed", 10),
    ] {
        assert_eq!(entries[name], number, "{name}");
    }
    // Moments count as their minutes; both ends are in it.
    let minutes = page(&mut sandbox, "start=1738595000000&end=1738595039999&direction=forwards").await;
    assert_eq!(inbound(&minutes), [50]);
    // Whatever unit the ends are given in.
    for (query, expected) in [
        ("start=2025-02-03:15&end=2025-02-03:18&by=hour", [180]),
        ("end=2025-02-03&unit=day", [180]),
        ("start=2025-02-03:15:05&end=2025-02-03:15:05&unit=month", [180]),
        ("end=2025-02-03:15:04&limit=1", [60]),
    ] {
        assert_eq!(inbound(&page(&mut sandbox, query).await), expected, "{query}");
    }
    assert_eq!(page(&mut sandbox, "start=2025-02-03:15:06&end=2025-02-03:16").await, Vec::<Value>::new());
}

#[tokio::test]
async fn page_by_page_in_both_directions() {
    let mut sandbox = with_fixtures().await;
    for (direction, expected) in [("forwards", [50, 60, 70]), ("backwards", [70, 60, 50])] {
        let mut query = Some(format!("end=2025-02-03:15:05&limit=1&direction={direction}"));
        let (mut found, mut first) = (Vec::new(), String::new());
        while let Some(asked) = query {
            let response = sandbox.get(&format!("/stats?{asked}")).await;
            found.extend(inbound(response.json().as_array().expect("a list")));
            query = link(&response, "stats", "next");
            first = link(&response, "stats", "first").expect("the first page");
        }
        assert_eq!(found, expected);
        assert_eq!(inbound(&page(&mut sandbox, &first).await), expected[..1]);
    }
}

/// Versions before 3 have objects in objects.
#[tokio::test]
async fn version_2_is_nested() {
    let mut sandbox = with_fixtures().await;
    let target = "/stats?end=2025-02-03:15:05&limit=1";
    let response = sandbox.ask_by(EVERYTHING, "GET", target, &[("X-Ably-Version", "2")], b"").await;
    let item = &response.json()[0];
    assert_eq!((&item["intervalId"], &item["unit"]), (&json!("2025-02-03:15:05"), &json!("minute")));
    assert_eq!(item["inbound"]["realtime"]["messages"], json!({"count": 70, "data": 7000, "uncompressedData": 7000}));
    assert_eq!(item["all"]["all"]["count"], 110);
    assert_eq!(item["apiRequests"], json!({"failed": 10, "succeeded": 50}));
    assert_eq!(item["connections"]["all"]["opened"], 10);
}

/// What clients do is counted where it happens, and shown at once.
#[tokio::test]
async fn what_clients_do_is_counted() {
    let mut sandbox = Sandbox::start_at(Clock::manual(NOW)).await;
    let key = sandbox.key(EVERYTHING).to_owned();
    let mut client = AblyClient::connect(&sandbox.server, &key).await;
    client.attach("persisted:x").await;
    let serial = client.publish("persisted:x", json!([{"name": "ab", "data": "cdef"}, {"data": "g"}])).await;
    client.acked(serial).await;
    sandbox.publish("persisted%3Ax", json!({"data": "1234567890"})).await;
    client.received_so_far().await;
    sandbox.history("persisted%3Ax").await;
    let refused = sandbox.ask_by(PUBLISH_ONLY, "GET", "/channels/persisted%3Ax/messages", &[], b"").await;
    assert_eq!(refused.status, 401);
    sandbox.token(json!({"timestamp": NOW.millis(), "nonce": "0123456789abcdef"})).await;

    let expected = [
        ("messages.inbound.realtime.messages.count", 2),
        ("messages.inbound.realtime.messages.data", 7),
        ("messages.inbound.rest.messages.count", 1),
        ("messages.inbound.all.all.data", 17),
        ("messages.outbound.realtime.messages.count", 3),
        ("messages.outbound.realtime.messages.data", 17),
        ("messages.outbound.rest.messages.count", 3),
        ("messages.persisted.messages.count", 3),
        ("messages.all.all.count", 9),
        ("connections.all.opened", 1),
        ("connections.all.peak", 1),
        ("channels.peak", 1),
        ("apiRequests.tokenRequests.succeeded", 1),
        ("apiRequests.other.refused", 1),
    ];
    // Worker threads report once a second.
    for attempt in 0.. {
        let hours = page(&mut sandbox, "unit=hour").await;
        let entries = hours.first().map(|hour| hour["entries"].clone()).unwrap_or_default();
        if expected.iter().all(|(name, number)| entries[*name] == *number) {
            assert_eq!(
                (&hours[0]["intervalId"], &hours[0]["inProgress"]),
                (&json!("2026-08-06:13"), &json!("2026-08-06:13:05"))
            );
            break;
        }
        assert!(attempt < 200, "{entries:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn requests_and_fixtures_that_are_none() {
    let mut sandbox = Sandbox::start().await;
    for query in [
        "unit=week",
        "start=yesterday",
        "end=2025-13",
        "start=2025-02-03:15:05&end=2025-02-03:15:03",
        "limit=0",
        "limit=5000",
        "direction=sideways",
        "cursor=x",
    ] {
        assert_refused(&sandbox.get(&format!("/stats?{query}")).await, 400, 40003);
    }
    let good = |id: &str| json!([{"intervalId": id, "inbound": {"rest": {"messages": {"count": 1}}}}]);
    for (body, code) in [
        (json!({}), 40001),
        (json!([1]), 40001),
        (json!([{}]), 40003),
        (good("2025"), 40003),
        (good("1969-01"), 40003),
        (json!([{"intervalId": "2025-02", "inbound": {"rest": {"messages": {"count": "1"}}}}]), 40000),
        (json!([{"intervalId": "2025-02", "whatever": {"count": 1}}]), 40000),
        (json!(vec![json!({}); 1_001]), 40034),
    ] {
        assert_refused(&sandbox.post("/stats", &body).await, 400, code);
    }
    let response = sandbox.ask_by(PUBLISH_ONLY, "GET", "/stats", &[], b"").await;
    assert_refused(&response, 401, 40160);
    let response = sandbox.ask_by(PUBLISH_ONLY, "POST", "/stats", &[], b"[]").await;
    assert_refused(&response, 401, 40160);
}
