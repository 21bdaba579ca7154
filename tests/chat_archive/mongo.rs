//! The archive in MongoDB: the contract, its documents and indexes, and a server that goes away.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use letshare_server::{
    clock::Clock,
    store::{
        StoreError,
        archive::{
            Archive as _, Group, Inserted, Message,
            mongo::{ConnectFault, MongoArchive, Server, Settings},
        },
    },
};
use mongodb::{
    Client, Database,
    bson::{Bson, Document, doc},
};

use super::contract::{self, Ground, START};
use crate::support::{PATIENCE, eventually, mongo::Mongo};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn settings(uri: &str, retention: Option<Duration>) -> Settings {
    Settings { server: Server::Uri(uri.to_owned().into()), database: "zulme".to_owned(), retention }
}

async fn connect(server: &Mongo, clock: &Clock) -> MongoArchive {
    let settings = settings(&server.uri(), None);
    MongoArchive::connect(&settings, clock.clone()).await.unwrap()
}

async fn database(server: &Mongo) -> Database {
    let client = Client::with_uri_str(server.uri()).await.unwrap();
    client.database("zulme")
}

async fn indexes(database: &Database, collection: &str) -> Vec<Document> {
    let collection = database.collection::<Document>(collection);
    let found = collection.list_indexes().await.unwrap();
    let mut found: Vec<_> = found.try_collect().await.unwrap();
    found.sort_by_key(|index| index.options.as_ref().and_then(|options| options.name.clone()));
    let bare = |index: &mongodb::IndexModel| {
        let mut shown = doc! { "keys": index.keys.clone() };
        let options = index.options.clone().unwrap_or_default();
        shown.extend(options.unique.map(|is| ("unique".to_owned(), is.into())));
        let partial = options.partial_filter_expression;
        shown.extend(partial.map(|only| ("only".to_owned(), only.into())));
        let age = options.expire_after.map(|age| age.as_secs() as i64);
        shown.extend(age.map(|age| ("age".to_owned(), age.into())));
        shown
    };
    found.iter().map(bare).collect()
}

#[tokio::test]
async fn keeps_the_contract() {
    let server = Mongo::start().await;
    let clock = Clock::manual(START);
    let archive = connect(&server, &clock).await;
    contract::holds(&Ground::new(&archive, clock)).await;
}

/// `docs/protocols/chat.md §9`: others read these documents.
#[tokio::test]
async fn documents_and_indexes_are_those_of_the_original() {
    let server = Mongo::start().await;
    let clock = Clock::manual(START);
    let archive = connect(&server, &clock).await;
    let ground = Ground::new(&archive, clock.clone());
    let mut message = ground.private(7, 42, "ready?");
    archive.insert(message.clone()).await.unwrap();
    let database = database(&server).await;
    let messages = database.collection::<Document>("messages");
    let found = messages.find_one(doc! {}).await.unwrap().unwrap();
    let created = mongodb::bson::DateTime::from_millis(START.millis() as i64);
    let wanted = doc! {
        "_id": mongodb::bson::oid::ObjectId::from_bytes(message.id.to_bytes()),
        "room_id": "private_7_42",
        "from_user_id": 7_i64,
        "to_user_id": 42_i64,
        "message_type": 1_i64,
        "content": "ready?",
        "created_at": created,
        "updated_at": created,
    };
    assert_eq!(found, wanted);
    assert_eq!(found.get_object_id("_id").unwrap().to_hex(), message.id.to_string());

    message.id = ground.ids.mint();
    message.client_id = Some("c1".to_owned());
    archive.insert(message.clone()).await.unwrap();
    let found = messages.find_one(doc! { "client_id": "c1" }).await.unwrap();
    assert_eq!(found.unwrap().len(), wanted.len() + 1);

    // By their names.
    let expected = [
        doc! { "keys": { "_id": 1 } },
        doc! {
            "keys": { "from_user_id": 1, "client_id": 1 },
            "unique": true,
            "only": { "client_id": { "$exists": true } },
        },
        doc! { "keys": { "room_id": 1, "_id": -1 } },
        doc! { "keys": { "to_user_id": 1, "_id": -1 } },
    ];
    assert_eq!(indexes(&database, "messages").await, expected);
    let members = doc! { "keys": { "member_ids": 1 } };
    assert_eq!(indexes(&database, "groups").await[1..], [members]);

    // Go's driver writes the smallest integer that holds the number.
    let old = doc! {
        "room_id": "private_1_2",
        "from_user_id": 1_i32,
        "to_user_id": 2.0,
        "message_type": 1_i32,
        "content": "of the original",
        "created_at": created,
        "updated_at": created,
    };
    messages.insert_one(old).await.unwrap();
    let page = archive.page("private_1_2", 1, 20).await.unwrap();
    let read = &page.messages[0];
    assert_eq!((read.from, read.to, read.kind), (1, 2, 1));
    assert_eq!((&*read.content, read.created), ("of the original", START));

    let foreign = doc! { "_id": "text", "room_id": "group_1" };
    messages.insert_one(foreign).await.unwrap();
    let error = archive.page("group_1", 1, 20).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged(what) if what.contains("\"text\"")), "{error}");
}

