//! findings O16: chats that were kept elsewhere are brought along, and clients see them.

use serde_json::{Value, json};

use crate::{chat::house::House, support::brought::Brought};

/// As `mongoexport` writes the collection of the older server, the second line in its canonical form.
const MESSAGES: &str = r#"{"_id":{"$oid":"686391ab7ae27f0950b35a70"},"room_id":"private_7_42","from_user_id":7,"to_user_id":42,"message_type":1,"content":"ready?","created_at":{"$date":"2025-07-01T07:44:11Z"},"updated_at":{"$date":"2025-07-01T07:44:11Z"}}
{"_id":{"$oid":"686391ac7ae27f0950b35a71"},"room_id":"private_7_42","from_user_id":{"$numberLong":"42"},"to_user_id":{"$numberLong":"7"},"message_type":{"$numberInt":"1"},"content":"yes","created_at":{"$date":{"$numberLong":"1751355852000"}}}
{"_id":{"$oid":"686391ad7ae27f0950b35a72"},"room_id":"group_1751355000000000000_7","from_user_id":7,"to_user_id":0,"message_type":1,"content":"to all","created_at":{"$date":"2025-07-01T07:44:13Z"}}
{"_id":{"$oid":"686391ae7ae27f0950b35a73"},"room_id":"group_9","from_user_id":5,"to_user_id":0,"message_type":2,"content":"nobody made this one","created_at":{"$date":"2025-07-01T07:44:14Z"}}
"#;
const GROUPS: &str = "group_id,name,owner_id,description,created_at
group_1751355000000000000_7,\"friends, and others\",7,,2025-07-01 15:30:00
";
const MEMBERS: &str = "group_id,user_id
group_1751355000000000000_7,8
group_1751355000000000000_7,9
";
const PARTICIPANTS: &str = "{\"_id\":\"group_9\",\"user_ids\":[6,{\"$numberLong\":\"4\"}]}\n";
const ALL: &str = "--messages messages.jsonl --groups groups.csv --members members.csv --participants participants.jsonl \
                   --timezone Asia/Shanghai";

fn all_files() -> Brought {
    Brought::new(
        "chat",
        &[
            ("messages.jsonl", MESSAGES),
            ("groups.csv", GROUPS),
            ("members.csv", MEMBERS),
            ("participants.jsonl", PARTICIPANTS),
        ],
    )
}

async fn contents(house: &House, room: &str, user: u64) -> Value {
    let page = house.get(&format!("/api/ws/messages?room_id={room}"), user).await.json();
    let messages = page["data"]["messages"].as_array();
    messages.map_or_else(|| page["code"].clone(), |all| all.iter().map(|one| one["content"].clone()).collect())
}

#[tokio::test]
async fn chats_are_there_with_their_members_and_a_second_run_adds_nothing() {
    let brought = all_files();
    assert_eq!(brought.brings(&format!("{ALL} --dry-run")), [8, 0, 0]);
    assert!(!brought.has_data(), "a dry run makes no data folder");
    assert_eq!(brought.brings(ALL), [8, 0, 0]);
    assert_eq!(brought.brings(ALL), [0, 8, 0]);
    assert_eq!(brought.brings(&format!("{ALL} --dry-run")), [0, 8, 0]);

    let house = House::start_alone(|config| config.data.dir = brought.data());
    assert_eq!(contents(&house, "private_7_42", 42).await, json!(["yes", "ready?"]));
    let group = "group_1751355000000000000_7";
    for (room, user, expected) in [
        (group, 9, json!(["to all"])),
        (group, 5, json!(403)),
        // Who sent to it or is said to have taken part in it.
        ("group_9", 5, json!(["nobody made this one"])),
        ("group_9", 4, json!(["nobody made this one"])),
        ("group_9", 7, json!(403)),
    ] {
        assert_eq!(contents(&house, room, user).await, expected, "{room} {user}");
    }
    let page = house.get("/api/ws/messages?room_id=private_7_42", 7).await.json();
    assert_eq!(page["data"]["messages"][1]["message_id"], "686391ab7ae27f0950b35a70");
    assert_eq!(page["data"]["messages"][1]["time"], "2025-07-01 07:44:11");

    // They go on: the members get what is said, and it stands behind what was.
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    ann.send("send_group_message", json!({"group_id": group, "content": "new"})).await;
    let got = bob.data().await;
    assert_eq!((&got["content"], &got["group_name"]), (&json!("new"), &json!("friends, and others")));
    assert_eq!(contents(&house, group, 8).await, json!(["new", "to all"]));
    // A server has the folder.
    let refused = brought.stops(ALL);
    assert!(refused.contains("in use by process"), "{refused}");
}

