//! What is asked by HTTP (`docs/protocols/group.md §2`).

use std::time::Duration;

use letshare_server::ids::Timestamp;

use super::*;

const START: u64 = 1_760_000_000;

fn contents(answer: &Value) -> Vec<String> {
    let messages = answer["messages"].as_array().expect("messages").iter();
    let content = |message: &Value| message["content"].as_str().expect("a text").to_owned();
    messages.map(content).collect()
}

#[tokio::test]
async fn history() {
    let rig = Rig::start(|config| config.group.messages_per_second = 0);
    rig.group("g", &["7"]).await;
    // One beside it, so that numbers have holes.
    rig.group("g2", &["7"]).await;
    let empty = data(&rig.ask("7", "/api/messages?group_id=g").await);
    assert_eq!(empty, json!({"messages": [], "has_more": false}));
    let mut client = rig.user("7").await;
    let mut ids = Vec::new();
    for index in 0..45 {
        ids.push(client.says(&format!("{index}"), "g", &format!("{index}")).await);
        client.says("x", "g2", &format!("{index}")).await;
    }
    let newest: Vec<_> = (25..45).rev().map(|index| index.to_string()).collect();
    let page = data(&rig.ask("7", "/api/messages?group_id=g").await);
    assert_eq!((contents(&page), &page["has_more"]), (newest, &json!(true)));
    let message = &page["messages"][0];
    assert_eq!(message["message_id"], ids[44]);
    assert_eq!(message["sender_id"], "7");
    let before = format!("/api/messages?group_id=g&limit=3&before_id={}", ids[2]);
    let page = data(&rig.ask("7", &before).await);
    assert_eq!((contents(&page), &page["has_more"]), (vec!["1".into(), "0".into()], &json!(false)));
    let page = data(&rig.ask("7", "/api/messages?group_id=g&limit=1000").await);
    assert_eq!(contents(&page).len(), 45, "at most 100");
    for (target, status) in [
        ("/api/messages", 400),
        ("/api/messages?group_id=g&limit=0", 400),
        ("/api/messages?group_id=g&limit=x", 400),
        ("/api/messages?group_id=g&before_id=none", 404),
        ("/api/messages?group_id=none", 404),
    ] {
        let refused = rig.ask("7", target).await;
        assert_eq!(refused.status, status, "{target}");
    }
    assert_eq!(rig.ask("8", "/api/messages?group_id=g").await.status, 403);
}

#[tokio::test]
async fn offline_messages() {
    let clock = Clock::manual(Timestamp::from_millis(START * 1_000));
    let rig = Rig::start_at(clock.clone(), |_| {});
    rig.group("g", &["7", "8"]).await;
    rig.group("other", &["8"]).await;
    let mut writer = rig.user("8").await;
    for hour in 0..4 {
        writer.says(&format!("{hour}"), "g", &format!("{hour}")).await;
        writer.says(&format!("o{hour}"), "other", "x").await;
        clock.advance(Duration::from_secs(3_600));
    }
    for (after, expected) in [
        (0, vec!["0", "1", "2", "3"]),
        (START, vec!["1", "2", "3"]),
        (START + 3_600, vec!["2", "3"]),
        (START + 3_601, vec!["2", "3"]),
        (START + 3 * 3_600, vec![]),
        ((START + 3_600) * 1_000, vec!["2", "3"]),
    ] {
        let target = format!("/api/messages/offline?user_id=7&after_time={after}");
        let missed = data(&rig.ask("7", &target).await);
        assert_eq!(contents(&missed), expected, "{after}");
        assert_eq!(missed["has_more"], false);
    }
    assert_eq!(rig.ask("7", "/api/messages/offline?user_id=7").await.status, 400);
    let foreign = rig.ask("7", "/api/messages/offline?user_id=8&after_time=0").await;
    assert_eq!(foreign.status, 403);
}