#[tokio::test]
async fn retention_is_an_index_that_follows_the_setting() {
    let server = Mongo::start().await;
    let database = database(&server).await;
    for (days, wanted) in [(Some(30), 1), (Some(30), 1), (Some(7), 1), (None, 0), (None, 0)] {
        let retention = days.map(|days| DAY * days);
        let settings = settings(&server.uri(), retention);
        MongoArchive::connect(&settings, Clock::system()).await.unwrap();
        let found = indexes(&database, "messages").await;
        let found: Vec<_> = found.iter().filter_map(|index| index.get("age")).collect();
        assert_eq!(found.len(), wanted);
        let age = retention.map(|age| Bson::Int64(age.as_secs() as i64));
        assert_eq!(found.first().copied(), age.as_ref());
    }
}

#[tokio::test]
async fn no_server_at_the_start_is_a_clear_fault_without_secrets() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let host = Server::Host {
        host: "127.0.0.1".to_owned(),
        port,
        username: "CANARY-user".to_owned(),
        password: "CANARY-password".to_owned().into(),
    };
    let uri = format!("mongodb://CANARY-user:CANARY-password@127.0.0.1:{port}/");
    for server in [host, Server::Uri(uri.into())] {
        let settings = Settings { server, ..settings("", None) };
        assert!(!format!("{settings:?}").contains("CANARY-password"));
        let fault = MongoArchive::connect(&settings, Clock::system()).await.err();
        let fault = fault.unwrap();
        assert!(matches!(&fault, ConnectFault::Unusable { error: StoreError::Unreachable(_), .. }));
        let text = fault.to_string();
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
        assert!(!text.contains("CANARY"), "{text}");
    }
    for bad in [
        "mongodb:/CANARY",
        "http://CANARY-user:CANARY-password@127.0.0.1",
        "mongodb://CANARY-user:CANARY:password@127.0.0.1",
        "mongodb://CANARY-user:CANARY-password@127.0.0.1:port",
        "mongodb+srv://CANARY-user:CANARY-password@example.invalid",
    ] {
        let fault = MongoArchive::connect(&settings(bad, None), Clock::system()).await;
        let text = fault.err().unwrap().to_string();
        assert!(text.contains("mongodb://user:password@host"), "{text}");
        assert!(!text.contains("CANARY"), "{text}");
    }
}

