//! `docs/protocols/letshare.md §2.4`: which names a room can have, over the wire.

use serde_json::json;

use crate::support::{Client, Server};

const SHORT: &str = "房间名太短啦，至少两个字符";
const LONG: &str = "房间名最多 12 个字符";
const FORBIDDEN: &str = "房间名只能包含中文、字母、数字、空格、下划线和中划线";

/// §2.4: good names, and each comes back unchanged wherever the server names the room.
#[tokio::test]
async fn a_good_name_is_echoed_unchanged() {
    let server = Server::start(|_| {});
    let mut a = Client::connect(&server, "a:1").await;
    let mut b = Client::connect(&server, "b:2").await;
    for name in [
        "ab",
        "demo1",
        "A_b-9 z",
        "  ",
        " ab ",
        "__",
        "--",
        "00",
        "小明",
        "abcdefghijkl",
        "一二三四五六七八九十百千",
        // Beyond U+4E00..U+9FA5, as the Go server takes them.
        "㐀々",
        "〇〇",
        "\u{9fa6}\u{9fff}",
        // Twelve characters, twenty-four UTF-16 units.
        "𠀀𠀁𠀂𠀃𠀄𠀅𠀆𠀇𠀈𠀉𠀊𠀋",
    ] {
        for page in [&mut a, &mut b] {
            page.send(json!({"type": "subscribe", "channel": name})).await;
            let confirmation = page.next().await;
            assert_eq!(confirmation["type"], "subscribed", "{name:?}: {confirmation}");
            assert_eq!(confirmation["channel"], name);
            assert_eq!(confirmation["data"]["room"], name);
        }
        a.publish(name, "signal:all", json!({"room": name})).await;
        let message = b.next().await;
        assert_eq!(message["channel"], name);
        assert_eq!(message["data"]["room"], name);
    }
}

/// §2.4 and the three texts of §2.2.
#[tokio::test]
async fn a_bad_name_is_refused_with_its_reason() {
    let server = Server::start(|_| {});
    let mut page = Client::connect(&server, "a:1").await;
    for (name, text) in [
        ("a", SHORT),
        (" ", SHORT),
        ("中", SHORT),
        ("𠀀", SHORT),
        ("abcdefghijklm", LONG),
        ("            x", LONG),
        ("一二三四五六七八九十百千万", LONG),
        ("ひらがな", FORBIDDEN),
        ("カタ", FORBIDDEN),
        ("한국", FORBIDDEN),
        ("ＡＢ", FORBIDDEN),
        ("café", FORBIDDEN),
        ("ab😀", FORBIDDEN),
        ("a:b", FORBIDDEN),
        ("a.b", FORBIDDEN),
        ("a/b", FORBIDDEN),
        ("ab\n", FORBIDDEN),
        ("\nab", FORBIDDEN),
        ("a\tb", FORBIDDEN),
        ("ab\0", FORBIDDEN),
        ("ab\u{a0}", FORBIDDEN),
        ("ab\u{200b}", FORBIDDEN),
        ("ab，", FORBIDDEN),
    ] {
        page.send(json!({"type": "subscribe", "channel": name, "event": "signal:all"})).await;
        let answer = page.next().await;
        let told = json!({"code": 400, "message": text});
        assert_eq!(answer["error"], told, "{name:?}");
        page.publish(name, "signal:all", json!({})).await;
        page.expect_error(400, &format!("客户端未订阅房间: {name}")).await;
    }
    assert!(page.received_so_far().await.is_empty());
}

/// §2.4 "case-sensitive", "not trimmed": names that differ in that are different rooms.
#[tokio::test]
async fn similar_names_are_different_rooms() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "demo").await;
    let mut others = Vec::new();
    for room in ["Demo", "DEMO", " demo", "demo ", "demo  "] {
        others.push(Client::join(&server, "b:2", room).await);
    }
    a.publish("demo", "signal:all", json!({})).await;
    assert!(a.received_so_far().await.is_empty());
    for other in &mut others {
        assert!(other.received_so_far().await.is_empty());
    }
}
