//! Notifications (`docs/protocols/group.md §2, §5, §6`).

use super::*;

async fn notify(rig: &Rig, body: Value) -> Value {
    data(&rig.service("POST", "/api/notifications", body).await)
}

/// To all connections of the user, and kept until they are read.
#[tokio::test]
async fn to_all_connections_of_the_user() {
    let rig = Rig::start(|_| {});
    let mut client = rig.user("7").await;
    let mut device = rig.user("7").await;
    let mut other = rig.user("8").await;
    let body = json!({"user_id": 7, "notification_id": "notif_1", "type": "system", "title": "t", "content": "c"});
    let told = notify(&rig, body.clone()).await;
    assert_eq!(told, json!({"notification_id": "notif_1", "notified": 1}));
    for client in [&mut client, &mut device] {
        let frame = client.expect("notification").await;
        assert_eq!(frame["message_id"], "notif_1");
        let mut notice = frame["data"].clone();
        assert!(notice["created_at"].take().is_u64());
        let expected =
            json!({"notification_id": "notif_1", "type": "system", "title": "t", "content": "c", "created_at": null});
        assert_eq!(notice, expected);
    }
    // The same again is none, and the other user has none.
    assert_eq!(notify(&rig, body).await["notified"], 0);
    let minted = notify(&rig, json!({"user_ids": ["7", "8"], "title": "both"})).await;
    let minted = minted["notification_id"].as_str().unwrap().to_owned();
    assert!(minted.starts_with("notif_"));
    for client in [&mut client, &mut device, &mut other] {
        assert_eq!(client.expect("notification").await["message_id"], *minted);
    }
}

#[tokio::test]
async fn reading_them() {
    let rig = Rig::start(|_| {});
    for index in 0..25 {
        let id = format!("n{index}");
        notify(&rig, json!({"user_id": "7", "notification_id": id, "title": "t"})).await;
    }
    notify(&rig, json!({"user_id": "8", "notification_id": "n0", "title": "t"})).await;
    let page = data(&rig.ask("7", "/api/notifications?user_id=7&page=2&page_size=10").await);
    assert_eq!((&page["total"], &page["unread_count"]), (&json!(25), &json!(25)));
    assert_eq!((&page["page"], &page["page_size"]), (&json!(2), &json!(10)));
    let ids = page["notifications"].as_array().unwrap().iter();
    let ids: Vec<_> = ids.map(|notice| notice["notification_id"].as_str().unwrap()).collect();
    let newest_first: Vec<_> = (5..15).rev().map(|index| format!("n{index}")).collect();
    assert_eq!(ids, newest_first);
    let read = json!({"user_id": 7, "notification_ids": ["n1", "n2", "n1", "none"]}).to_string();
    let bearer = format!("Bearer {}", token(json!("7")));
    let mut http = Http::connect_to(rig.address).await;
    let headers = [("Authorization", &*bearer)];
    for count in [2, 0] {
        let told = http.post("/api/notifications/read", &headers, &read).await;
        assert_eq!(data(&told), json!({"updated_count": count}));
    }
    let unread = data(&rig.ask("7", "/api/notifications/unread-count").await);
    assert_eq!(unread, json!({"count": 23}));
    let all = http.post("/api/notifications/read-all", &headers, r#"{"user_id":7}"#).await;
    assert_eq!(data(&all), json!({"updated_count": 23}));
    let page = data(&rig.ask("7", "/api/notifications").await);
    assert_eq!(page["unread_count"], 0);
    assert_eq!(page["notifications"][0]["is_read"], true);
    assert_eq!(data(&rig.ask("8", "/api/notifications/unread-count").await)["count"], 1);
}

#[tokio::test]
async fn bad_requests() {
    let rig = Rig::start(|_| {});
    for body in [
        json!({"title": "t"}),
        json!({"user_id": "", "title": "t"}),
        json!({"user_id": "7"}),
        json!({"user_ids": [{}], "title": "t"}),
    ] {
        let refused = rig.service("POST", "/api/notifications", body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    let bearer = format!("Bearer {}", token(json!("7")));
    let mut http = Http::connect_to(rig.address).await;
    let headers = [("Authorization", &*bearer)];
    for (target, body, status) in [
        ("/api/notifications", r#"{"user_id":"8","title":"t"}"#, 403),
        ("/api/notifications/read", r#"{"user_id":"8","notification_ids":[]}"#, 403),
        ("/api/notifications/read", r#"{"user_id":"7"}"#, 400),
        ("/api/notifications/read", r#"{"user_id":"7","notification_ids":[{}]}"#, 400),
        ("/api/notifications/read", "x", 400),
        ("/api/notifications/read-all", r#"{"user_id":"8"}"#, 403),
    ] {
        let refused = http.post(target, &headers, body).await;
        assert_eq!(refused.status, status, "{target} {body}: {refused:?}");
        assert_eq!(refused.json()["code"], status);
        assert_eq!(refused.json()["data"], json!(null));
    }
}

/// A service that asks again before it was answered.
#[tokio::test]
async fn the_same_one_many_times_at_once() {
    let rig = Rig::start(|_| {});
    let body = json!({"user_id": "7", "notification_id": "n", "title": "t"});
    let asked = (0..20).map(|_| notify(&rig, body.clone()));
    let told = futures_util::future::join_all(asked).await;
    let notified = told.iter().filter(|answer| answer["notified"] == 1).count();
    assert_eq!(notified, 1, "{told:?}");
    let page = data(&rig.ask("7", "/api/notifications").await);
    assert_eq!(page["total"], 1);
}
