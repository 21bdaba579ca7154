//! Who may take part (`docs/protocols/group.md §5, §9`), and changes while people are online.

use letshare_server::config::Membership;

use super::*;

/// §9: messages stop at once; sends give 403.
#[tokio::test]
async fn removed_while_online() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7", "8"]).await;
    rig.group("h", &["7", "8"]).await;
    let mut client = rig.user("7").await;
    let mut device = rig.user("7").await;
    let mut other = rig.user("8").await;
    other.says("o-1", "g", "before").await;
    let removed = rig.service("DELETE", "/api/groups/g/members", json!({"user_id": "7"})).await;
    assert_eq!(data(&removed), json!({"removed": 1}));
    other.says("o-2", "g", "secret").await;
    other.says("o-3", "h", "after").await;
    for client in [&mut client, &mut device] {
        assert_eq!(client.contents(2).await, ["before", "after"]);
        client.say("c-1", "g", "x").await;
        client.refused("c-1", 403, "不是群成员").await;
        client.send("join_group", "c-2", json!({"group_id": "g"})).await;
        client.refused("c-2", 403, "不是群成员").await;
    }
    let again = rig.service("DELETE", "/api/groups/g/members?user_id=7", json!({})).await;
    assert_eq!(data(&again), json!({"removed": 0}));
    // And back: the connections that are there hear the group again.
    let added = rig.service("POST", "/api/groups/g/members", json!({"user_ids": [7]})).await;
    assert_eq!(data(&added), json!({"added": 1}));
    client.says("c-3", "g", "back").await;
    loop {
        let message = device.message().await;
        if message["content"] == "back" {
            break;
        }
    }
}

/// §7: a member that is added is subscribed on the connections that it has.
#[tokio::test]
async fn added_while_online() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["8"]).await;
    let mut client = rig.user("7").await;
    let mut other = rig.user("8").await;
    let added = rig.service("POST", "/api/groups/g/members", json!({"members": [{"user_id": 7, "name": "Wu"}]}));
    data(&added.await);
    client.says("c-1", "g", "hello").await;
    assert_eq!(other.message().await["sender_name"], "Wu");
    other.says("o-1", "g", "welcome").await;
    let heard = client.message().await;
    let heard = if heard["content"] == "hello" { client.message().await } else { heard };
    assert_eq!(heard["content"], "welcome");
}

/// §5: with open groups the document's examples work without set-up; groups that are registered stay closed.
#[tokio::test]
async fn open_groups() {
    let rig = Rig::start(|config| config.group.open_groups = true);
    rig.group("closed", &["9"]).await;
    let mut first = rig.user("7").await;
    let mut second = rig.user("8").await;
    first.says("c-1", "g", "I make it").await;
    assert_eq!(first.message().await["content"], "I make it");
    second.send("join_group", "c-2", json!({"group_id": "g"})).await;
    second.expect("ack").await;
    first.says("c-3", "g", "hi").await;
    assert_eq!(second.message().await["content"], "hi");
    second.send("join_group", "c-4", json!({"group_id": "closed"})).await;
    second.refused("c-4", 403, "不是群成员").await;
    second.say("c-5", "closed", "x").await;
    second.refused("c-5", 403, "不是群成员").await;
    second.send("join_group", "c-6", json!({"group_id": "u:7"})).await;
    second.refused("c-6", 400, "group_id 无效").await;
    let long = "x".repeat(300);
    second.send("join_group", "c-7", json!({"group_id": long})).await;
    second.refused("c-7", 400, "group_id 无效").await;
    // Registered from now on.
    rig.group("g", &[]).await;
    let mut third = rig.user("10").await;
    third.send("join_group", "c-8", json!({"group_id": "g"})).await;
    third.refused("c-8", 403, "不是群成员").await;
    second.says("c-9", "g", "still in").await;
}

/// The source's way: whoever has a token.
#[tokio::test]
async fn anyone() {
    let rig = Rig::start(|config| config.group.membership = Membership::Anyone);
    rig.group("g", &["9"]).await;
    let mut first = rig.user("7").await;
    let mut second = rig.user("8").await;
    second.send("join_group", "c-1", json!({"group_id": "g"})).await;
    second.expect("ack").await;
    first.says("c-2", "g", "hi").await;
    assert_eq!(second.message().await["content"], "hi");
    second.says("c-3", "new", "hi").await;
    // From now on a group of theirs, also on the next connection.
    let mut device = rig.user("7").await;
    second.says("c-4", "g", "again").await;
    assert_eq!(device.message().await["content"], "again");
}

/// §6: all groups of the user, not the first hundred.
#[tokio::test]
async fn every_group_is_joined() {
    let rig = Rig::start(|_| {});
    for group in 0..120 {
        rig.group(&format!("g-{group}"), &["7", "8"]).await;
    }
    let mut client = rig.user("7").await;
    let mut other = rig.user("8").await;
    for group in [0, 99, 100, 119] {
        let group = format!("g-{group}");
        other.says("c", &group, &group).await;
        assert_eq!(client.message().await["group_id"], group);
    }
}

/// findings C9: naming groups that one cannot be in makes none of them.
#[tokio::test]
async fn at_the_limit_no_group_is_made() {
    let rig = Rig::start(|config| config.group.open_groups = true);
    let most = letshare_server::limits::GROUPS_OF_USER;
    // By a few connections at a time: what they make together goes to disk together.
    let numbers: Vec<usize> = (0..most).collect();
    let make = async |numbers: &[usize]| {
        let mut http = Http::connect_to(rig.address).await;
        for number in numbers {
            let body = json!({"group_id": format!("g-{number}"), "members": ["7"]}).to_string();
            let made = http.post("/api/groups", &[("X-Service-Key", KEY)], &body).await;
            assert_eq!(made.status, 200, "{made:?}");
        }
    };
    futures_util::future::join_all(numbers.chunks(most / 32).map(make)).await;
    let count = async |user: &str| {
        let target = format!("/api/users/{user}/groups?page_size=1");
        data(&rig.service("GET", &target, json!({})).await)["total"].clone()
    };
    assert_eq!(count("7").await, most);
    let mut client = rig.user("7").await;
    for kind in ["join_group", "send_message"] {
        client.send(kind, "c", json!({"group_id": "one-more", "msg_type": 1, "content": "x"})).await;
        client.refused("c", 400, "群聊或成员数量已达上限").await;
    }
    // Services, too: all or nothing, the group included.
    let body = json!({"group_id": "two-more", "members": ["8", "7"]});
    assert_eq!(rig.service("POST", "/api/groups", body).await.status, 400);
    for group in ["one-more", "two-more"] {
        assert_eq!(rig.service("GET", &format!("/api/groups/{group}"), json!({})).await.status, 404, "{group}");
    }
    assert_eq!(count("8").await, 0);
    // A member that is known keeps its name when others are refused.
    let body = json!({"members": [{"user_id": "7", "name": "new"}, "a\u{0}b"]});
    assert_eq!(rig.service("POST", "/api/groups/g-0/members", body).await.status, 400);
    let members = data(&rig.service("GET", "/api/groups/g-0/members", json!({})).await);
    assert_eq!(members["members"][0]["username"], "");
}
