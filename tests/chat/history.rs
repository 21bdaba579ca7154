//! Stored messages: `docs/protocols/chat.md §3, §9`.

use letshare_server::config::{Config, UnknownGroup};
use serde_json::{Value, json};

use crate::chat::{client::is_message_id, house::House};

fn contents(page: &Value) -> Vec<&str> {
    let messages = page["data"]["messages"].as_array().expect("messages");
    let contents = messages.iter().map(|message| message["content"].as_str());
    contents.map(|content| content.expect("a text")).collect()
}

#[tokio::test]
async fn pages_of_a_private_room() {
    let house = House::start(|_| {});
    for number in 1..=25 {
        let (from, to) = if number % 2 == 0 { (7, 42) } else { (42, 7) };
        let body = json!({"to_user_id": to, "content": number.to_string(), "message_type": 3});
        house.post("/api/ws/send-message", from, &body).await;
    }
    for path in ["/api/ws/messages?room_id=private_7_42&", "/chat/room/private_7_42/messages?"] {
        let page = async |query: &str| house.get(&format!("{path}{query}"), 7).await.json();
        let first = page("").await;
        assert_eq!(first["code"], 0, "{first}");
        let newest = &first["data"]["messages"][0];
        assert!(is_message_id(&newest["message_id"]));
        let expected = json!({
            "message_id": newest["message_id"], "room_id": "private_7_42", "from_user_id": 42, "to_user_id": 7,
            "message_type": 3, "content": "25", "time": newest["time"],
        });
        assert_eq!(*newest, expected);
        let head = (&first["data"]["total"], &first["data"]["page"], &first["data"]["page_size"]);
        assert_eq!(head, (&json!(25), &json!(1), &json!(20)));
        assert_eq!(contents(&first).len(), 20);
        assert_eq!(contents(&page("page=2").await), ["5", "4", "3", "2", "1"]);
        assert_eq!(contents(&page("page=2&page_size=2").await), ["23", "22"]);
        assert_eq!(contents(&page("page=9").await), Vec::<&str>::new());
        assert_eq!(page("page_size=1000").await["data"]["page_size"], 100);
        for bad in ["page=0", "page=x", "page=-1", "page_size=0", "page_size=1.5"] {
            assert_eq!(page(bad).await["code"], 1001, "{bad}");
        }
    }
}

/// §3: for members of the room.
#[tokio::test]
async fn only_members_read() {
    let house = House::start(|config| config.chat.unknown_group = UnknownGroup::Reject);
    let mut ann = house.connect(7).await;
    let made = ann.asks("create_group", json!({"group_name": "g", "member_ids": [8]})).await;
    let group = made["data"]["group_id"].as_str().expect("an id").to_owned();
    ann.asks("send_group_message", json!({"group_id": group, "content": "x"})).await;
    for (room, user, status) in [
        ("private_7_42", 7, 200),
        ("private_7_42", 42, 200),
        ("private_7_42", 8, 403),
        (&*group, 7, 200),
        (&*group, 8, 200),
        (&*group, 9, 403),
        ("group_1", 7, 403),
        ("room_1", 7, 403),
        ("private_42_7", 7, 400),
        ("group_x", 7, 400),
        ("", 7, 400),
    ] {
        let answer = house.get(&format!("/api/ws/messages?room_id={room}"), user).await;
        assert_eq!(answer.status, status, "{room} {user}");
    }
    let page = house.get(&format!("/chat/room/{group}/messages"), 8).await.json();
    let message = &page["data"]["messages"][0];
    assert_eq!((&message["room_id"], &message["to_user_id"]), (&json!(group), &json!(0)));
}

/// findings O4, S10: of a group that was not made here only who took part reads: who sent, and who was online and received.
/// Across a restart, too.
pub(super) async fn only_participants_read(house: House, settings: impl Fn(&mut Config)) {
    let status = async |house: &House, user: u64| {
        let answer = house.get("/api/ws/messages?room_id=group_77", user).await;
        let other = house.get("/chat/room/group_77/messages", user).await;
        assert_eq!(answer.status, other.status);
        answer.status
    };
    let expect = async |house: &House, allowed: &[u64]| {
        for user in [1, 2, 3, 666] {
            let expected = if allowed.contains(&user) { 200 } else { 403 };
            assert_eq!(status(house, user).await, expected, "{user}");
        }
    };
    expect(&house, &[]).await;
    let (mut ann, mut bob) = (house.connect(1).await, house.connect(2).await);
    let say = json!({"group_id": "group_77", "content": "secret"});
    assert_eq!(ann.asks("send_group_message", say.clone()).await["data"]["sent_count"], 1);
    assert_eq!(bob.data().await["content"], "secret");
    expect(&house, &[1, 2]).await;
    // Whoever comes later has got nothing yet.
    let mut eve = house.connect(3).await;
    expect(&house, &[1, 2]).await;
    ann.send("send_group_message", say).await;
    ann.data().await;
    eve.data().await;
    expect(&house, &[1, 2, 3]).await;
    let house = house.restart(settings);
    expect(&house, &[1, 2, 3]).await;
    let page = house.get("/api/ws/messages?room_id=group_77", 2).await.json();
    assert_eq!(contents(&page), ["secret", "secret"]);
}

#[tokio::test]
async fn only_participants_read_a_group_that_was_not_made_here() {
    only_participants_read(House::start(|_| {}), |_| {}).await;
}
