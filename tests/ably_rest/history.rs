//! GET `/channels/{c}/messages`, and its pages (§8.1 - §8.4, T10, T36).

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::{Value, json};

use super::{
    negotiation::{MSGPACK, from_msgpack},
    sandbox::{EVERYTHING, Sandbox, assert_refused, link, links},
};
use crate::support::Response;

fn names(response: &Response) -> Vec<String> {
    assert_eq!(response.status, 200, "{response:?}");
    let messages = response.json();
    let messages = messages.as_array().expect("a list");
    let name = |message: &Value| message["name"].as_str().expect("a name").to_owned();
    messages.iter().map(name).collect()
}

async fn with_messages(count: usize) -> Sandbox {
    let mut sandbox = Sandbox::start().await;
    for index in 0..count {
        sandbox.publish("log", json!({"name": index.to_string()})).await;
    }
    sandbox
}

/// Both addresses, both directions.
#[tokio::test]
async fn the_order_is_that_of_the_log() {
    let mut sandbox = with_messages(1).await;
    sandbox.publish("log", json!([{"name": "1"}, {"name": "2"}])).await;
    for path in ["messages", "history"] {
        let response = sandbox.get(&format!("/channels/log/{path}")).await;
        assert_eq!(names(&response), ["2", "1", "0"]);
        assert_eq!(links(&response, path).len(), 2, "first and current, no next");
        let response = sandbox.get(&format!("/channels/log/{path}?direction=forwards")).await;
        assert_eq!(names(&response), ["0", "1", "2"]);
    }
}

/// §8.3: what is published while somebody turns the pages is on none of them.
#[tokio::test]
async fn pages_do_not_shift_under_publishes() {
    for (direction, expected) in [("backwards", [["4", "3"], ["2", "1"]]), ("forwards", [["0", "1"], ["2", "3"]])] {
        let mut sandbox = with_messages(5).await;
        let target = format!("/channels/log/messages?limit=2&direction={direction}&rnd=1");
        let first = sandbox.get(&target).await;
        assert_eq!(names(&first), expected[0]);
        let relations: Vec<String> = links(&first, "messages").into_iter().map(|link| link.0).collect();
        assert_eq!(relations, ["first", "current", "next"]);

        // Later than the end of the list that was begun, whatever the clock's grain.
        let end = sandbox.history("log").await[0]["timestamp"].as_u64();
        loop {
            sandbox.publish("log", json!({"name": "late"})).await;
            if sandbox.history("log").await[0]["timestamp"].as_u64() > end.map(|end| end + 1) {
                break;
            }
        }
        let follow = |response: &Response, relation: &str| {
            let query = link(response, "messages", relation)?;
            assert!(!query.contains("rnd"), "{query}");
            Some(format!("/channels/log/messages?{query}"))
        };
        let second = sandbox.get(&follow(&first, "next").expect("more")).await;
        assert_eq!(names(&second), expected[1]);
        let third = sandbox.get(&follow(&second, "next").expect("more")).await;
        let last = names(&third);
        assert_eq!(last.first().map(String::as_str), Some(if direction == "forwards" { "4" } else { "0" }));
        if direction == "backwards" {
            assert_eq!(last.len(), 1);
            assert_eq!(follow(&third, "next"), None);
        }
        let again = sandbox.get(&follow(&second, "current").expect("always")).await;
        assert_eq!(names(&again), expected[1]);
        let top = sandbox.get(&follow(&third, "first").expect("always")).await;
        assert_eq!(top.status, 200);
        if direction == "forwards" {
            assert_eq!(names(&top), expected[0]);
        }
    }
}

/// The messages of one publish may stand on two pages.
#[tokio::test]
async fn a_page_may_end_inside_a_publish() {
    let mut sandbox = Sandbox::start().await;
    let batch: Vec<Value> = (0..5).map(|index| json!({"name": index.to_string()})).collect();
    sandbox.publish("log", json!(batch)).await;
    let mut target = Some("limit=2".to_owned());
    let mut read = Vec::new();
    while let Some(query) = target {
        let response = sandbox.get(&format!("/channels/log/messages?{query}")).await;
        read.extend(names(&response));
        target = link(&response, "messages", "next");
    }
    assert_eq!(read, ["4", "3", "2", "1", "0"]);
}

/// §8.1: bounds in time are inclusive.
#[tokio::test]
async fn between_two_moments() {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let mut sandbox = Sandbox::start_at(clock.clone()).await;
    for index in 0..3 {
        sandbox.publish("log", json!({"name": index.to_string()})).await;
        clock.advance(Duration::from_millis(10));
    }
    let table: [(&str, &[&str]); 5] = [
        ("start=1700000000010", &["2", "1"]),
        ("end=1700000000010", &["1", "0"]),
        ("start=1700000000010&end=1700000000010", &["1"]),
        ("start=1700000000011&end=1700000000019", &[]),
        ("start=1700000000000&end=1700000000010&direction=forwards", &["0", "1"]),
    ];
    for (query, expected) in table {
        let response = sandbox.get(&format!("/channels/log/messages?{query}")).await;
        assert_eq!(names(&response), expected, "{query}");
    }
}

