//! findings O16: groups that were kept elsewhere are brought along, and clients see them.

use super::*;
use crate::support::brought::Brought;

const GROUPS: &str =
    "id,name,owner_id,created_at\n12,walkers,7,2025-07-01 10:00:00\n13,readers,8,2025-07-01 10:00:00\n";
const MEMBERS: &str = "group_id,user_id,name,joined_at
12,7,Wu,2025-07-01 10:00:00
12,8,Li,2025-07-01 11:00:00
13,8,,2025-07-01 10:00:00
";
/// Two groups, several messages of one second, and not in order.
const MESSAGES: &str = r#"{"message_id":"m-3","group_id":12,"sender_id":8,"msg_type":2,"image_url":"https://example.com/a.png","created_at":1751364002}
{"message_id":"m-1","group_id":12,"sender_id":7,"msg_type":1,"content":"first","created_at":1751364000}
{"message_id":"m-2","group_id":"12","sender_id":"8","msg_type":1,"content":"second","created_at":"2025-07-01T10:00:00Z"}
{"message_id":"n-1","group_id":13,"sender_id":8,"content":"elsewhere","created_at":1751364000}
{"group_id":13,"sender_id":8,"content":"without an id","created_at":1751364001}
"#;
const ALL: &str = "--groups groups.csv --members members.csv --messages messages.jsonl";

fn all_files() -> Brought {
    Brought::new("group", &[("groups.csv", GROUPS), ("members.csv", MEMBERS), ("messages.jsonl", MESSAGES)])
}

fn start(brought: &Brought) -> Rig {
    Rig::start(|config| {
        config.data.dir = brought.data();
        config.group.message_age = std::time::Duration::ZERO;
    })
}

async fn contents(rig: &Rig, user: &str, group: &str) -> Vec<Value> {
    let page = data(&rig.ask(user, &format!("/api/messages?group_id={group}")).await);
    page["messages"].as_array().expect("messages").iter().map(|one| one["content"].clone()).collect()
}

#[tokio::test]
async fn groups_are_there_with_their_members_and_a_second_run_adds_nothing() {
    let brought = all_files();
    assert_eq!(brought.brings(&format!("{ALL} --dry-run")), [10, 0, 0]);
    assert!(!brought.has_data(), "a dry run makes no data folder");
    assert_eq!(brought.brings(ALL), [10, 0, 0]);
    assert_eq!(brought.brings(ALL), [0, 10, 0]);

    let rig = start(&brought);
    let mut history = contents(&rig, "8", "12").await;
    history.sort_by_key(Value::to_string);
    assert_eq!(history, ["", "first", "second"]);
    let page = data(&rig.ask("8", "/api/messages?group_id=12").await);
    let messages = page["messages"].as_array().expect("messages");
    let newest = messages.iter().find(|one| one["message_id"] == "m-3").expect("it was brought along");
    assert_eq!(
        (&newest["sender_name"], &newest["msg_type"], &newest["created_at"]),
        (&json!("Li"), &json!(2), &json!(1_751_364_002))
    );
    assert_eq!(rig.ask("7", "/api/messages?group_id=13").await.status, 403);

    // What was brought along is not unread, and what comes is.
    let groups = data(&rig.ask("8", "/api/users/8/groups").await);
    let unread: Vec<_> =
        groups["groups"].as_array().expect("groups").iter().map(|group| &group["unread_count"]).collect();
    assert_eq!(unread, [0, 0]);
    let mut reader = rig.user("8").await;
    let mut writer = rig.user("7").await;
    let id = writer.says("c-1", "12", "new").await;
    assert_eq!(reader.message().await["content"], "new");
    drop(reader);

    // Who comes back behind a message that was brought along misses what came behind it, of all groups, but not what is older
    // than its membership.
    let mut client = rig.client().await;
    let credentials = json!({"token": token(json!("8")), "last_message_id": "n-1"});
    client.send("auth", "a", credentials).await;
    assert_eq!(client.expect("auth_success").await["data"]["missed"], 2);
    assert_eq!(client.contents(2).await, ["without an id", "new"]);
    assert!(!id.is_empty());
    let refused = brought.stops(ALL);
    assert!(refused.contains("in use by process"), "{refused}");
}

const BAD: &str = "group_id,sender_id,msg_type,content,created_at
12,7,1,good,1751364000
99,7,1,x,1751364000
12,7,3,x,1751364000
12,7,2,x,1751364000
12,,1,x,1751364000
12,7,1,x,
12,7,1,x,4000000000
";

#[test]
fn bad_rows_are_told_and_stop_it_or_are_skipped() {
    let brought = Brought::new("group", &[("groups.csv", GROUPS), ("m.csv", BAD)]);
    let arguments = "--groups groups.csv --messages m.csv";
    let told = brought.stops(&format!("{arguments} --dry-run"));
    for (line, reason) in [
        (3, "there is no group 99: bring --groups along first"),
        (4, "msg_type is 3, and not 1 (text) or 2 (image)"),
        (5, "image_url is missing, and msg_type is 2"),
        (6, "sender_id is missing"),
        (7, "created_at is missing"),
        (8, "created_at lies in the future"),
    ] {
        let line = format!("{{\"bad\":\"m.csv:{line}\",\"reason\":");
        let found = told.lines().find(|told| told.starts_with(&line));
        assert!(found.is_some_and(|found| found.contains(reason)), "{line} {reason}: {told}");
    }
    assert!(brought.stops(arguments).contains("m.csv:3 is bad"));
    assert!(brought.stops("--participants m.csv").contains("--participants is for chats"));
    assert_eq!(brought.brings(&format!("{arguments} --skip-bad")), [0, 3, 6]);
    let output = brought.run(&format!("{arguments} --skip-bad --set group.message_age=24h"));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["known"], 3, "{output:?}");
}

/// The server would remove them within the minute.
#[test]
fn what_would_go_at_once_is_left_out() {
    let brought = all_files();
    let output = brought.run(&format!("{ALL} --set group.message_age=24h"));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&told["new"], &told["too_old"]), (&json!(5), &json!(5)), "{output:?}");
}