#[tokio::test]
async fn groups_and_members() {
    let rig = Rig::start(|_| {});
    let body = json!({
        "group_id": "小组 1", "name": "Hiking", "owner_id": 7,
        "members": [8, {"user_id": "9", "name": "Li", "avatar": "l.png"}],
    });
    let made = data(&rig.service("POST", "/api/groups", body).await);
    assert_eq!(made["member_count"], 3);
    assert_eq!(made["owner_id"], "7");
    let target = "/api/groups/%E5%B0%8F%E7%BB%84%201";
    let info = data(&rig.ask("8", target).await);
    assert_eq!((&info["group_id"], &info["name"]), (&json!("小组 1"), &json!("Hiking")));
    let members = data(&rig.ask("8", &format!("{target}/members?page_size=2&page=2")).await);
    assert_eq!(members["total"], 3);
    let member = &members["members"][0];
    assert_eq!((&member["user_id"], &member["username"]), (&json!("9"), &json!("Li")));
    assert_eq!(member["role"], "member");
    let own = data(&rig.ask("7", "/api/users/7/groups").await);
    assert_eq!(own["total"], 1);
    assert_eq!(own["groups"][0]["role"], "owner");
    assert_eq!(own["groups"][0]["unread_count"], 0);
    // A new name, and nothing else.
    let renamed = rig.service("POST", "/api/groups", json!({"group_id": "小组 1", "name": "Climbing"}));
    let renamed = data(&renamed.await);
    assert_eq!((&renamed["name"], &renamed["member_count"]), (&json!("Climbing"), &json!(3)));
    let minted = data(&rig.service("POST", "/api/groups", json!({"name": "x"})).await);
    assert_eq!(minted["group_id"].as_str().map(str::len), Some(36));
    for (method, target, body, status) in [
        ("POST", "/api/groups", json!({"group_id": "u:7"}), 400),
        ("POST", "/api/groups", json!({"group_id": ""}), 400),
        ("POST", "/api/groups", json!({"group_id": "y", "members": 5}), 400),
        ("POST", "/api/groups", json!([]), 400),
        ("POST", "/api/groups/none/members", json!({"user_id": 7}), 404),
        ("POST", "/api/groups/none/members", json!({}), 400),
        ("DELETE", "/api/groups/none/members", json!({"user_id": 7}), 404),
        ("PUT", "/api/groups/none/members", json!({"user_id": 7}), 405),
        ("GET", "/api/groups", json!({}), 405),
        ("GET", "/api/nothing", json!({}), 404),
    ] {
        let refused = rig.service(method, target, body.clone()).await;
        assert_eq!(refused.status, status, "{method} {target} {body}: {refused:?}");
    }
}

