//! The indexes of `docs/protocols/chat.md §9`, made at the start when they are missing.
//!
//! That over `client_id` is partial, not sparse as §9 proposes: a sparse one over two fields holds every document that
//! has one of them, and two messages of one sender without a `client_id` would be the same.

use std::time::Duration;

use mongodb::{IndexModel, bson::doc, options::IndexOptions};

use crate::store::{
    StoreError,
    archive::mongo::{
        MongoArchive,
        fault::{code, told},
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
            self.messages
                .create_index(IndexModel::builder().keys(keys).options(options).build())
                .await
                .map_err(|error| told(&error))?;
        }
        let members = IndexModel::builder().keys(doc! { "member_ids": 1 }).build();
        let made = self.groups.create_index(members).await;
        made.map_err(|error| told(&error))?;
        self.index_retention(retention).await
    }

    async fn index_retention(&self, retention: Option<Duration>) -> Result<(), StoreError> {
        if let Some(age) = retention {
            let options = IndexOptions::builder().name(RETENTION.to_owned()).expire_after(age).build();
            let index = IndexModel::builder().keys(doc! { "created_at": 1 }).options(options).build();
            match self.messages.create_index(index.clone()).await {
                Ok(_) => return Ok(()),
                // It was another time before.
                Err(error) if code(&error).is_some_and(|code| ANOTHER_INDEX.contains(&code)) => {}
                Err(error) => return Err(told(&error)),
            }
            self.drop_retention().await?;
            let made = self.messages.create_index(index).await;
            return made.map(drop).map_err(|error| told(&error));
        }
        self.drop_retention().await
    }

    async fn drop_retention(&self) -> Result<(), StoreError> {
        match self.messages.drop_index(RETENTION).await {
            Err(error) if !code(&error).is_some_and(|code| NOT_THERE.contains(&code)) => Err(told(&error)),
            _ => Ok(()),
        }
    }
}