/// §8.4, T36: the position of an attach is included, what came live is not.
#[tokio::test]
async fn until_a_position() {
    let mut sandbox = with_messages(2).await;
    let attached_at = sandbox.history("log").await[0]["serial"].as_str().expect("a serial").to_owned();
    let position = attached_at.rsplit_once(':').expect("an index").0.replace('@', "%40");
    sandbox.publish("log", json!({"name": "live"})).await;
    for name in ["from_serial", "fromSerial"] {
        let response = sandbox.get(&format!("/channels/log/messages?{name}={position}")).await;
        assert_eq!(names(&response), ["1", "0"]);
    }
    let response = sandbox.get("/channels/log/messages?from_serial=here").await;
    assert_refused(&response, 400, 40003);
    let foreign = "00000000000000-000%400000000000000000";
    let response = sandbox.get(&format!("/channels/log/messages?from_serial={foreign}")).await;
    assert_refused(&response, 400, 90008);
}

/// §8.1: what came before the position is no longer kept.
#[tokio::test]
async fn until_a_position_that_is_too_old() {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let mut sandbox = Sandbox::start_at(clock.clone()).await;
    let mut positions = Vec::new();
    for name in ["old", "older than kept", "kept"] {
        let published = sandbox.publish("log", json!({"name": name})).await;
        let serial = published["serials"][0].as_str().expect("a serial");
        let (position, _) = serial.rsplit_once(':').expect("an index");
        positions.push(position.replace('@', "%40"));
        clock.advance(Duration::from_secs(121));
    }
    let target = |position: &str| format!("/channels/log/messages?from_serial={position}");
    assert_refused(&sandbox.get(&target(&positions[0])).await, 400, 90008);
    assert_eq!(names(&sandbox.get(&target(&positions[2])).await), ["kept"]);
}

/// §8.1: values that cannot be.
#[tokio::test]
async fn bad_parameters() {
    let mut sandbox = Sandbox::start().await;
    for bad in ["limit=0", "limit=1001", "limit=x", "start=2&end=1", "start=x", "direction=up", "cursor=x"] {
        for path in ["messages", "presence/history"] {
            let response = sandbox.get(&format!("/channels/x/{path}?{bad}")).await;
            assert_refused(&response, 400, 40003);
        }
    }
    assert_eq!(names(&sandbox.get("/channels/x/messages?limit=1000").await), Vec::<String>::new());
}

/// findings B2: a long page is written in pieces, and is the same page: in both formats, in an envelope, in both directions.
#[tokio::test]
async fn a_long_page_is_the_same_as_a_short_one() {
    let mut sandbox = Sandbox::start().await;
    let data = "x".repeat(20_000);
    for name in 0..25 {
        sandbox.publish("log", json!([{"name": name.to_string(), "data": data}, {"name": "second"}])).await;
    }
    for direction in ["backwards", "forwards"] {
        let mut pieces = Vec::new();
        let mut target = format!("/channels/log/messages?limit=2&direction={direction}");
        while pieces.len() < 50 {
            let page = sandbox.get(&target).await;
            assert!(page.header("content-length").is_some());
            pieces.extend(page.json().as_array().expect("a list").clone());
            target = match link(&page, "messages", "next") {
                Some(query) => format!("/channels/log/messages?{query}"),
                None => break,
            };
        }
        assert_eq!(pieces.len(), 50);
        for limit in [50, 49] {
            let long = format!("/channels/log/messages?limit={limit}&direction={direction}");
            let page = sandbox.get(&long).await;
            assert_eq!((page.status, page.header("transfer-encoding")), (200, Some("chunked")));
            assert_eq!(page.json().as_array().expect("a list")[..], pieces[..limit]);
            assert_eq!(links(&page, "messages").len(), if limit == 50 { 2 } else { 3 });
            let enveloped = sandbox.get(&format!("{long}&envelope=json")).await.json();
            assert_eq!(enveloped["response"].as_array().expect("a list")[..], pieces[..limit]);
            for envelope in ["", "&envelope=msgpack"] {
                let packed = sandbox.ask_by(EVERYTHING, "GET", &format!("{long}{envelope}"), &[MSGPACK], b"").await;
                let mut packed = from_msgpack(&packed.bytes);
                if !envelope.is_empty() {
                    packed = packed["response"].take();
                }
                let names = |list: &[Value]| list.iter().map(|message| message["name"].clone()).collect::<Vec<_>>();
                assert_eq!(names(packed.as_array().expect("a list")), names(&pieces[..limit]));
            }
        }
    }
}
