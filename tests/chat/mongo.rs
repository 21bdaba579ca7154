//! The chat on MongoDB, which ends and comes back while messages flow (`docs/protocols/chat.md §9`).

use letshare_server::config::Config;
use serde_json::{Value, json};

use crate::{
    chat::{client::Client, history::only_participants_read, house::House},
    support::{brought::Brought, eventually, mongo::Mongo},
};

fn on(mongo: &Mongo) -> impl FnOnce(&mut Config) + use<> {
    let uri = mongo.uri();
    |config| config.chat.mongodb_uri = uri.into()
}

#[tokio::test]
async fn without_the_database_there_is_no_start() {
    let mut mongo = Mongo::start().await;
    mongo.kill();
    let said = House::fails(on(&mongo));
    assert!(said.contains("MongoDB at 127.0.0.1:"), "{said}");
    assert!(said.contains("Make sure that it runs"), "{said}");
}

#[tokio::test]
async fn messages_and_groups_in_mongodb() {
    let mongo = Mongo::start().await;
    let house = House::start(on(&mongo));
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    let made = ann.asks("create_group", json!({"group_name": "g", "member_ids": [8]})).await;
    let group = made["data"]["group_id"].as_str().expect("an id").to_owned();
    ann.send("send_message", json!({"to_user_id": 8, "content": "x", "client_id": "c"})).await;
    let first = ann.data().await;
    assert_eq!(bob.data().await["message_id"], first["message_id"]);
    let answer = house.ask("GET", "/health?deep=1", &[]).await;
    assert_eq!((answer.status, &answer.json()["mongodb"]), (200, &json!("up")));

    let house = house.restart(on(&mongo));
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    ann.send("send_group_message", json!({"group_id": group, "content": "y"})).await;
    assert_eq!(ann.data().await["sent_count"], 1);
    assert_eq!(bob.data().await["group_name"], "g");
    ann.send("send_message", json!({"to_user_id": 8, "content": "x", "client_id": "c"})).await;
    assert_eq!(ann.data().await["message_id"], first["message_id"]);
    let page = house.get("/api/ws/messages?room_id=private_7_8", 8).await.json();
    assert_eq!(page["data"]["total"], 1);
}

/// findings O4, S10: the same with MongoDB.
#[tokio::test]
async fn only_participants_read_a_group_that_was_not_made_here() {
    let mongo = Mongo::start().await;
    only_participants_read(House::start(on(&mongo)), |config| on(&mongo)(config)).await;
}

/// What is answered with success is stored, whatever happens to the database.
#[tokio::test]
async fn the_database_goes_and_comes_back() {
    let mut mongo = Mongo::start().await;
    let house = House::start(on(&mongo));
    let mut ann = house.connect(7).await;
    let made = ann.asks("create_group", json!({"group_name": "g", "member_ids": [8]})).await;
    let group = made["data"]["group_id"].as_str().expect("an id").to_owned();
    let mut acknowledged = Vec::new();
    for _ in 0..10 {
        acknowledged.extend(say(&mut ann).await);
    }
    assert_eq!(acknowledged.len(), 10);

    mongo.kill();
    // Some may still be told; then nothing is, and nothing is delivered.
    eventually(async || {
        let told = say(&mut ann).await;
        acknowledged.extend(told.clone());
        told.is_none().then_some(())
    })
    .await;
    let mut bob = house.connect(8).await;
    ann.refused("send_message", json!({"to_user_id": 8, "content": "x"}), 10008, "消息保存失败").await;
    let data = json!({"group_id": group, "content": "x"});
    ann.refused("send_group_message", data.clone(), 3009, "群聊消息保存失败").await;
    assert!(bob.received_so_far().await.is_empty());
    let answer = house.post("/api/ws/send-message", 7, &json!({"to_user_id": 8, "content": "x"})).await;
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!(10008)));
    let answer = house.ask("GET", "/health?deep=1", &[]).await;
    assert_eq!((answer.status, &answer.json()["mongodb"]), (503, &json!("down")));
    assert_eq!(house.ask("GET", "/health", &[]).await.status, 200);
    // What needs no store goes on.
    ann.asks("broadcast", json!({"message": "still here"})).await;
    assert_eq!(bob.data().await["message"], "still here");

    mongo.start_again().await;
    let told = eventually(async || say(&mut ann).await).await;
    acknowledged.push(told);
    // Bob came while its groups could not be read; it is in them now.
    eventually(async || {
        let answer = ann.asks("send_group_message", data.clone()).await;
        assert_eq!(answer["code"], 0, "{answer}");
        let received = bob.received_so_far().await;
        let is_there = |message: &Value| message["data"]["type"] == "group_message";
        received.iter().any(is_there).then_some(())
    })
    .await;
    let target = "/api/ws/messages?room_id=private_7_43&page_size=100";
    let page = house.get(target, 7).await.json();
    let stored: Vec<&Value> =
        page["data"]["messages"].as_array().expect("messages").iter().map(|message| &message["message_id"]).collect();
    for id in &acknowledged {
        assert!(stored.contains(&id), "{id} was acknowledged");
    }
}

/// The id of a message to somebody who is not there, if it was stored.
async fn say(ann: &mut Client) -> Option<Value> {
    let answer = ann.asks("send_message", json!({"to_user_id": 43, "content": "x"})).await;
    match answer["code"].as_u64() {
        Some(10003) => Some(answer["data"]["message_id"].clone()),
        Some(10008) => None,
        _ => panic!("{answer}"),
    }
}

/// findings O16: from a database as the older server left it into a data folder, and from files into a database.
#[tokio::test]
async fn chats_come_from_a_database_and_go_to_one() {
    let mongo = Mongo::start().await;
    let house = House::start(on(&mongo));
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    let made = ann.asks("create_group", json!({"group_name": "g", "member_ids": [8]})).await;
    let group = made["data"]["group_id"].as_str().expect("an id").to_owned();
    ann.send("send_group_message", json!({"group_id": group, "content": "y"})).await;
    ann.data().await;
    bob.data().await;
    ann.asks("send_message", json!({"to_user_id": 9, "content": "x"})).await;
    drop((ann, bob, house));

    let brought = Brought::new("chat", &[("uri", &mongo.uri_of("zulme")), ("m.csv", MESSAGE)]);
    assert_eq!(brought.brings("--mongodb uri"), [3, 0, 0]);
    assert_eq!(brought.brings("--mongodb uri"), [0, 3, 0]);
    let house = House::start(|config| config.data.dir = brought.data());
    let page = house.get(&format!("/api/ws/messages?room_id={group}"), 8).await.json();
    assert_eq!(page["data"]["messages"][0]["content"], "y", "{page}");
    let page = house.get("/api/ws/messages?room_id=private_7_9", 9).await.json();
    assert_eq!(page["data"]["total"], 1);
    drop(house);

    let to_database = format!("--messages m.csv --set chat.mongodb_uri={}", mongo.uri());
    assert_eq!(brought.brings(&to_database), [1, 0, 0]);
    assert_eq!(brought.brings(&to_database), [0, 1, 0]);
    let house = House::start(on(&mongo));
    let page = house.get("/api/ws/messages?room_id=private_7_9", 9).await.json();
    assert_eq!(page["data"]["messages"][1]["content"], "from a file", "{page}");
    drop(house);
    let refused = brought.stops(&format!("--mongodb {}", mongo.uri()));
    assert!(refused.contains("names no database"), "{refused}");
}

const MESSAGE: &str = "from_user_id,to_user_id,content,created_at\n7,9,from a file,2025-07-01 07:44:11\n";
