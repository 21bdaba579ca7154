//! The indexes of `docs/protocols/chat.md §9`, made at the start when they are missing.
//!
//! That over `client_id` is partial, not sparse as §9 proposes: a sparse one over two fields holds every document that
//! has one of them, and two messages of one sender without a `client_id` would be the same.

use std::time::Duration;

use mongodb::{
    Collection, IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};

use crate::{
    limits,
    store::{
        StoreError,
        archive::mongo::{MongoArchive, fault::code},
    },
};

/// What a drop of an index says that is not there.
const NOT_THERE: [i32; 2] = [26, 27];
/// What making an index says when there is another one of its name or its keys.
const ANOTHER_INDEX: [i32; 2] = [85, 86];
/// The TTL index, which comes and goes with the setting.
const RETENTION: &str = "retention";

impl MongoArchive {
    pub(super) async fn index(&self, retention: Option<Duration>) -> Result<(), StoreError> {
        let once = IndexOptions::builder()
            .name("client_id_once".to_owned())
            .unique(true)
            .partial_filter_expression(doc! { "client_id": { "$exists": true } })
            .build();
        let indexes = [
            (doc! { "room_id": 1, "_id": -1 }, None),
            (doc! { "to_user_id": 1, "_id": -1 }, None),
            (doc! { "from_user_id": 1, "client_id": 1 }, Some(once)),
        ];
        for (keys, options) in indexes {
            self.messages.create_index(IndexModel::builder().keys(keys).options(options).build()).await?;
        }
        let members = IndexModel::builder().keys(doc! { "member_ids": 1 }).build();
        self.groups.create_index(members).await?;
        keep_for(&self.messages, "created_at", retention).await?;
        // They are touched at least every hour in which the group has messages.
        let longer = retention.map(|age| age + limits::CHAT_PARTICIPANTS_TOUCHED);
        keep_for(&self.participants, "updated_at", longer).await
    }
}

/// The TTL index of a collection is as the setting says; none: what is in it stays.
async fn keep_for(
    collection: &Collection<Document>,
    field: &str,
    retention: Option<Duration>,
) -> Result<(), StoreError> {
    let Some(age) = retention else {
        return drop_retention(collection).await;
    };
    let options = IndexOptions::builder().name(RETENTION.to_owned()).expire_after(age).build();
    let index = IndexModel::builder().keys(doc! { field: 1 }).options(options).build();
    match collection.create_index(index.clone()).await {
        Ok(_) => return Ok(()),
        // It was another time before.
        Err(error) if code(&error).is_some_and(|code| ANOTHER_INDEX.contains(&code)) => {}
        Err(error) => return Err(error.into()),
    }
    drop_retention(collection).await?;
    collection.create_index(index).await?;
    Ok(())
}

async fn drop_retention(collection: &Collection<Document>) -> Result<(), StoreError> {
    match collection.drop_index(RETENTION).await {
        Err(error) if !code(&error).is_some_and(|code| NOT_THERE.contains(&code)) => Err(error.into()),
        _ => Ok(()),
    }
}
