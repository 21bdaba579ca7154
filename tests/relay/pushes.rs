//! Push requests that are accepted (`docs/protocols/relay.md §2, §4, §7`).

use super::*;

/// §4: the answer, in the older server's order, with the two added keys at the end.
#[tokio::test]
async fn the_answer_tells_whom_it_is_for() {
    let mut rig = Rig::start(|_| {}).await;
    let _user = rig.user("u-208").await;
    let response =
        rig.post(r#"{"event_name":"order.ready","subject":{"no":4711},"delay_seconds":0,"token":"u-208"}"#).await;
    assert_eq!(response.header("content-type"), Some("application/json"));
    let expected = r#"{"code":0,"msg":"ok","data":{"event_name":"order.ready","delay_seconds":0,"target_user_id":"u-208","broadcast":false,"parsed_user_raw":"u-208","id":""#;
    assert!(response.body.starts_with(expected), "{}", response.body);
    assert!(response.body.ends_with(r#"","connections":1}}"#), "{}", response.body);
}

/// §4 "Token to user" and §7: whom it reaches, what the answer says, and the token as it was given.
#[tokio::test]
async fn tokens_of_every_kind() {
    let mut rig = Rig::start(|_| {}).await;
    for (token, user) in [
        (r#""u-208""#, "u-208"),
        ("0", "0"),
        ("123", "123"),
        ("-1.9", "-1"),
        ("98765432109876543210", "98765432109876543210"),
        (r#"{"id":null,"user_id":7}"#, "7"),
        (r#"{"id":1234567}"#, "1234567"),
        (r#"{"id":"a","user_id":"b"}"#, "a"),
        (r#""小明/?#""#, "小明/?#"),
    ] {
        let mut socket = rig.socket("").await;
        let identify = json!({"event": "identify", "data": {"token": user}});
        socket.send(&identify.to_string()).await;
        rig.until(1, 1).await;
        let body = format!(r#"{{"event_name":"e","subject":null,"token":{token}}}"#);
        let answer = rig.post(&body).await;
        let data = &answer.json()["data"];
        assert_eq!(data["target_user_id"], user, "{token}");
        assert_eq!(data["broadcast"], false);
        assert_eq!(data["connections"], 1);
        let raw = format!(r#""parsed_user_raw":{token}"#);
        assert!(answer.body.contains(&raw), "{}", answer.body);
        let frame = socket.next_text().await;
        assert!(frame.ends_with(&format!(r#""token":{token}}}}}"#)), "{frame}");
        drop(socket);
        rig.until(0, 0).await;
    }
}

/// §4, §7: whatever names nobody goes to everybody, and the answer says so.
#[tokio::test]
async fn what_names_nobody_is_a_broadcast() {
    let mut rig = Rig::start(|_| {}).await;
    let mut user = rig.user("u-208").await;
    for token in ["null", r#""""#, "true", "[1]", "{}", r#"{"id":""}"#, r#"{"id":"","user_id":7}"#] {
        let body = format!(r#"{{"event_name":"e","subject":1,"token":{token}}}"#);
        let answer = rig.post(&body).await.json();
        assert_eq!(answer["data"]["broadcast"], true, "{token}");
        assert_eq!(answer["data"]["target_user_id"], "");
        let frame = user.next_text().await;
        assert!(frame.ends_with(&format!(r#""token":{token}}}}}"#)), "{frame}");
    }
    let absent = rig.post(r#"{"event_name":"e","subject":1}"#).await.json();
    assert_eq!(absent["data"]["parsed_user_raw"], json!(null));
    assert_eq!(user.expect("e").await["token"], json!(null));
}

/// §4, §7: a delay of zero or less is none, and is echoed as given.
#[tokio::test]
async fn a_negative_delay_is_none() {
    let mut rig = Rig::start(|_| {}).await;
    let mut user = rig.user("u-208").await;
    let pushed = rig.push(json!({"event_name": "e", "subject": 1, "token": "u-208", "delay_seconds": -5})).await;
    assert_eq!(pushed["delay_seconds"], -5);
    assert_eq!(pushed["connections"], 1);
    user.expect("e").await;
}

/// §4: any JSON value is a subject.
#[tokio::test]
async fn subjects_pass_unchanged() {
    let mut rig = Rig::start(|_| {}).await;
    let mut user = rig.user("u-208").await;
    for subject in ["null", "0", "1e400", r#""\u00e9""#, "[ 1 ,2]", r#"{"b":1,"a":2}"#] {
        let body = format!(r#"{{"event_name":"e","subject":{subject},"token":"u-208"}}"#);
        assert_eq!(rig.post(&body).await.status, 200, "{subject}");
        let frame = user.next_text().await;
        let expected = format!(r#"{{"event":"e","data":{{"subject":{subject},"ts":"#);
        assert!(frame.starts_with(&expected), "{frame}");
    }
}

/// §2: the key by either header or by the query; the first that is not empty decides.
#[tokio::test]
async fn keys_by_header_or_query() {
    let mut rig = Rig::start(|_| {}).await;
    let body = r#"{"event_name":"e","subject":1}"#;
    let encoded = KEY.replace(' ', "%20");
    let good = format!("/api/push?api_key={encoded}");
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], u16);
    let table: [Row<'_>; 10] = [
        ("/api/push", &[("X-API-KEY", KEY)], 200),
        ("/api/push", &[("x-api-key", KEY)], 200),
        ("/api/push", &[("API-KEY", KEY)], 200),
        ("/api/push", &[("X-API-KEY", ""), ("API-KEY", KEY)], 200),
        ("/api/push", &[("X-API-KEY", "wrong"), ("API-KEY", KEY)], 401),
        (&good, &[], 200),
        (&good, &[("API-KEY", "wrong")], 401),
        ("/api/push?api_key=wrong", &[], 401),
        ("/api/push", &[], 401),
        ("/api/push", &[("Authorization", KEY)], 401),
    ];
    for (target, headers, status) in table {
        let answer = rig.http.post(target, headers, body).await;
        assert_eq!(answer.status, status, "{target} {headers:?}");
    }
}

/// §4 `lenient_push`
#[tokio::test]
async fn a_missing_subject_is_null_on_wish() {
    let mut rig = Rig::start(|config| config.relay.lenient_push = true).await;
    let mut user = rig.user("u-208").await;
    rig.push(json!({"event_name": "e", "token": "u-208"})).await;
    assert_eq!(user.expect("e").await["subject"], json!(null));
}

/// §2
#[tokio::test]
async fn health() {
    let mut rig = Rig::start(|_| {}).await;
    let health = rig.http.ask("GET", "/health", &[]).await;
    assert_eq!(health.status, 200);
    assert_eq!(health.body, r#"{"status":"ok"}"#);
    assert_eq!(health.header("content-type"), Some("application/json"));
}