/// A table of a database that numbers its messages: they are in the order of their numbers.
#[tokio::test]
async fn numbered_messages_keep_their_order() {
    let rows =
        "id,sender_id,receiver_id,content,created_at\n3,7,42,c,1751355852\n1,7,42,a,1751355852\n2,42,7,b,1751355852\n";
    let brought = Brought::new("chat", &[("m.csv", rows)]);
    assert_eq!(brought.brings("--messages m.csv"), [3, 0, 0]);
    assert_eq!(brought.brings("--messages m.csv"), [0, 3, 0]);
    let house = House::start_alone(|config| config.data.dir = brought.data());
    assert_eq!(contents(&house, "private_7_42", 7).await, json!(["c", "b", "a"]));
}

const BAD: &str = "message_id,room_id,from_user_id,to_user_id,content,created_at
,private_7_42,7,42,good,1751355852
,private_7_42,7,41,x,1751355852
,group_x,7,0,x,1751355852
,group_1,7,3,x,1751355852
,,7,0,x,1751355852
,private_7_42,7,42,,1751355852
,private_7_42,7,42,x,soon
,private_7_42,7,42,x,99999999999
,private_7_42,-7,42,x,1751355852
,private_7_42,7
,private_7_42,42,,good as well,1751355853
";

/// Each with its file, its line and the reason.
#[test]
fn bad_rows_are_told_and_stop_it_or_are_skipped() {
    let brought = Brought::new("chat", &[("m.csv", BAD)]);
    let told = brought.stops("--messages m.csv --dry-run");
    for (line, reason) in [
        (3, "private_7_42 is the room of two others than 7 and 41"),
        (4, "is no room"),
        (5, "to_user_id is 3, and group_1 is no private_"),
        (6, "neither room_id nor to_user_id is there"),
        (7, "content is missing"),
        (8, "created_at is \\\"soon\\\", and not a time"),
        (9, "created_at lies in the future"),
        (10, "from_user_id is negative"),
        (11, "it has 3 columns, and the first line has 6"),
    ] {
        let line = format!("{{\"bad\":\"m.csv:{line}\",\"reason\":");
        let found = told.lines().find(|told| told.starts_with(&line));
        assert!(found.is_some_and(|found| found.contains(reason)), "{line} {reason}: {told}");
    }
    assert!(told.contains("nothing was written. 2 new, 0 there already, 9 bad"), "{told}");
    assert!(!brought.has_data());

    let told = brought.stops("--messages m.csv");
    assert!(told.contains("m.csv:11 is bad; mend it") && told.contains("--skip-bad"), "{told}");
    assert_eq!(brought.brings("--messages m.csv --skip-bad")[2], 9);
    assert_eq!(brought.brings("--messages m.csv --skip-bad"), [0, 2, 9]);
}

#[test]
fn columns_that_nothing_reads_are_told() {
    let brought = Brought::new("chat", &[("m.csv", "from_user_id,to_user_id,content,created\n7,8,x,1751355852\n")]);
    let told = brought.stops("--messages m.csv");
    assert!(told.contains("created_at is missing") && told.contains("not read: created of messages"), "{told}");
}

#[test]
fn what_would_go_at_once_is_left_out() {
    let brought = Brought::new("chat", &[("m.csv", "from_user_id,to_user_id,content,created_at\n7,8,x,1751355852\n")]);
    let output = brought.run("--messages m.csv --set chat.retention_days=30");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&told["new"], &told["too_old"]), (&json!(0), &json!(1)), "{output:?}");
}

#[test]
fn arguments() {
    let brought = Brought::new("chat", &[("m.txt", "")]);
    assert_eq!(brought.run("").status.code(), Some(2), "nothing is named");
    assert_eq!(brought.run("--messages m.csv --timezone Nowhere").status.code(), Some(2));
    assert!(brought.stops("--messages m.txt").contains("m.txt is neither .csv nor"));
    assert!(brought.stops("--messages none.csv").contains("none.csv cannot be read"));
    assert!(!brought.has_data(), "nothing was begun");
}