/// §2: the older server's page, word for word.
#[tokio::test]
async fn who_is_online() {
    let rig = Rig::start(|_| {});
    let mut http = Http::connect_to(rig.address).await;
    let unknown = http.ask("GET", "/api/users/status?user_id=7", &[]).await;
    let zeros = json!({"is_online": false, "last_seen": 0, "last_online_at": 0, "last_offline_at": 0});
    assert_eq!(data(&unknown), zeros);
    let client = rig.user("7").await;
    let status = data(&http.ask("GET", "/api/users/status?user_id=7", &[]).await);
    assert_eq!(status["is_online"], true);
    assert!(status["last_online_at"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(status["last_offline_at"], 0);
    drop(client);
    let status = eventually(async || {
        let status = data(&http.ask("GET", "/api/users/status?user_id=7", &[]).await);
        (status["is_online"] == false && status["last_offline_at"] != 0).then_some(status)
    })
    .await;
    assert_eq!(status["last_seen"], status["last_offline_at"]);
    let missing = http.ask("GET", "/api/users/status", &[]).await;
    let expected = json!({"code": 400, "message": "缺少 user_id 参数", "data": null});
    assert_eq!((missing.status, missing.json()), (400, expected));
    let posted = http.post("/api/users/status?user_id=7", &[], "").await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET")));
}

/// Credentials of users and services.
#[tokio::test]
async fn who_may_ask() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    let mut http = Http::connect_to(rig.address).await;
    let old = format!("Bearer {}", signed(json!({"userId": "7", "exp": 1})));
    let user = format!("Bearer {}", token(json!("7")));
    for (headers, status) in [
        (vec![], 401),
        (vec![("Authorization", "Bearer x")], 401),
        (vec![("Authorization", "Basic x")], 401),
        (vec![("Authorization", &*old)], 401),
        (vec![("X-Service-Key", "x")], 401),
        (vec![("X-Service-Key", "")], 401),
        (vec![("Authorization", &*user)], 200),
        (vec![("X-Service-Key", KEY)], 200),
    ] {
        let answer = http.ask("GET", "/api/groups/g", &headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
    let user = [("Authorization", &*user)];
    for target in ["/api/groups", "/api/groups/g/members", "/api/blacklist/reload"] {
        assert_eq!(http.post(target, &user, "{}").await.status, 403, "{target}");
    }
    for target in ["/api/users/8/groups", "/api/notifications?user_id=8"] {
        assert_eq!(http.ask("GET", target, &user).await.status, 403, "{target}");
    }
    // A service asks for anybody.
    let groups = http.ask("GET", "/api/users/7/groups", &[("X-Service-Key", KEY)]).await;
    assert_eq!(data(&groups)["total"], 1);
}

/// findings O14: a field that is none is refused by its name, and nothing is done.
#[tokio::test]
async fn unknown_fields_are_refused_by_name() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    for (target, body, field) in [
        ("/api/groups", json!({"group_id": "new", "member_ids": ["7"]}), "member_ids"),
        ("/api/groups", json!({"group_id": "new", "members": [{"user_id": "7", "nick": "x"}]}), "nick"),
        ("/api/groups", json!({"group_id": "new", "name": 5}), "name"),
        ("/api/groups", json!({"group_id": "new", "owner_id": {}}), "owner_id"),
        ("/api/groups/g/members", json!({"member_ids": ["8"]}), "member_ids"),
        ("/api/groups/g/members", json!({"user_id": "8", "role": "owner"}), "role"),
        ("/api/notifications", json!({"user_id": "7", "title": "t", "text": "x"}), "text"),
        ("/api/notifications", json!({"user_id": "7", "title": "t", "created_at": "now"}), "created_at"),
        ("/api/notifications/read-all", json!({"user_ids": ["7"]}), "user_ids"),
    ] {
        let refused = rig.service("POST", target, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        let message = refused.json()["message"].as_str().expect("a text").to_owned();
        assert!(message.contains(field), "{body}: {message}");
    }
    let unknown = rig.service("POST", "/api/groups", json!({"member_ids": []})).await.json();
    let expected = "未知字段 member_ids (unknown field; known: group_id, name, owner_id, members)";
    assert_eq!(unknown, json!({"code": 400, "message": expected, "data": null}));
    assert_eq!(rig.service("GET", "/api/groups/new", json!({})).await.status, 404);
    let members = data(&rig.service("GET", "/api/groups/g/members", json!({})).await);
    assert_eq!(members["total"], 1);
}

/// §2: a number is its decimal text, however long.
#[tokio::test]
async fn ids_that_are_numbers_keep_all_their_digits() {
    const LONG: &str = "12345678901234567890123";
    let rig = Rig::start(|_| {});
    let mut http = Http::connect_to(rig.address).await;
    let headers = [("X-Service-Key", KEY), ("Content-Type", "application/json")];
    for (method, target, body) in [
        ("POST", "/api/groups", r#"{"group_id":98765432109876543210987,"owner_id":L,"members":[{"user_id":7}]}"#),
        ("DELETE", "/api/groups/98765432109876543210987/members", r#"{"user_id":L}"#),
        ("POST", "/api/groups/98765432109876543210987/members", r#"{"user_ids":[L]}"#),
        ("DELETE", "/api/groups/98765432109876543210987/members", r#"{"members":[L]}"#),
        ("POST", "/api/groups/98765432109876543210987/members", r#"{"members":[L]}"#),
        ("POST", "/api/notifications", r#"{"user_id":L,"notification_id":L,"title":"t"}"#),
        ("POST", "/api/notifications/read", r#"{"user_id":L,"notification_ids":[L]}"#),
    ] {
        let body = body.replace('L', LONG);
        let length = body.len().to_string();
        let all = [headers[0], headers[1], ("Content-Length", &*length)];
        let done = data(&http.ask_with(method, target, &all, body.as_bytes()).await);
        for count in ["added", "removed", "notified", "updated_count"] {
            assert!(done[count].is_null() || done[count] == 1, "{method} {target} {body}: {done}");
        }
    }
    let own = data(&rig.ask(LONG, &format!("/api/users/{LONG}/groups")).await);
    assert_eq!((&own["total"], &own["groups"][0]["owner_id"]), (&json!(1), &json!(LONG)));
    assert_eq!(own["groups"][0]["group_id"], "98765432109876543210987");
}

/// §2: ids are texts or whole numbers; what names nobody is refused as a whole.
#[tokio::test]
async fn a_fraction_names_nobody() {
    let rig = Rig::start(|_| {});
    for body in [json!({"group_id": "g", "members": ["7", 1.5]}), json!({"group_id": 1.5}), json!({"owner_id": 1.5})] {
        let refused = rig.service("POST", "/api/groups", body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
    }
    assert_eq!(rig.service("GET", "/api/groups/g", json!({})).await.status, 404);
    rig.group("g", &["7"]).await;
    let refused = rig.service("POST", "/api/groups/g/members", json!({"user_id": 8.5})).await;
    assert_eq!(refused.status, 400);
}