/// `docs/protocols/chat.md §9`: senders are told, nothing that was acknowledged is lost, and it is found again.
#[tokio::test]
async fn the_server_is_killed_and_started_again_while_messages_flow() {
    let mut server = Mongo::start().await;
    let clock = Clock::system();
    let archive = connect(&server, &clock).await;
    let senders = (1..=8).map(|sender| send_until_found_again(&archive, clock.clone(), sender));
    let outage = async {
        let ground = Ground::new(&archive, clock.clone());
        eventually(async || {
            let page = archive.page("private_1_99", 1, 1).await.unwrap();
            (page.total > 20).then_some(())
        })
        .await;
        server.kill();
        let insert = archive.insert(ground.private(50, 51, "nobody there"));
        let both = async { tokio::join!(insert, archive.ping()) };
        let told = tokio::time::timeout(PATIENCE, both).await.expect("in time");
        assert!(matches!(told, (Err(StoreError::Unreachable(_)), Err(StoreError::Unreachable(_)))), "{told:?}");
        server.start_again().await;
    };
    let (acknowledged, ()) = tokio::join!(futures_util::future::join_all(senders), outage);

    for (sender, acknowledged) in acknowledged.into_iter().enumerate() {
        let room = format!("private_{}_99", sender + 1);
        let page = archive.page(&room, 1, 1_000_000).await.unwrap();
        let stored = page.messages.iter().rev().map(|message| &*message.content);
        assert!(stored.eq(acknowledged.iter().map(String::as_str)), "{room}");
    }
    archive.ping().await.unwrap();
}

/// Sends numbers, each again until it is acknowledged, up to ten after the first refusal; gives what was acknowledged.
async fn send_until_found_again(archive: &MongoArchive, clock: Clock, from: u64) -> Vec<String> {
    let ground = Ground::new(archive, clock);
    let (mut acknowledged, mut left) = (Vec::new(), None);
    while left != Some(0) {
        let number = acknowledged.len().to_string();
        eventually(async || {
            let message = Message { client_id: Some(number.clone()), ..ground.private(from, 99, &number) };
            match archive.insert(message).await {
                Ok(Inserted::New) => Some(()),
                Ok(Inserted::Again(known)) => {
                    assert_eq!(known.content, number);
                    Some(())
                }
                Err(StoreError::Unreachable(_)) => {
                    left = Some(10);
                    None
                }
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        acknowledged.push(number);
        left = left.map(|left| left - 1);
    }
    acknowledged
}

#[tokio::test]
async fn a_server_that_stands_still_costs_seconds_and_a_repeat_stores_nothing_twice() {
    let server = Mongo::start().await;
    let clock = Clock::system();
    let archive = connect(&server, &clock).await;
    let ground = Ground::new(&archive, clock);
    let message = || Message { client_id: Some("once".to_owned()), ..ground.private(1, 2, "once") };
    server.freeze().await;
    let refused = tokio::time::timeout(PATIENCE, archive.insert(message())).await;
    let refused = refused.expect("in time");
    assert!(matches!(refused, Err(StoreError::Unreachable(_))), "{refused:?}");
    server.thaw();
    eventually(async || archive.insert(message()).await.ok()).await;
    let page = archive.page("private_1_2", 1, 20).await.unwrap();
    assert_eq!((page.messages.len(), page.total), (1, 1));
}

#[tokio::test]
async fn a_group_is_a_document() {
    let server = Mongo::start().await;
    let archive = connect(&server, &Clock::system()).await;
    let group = Group {
        id: "group_1_7".to_owned(),
        name: "n".to_owned(),
        owner: 7,
        members: vec![7, 8],
        description: "d".to_owned(),
        created: START,
    };
    assert_eq!(archive.create_group(group.clone()).await, Ok(true));
    let database = database(&server).await;
    let groups = database.collection::<Document>("groups");
    // Somebody else's, of which no more than its members is known.
    let other = doc! { "_id": "group_2", "member_ids": [8_i32] };
    groups.insert_one(other).await.unwrap();
    let known = ["group_1_7".to_owned(), "group_2".to_owned()];
    assert_eq!(archive.groups_of(8).await, Ok(known.to_vec()));
    let found = groups.find_one(doc! { "_id": "group_1_7" }).await.unwrap();
    let found = found.unwrap();
    assert_eq!(found.get_str("_id").unwrap(), "group_1_7");
    let keys: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(keys, ["_id", "name", "owner_id", "member_ids", "description", "created_at"]);
}
