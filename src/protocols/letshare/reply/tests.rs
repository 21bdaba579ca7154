use super::*;
use crate::{
    core::{
        message::Message,
        serial::{Epoch, Mint},
    },
    ids::ConnectionId,
};

const NOW: Timestamp = Timestamp::from_millis(1_704_067_200_000);

/// The payload of a short or medium server frame.
fn payload(frame: &Bytes) -> &str {
    let header = if frame[1] < 126 { 2 } else { 4 };
    std::str::from_utf8(&frame[header..]).expect("UTF-8")
}

/// protocols/letshare.md §2.2, letter by letter.
#[test]
fn confirmations() {
    assert_eq!(
        payload(&subscribed("小明的 房间", "signal:a", NOW)),
        r#"{"type":"subscribed","channel":"小明的 房间","event":"signal:a","data":{"event":"signal:a","room":"小明的 房间","status":"subscribed"},"timestamp":1704067200000}"#
    );
    assert_eq!(
        payload(&subscribed("ab", "", NOW)),
        r#"{"type":"subscribed","channel":"ab","data":{"event":"","room":"ab","status":"subscribed"},"timestamp":1704067200000}"#
    );
    assert_eq!(
        payload(&unsubscribed("ab", "signal:all", NOW)),
        r#"{"type":"unsubscribed","channel":"ab","event":"signal:all","data":{"room":"ab","status":"unsubscribed"},"timestamp":1704067200000}"#
    );
}

#[test]
fn errors() {
    assert_eq!(
        payload(&error(400, "缺少频道名称", NOW)),
        r#"{"type":"error","timestamp":1704067200000,"error":{"code":400,"message":"缺少频道名称"}}"#
    );
}

#[test]
fn messages_carry_the_data_byte_for_byte() {
    let message = Message {
        name: "signal:\"x\"".into(),
        data: Bytes::from_static(br#"{ "n":12345678901234567890,"s":"<&>" }"#),
    };
    let serial = Mint::new(Epoch::new(1)).mint(NOW);
    let publisher = ConnectionId::from_bytes([0; 9]);
    let entry = Entry::new("ab".into(), serial, NOW, publisher, message);
    assert_eq!(
        payload(entry.frame(&LetShareJson)),
        r#"{"type":"message","channel":"ab","event":"signal:\"x\"","data":{ "n":12345678901234567890,"s":"<&>" },"timestamp":1704067200000}"#
    );
}

/// The texts that the app shows (protocols/letshare.md §2.2).
#[test]
fn documented_texts() {
    for (fault, text) in [
        (Fault::NotAttached, "客户端未订阅房间: ab"),
        (Fault::ChannelFull { cap: 50 }, "房间已满，最多支持50个用户"),
        (
            Fault::ChannelNameTooShort { min: 2 },
            "房间名太短啦，至少两个字符",
        ),
        (
            Fault::ChannelNameTooLong { max: 12 },
            "房间名最多 12 个字符",
        ),
        (
            Fault::ChannelNameForbidden,
            "房间名只能包含中文、字母、数字、空格、下划线和中划线",
        ),
    ] {
        assert_eq!(fault_text(&fault, "ab"), (400, text.to_owned()));
    }
}
