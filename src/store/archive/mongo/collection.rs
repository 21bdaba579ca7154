//! A collection of any database as a source of rows ([`crate::store::import`]). The driver reads on a thread of its own, a few
//! documents ahead.

use std::{sync::mpsc, thread};

use futures_util::TryStreamExt as _;
use mongodb::{
    Client,
    bson::{Bson, Document, doc},
};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::{Server, options};
use crate::{
    limits,
    store::{
        StoreError,
        import::{Kind, Place, Record, Row, Source},
    },
};

type Rows = mpsc::SyncSender<Result<Row, String>>;

/// The collection that is called as `kind` is; one that is not there is empty.
///
/// # Errors
/// For the operator: the URI is wrong or names no database, or the database cannot be reached.
pub fn collection(uri: SecretString, kind: Kind) -> Result<Source, String> {
    let (counted, total) = mpsc::sync_channel(1);
    let (rows, read) = mpsc::sync_channel(limits::IMPORT_ROWS);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let run = move || {
        runtime.block_on(async move {
            if let Err(error) = send(uri, kind, &counted, &rows).await {
                // Whoever waits for neither has given up.
                let _ = counted.send(Err(error.clone()));
                let _ = rows.send(Err(error));
            }
        });
    };
    thread::Builder::new().name("mongodb".to_owned()).spawn(run).map_err(|error| error.to_string())?;
    let total = total.recv().map_err(|_| "the thread of the MongoDB driver has ended".to_owned())??;
    Ok(Source { kind, total, rows: Box::new(read.into_iter()) })
}

async fn send(
    uri: SecretString,
    kind: Kind,
    counted: &mpsc::SyncSender<Result<u64, String>>,
    rows: &Rows,
) -> Result<(), String> {
    let text = |error: mongodb::error::Error| format!("MongoDB: {}", StoreError::from(error));
    let options = options(&Server::Uri(uri)).await.map_err(|fault| fault.to_string())?;
    let database = options.default_database.clone();
    let database = database.ok_or("the MongoDB URI names no database: mongodb://host:27017/database")?;
    let collection =
        Client::with_options(options).map_err(text)?.database(&database).collection::<Document>(kind.name());
    let count = collection.estimated_document_count().await.map_err(text)?;
    let _ = counted.send(Ok(count));
    // In the order in which they were made, as far as their ids tell.
    let mut cursor = collection.find(doc! {}).sort(doc! { "_id": 1 }).await.map_err(text)?;
    let mut done = 0;
    while let Some(document) = cursor.try_next().await.map_err(text)? {
        done += 1;
        let at = document.get("_id").cloned().map_or(Value::Null, plain);
        let at = at.as_str().map_or_else(|| at.to_string(), str::to_owned);
        let place = Place { source: format!("{database}.{}", kind.name()).into(), at };
        let fields: Map<String, Value> = document.into_iter().map(|(name, value)| (name, plain(value))).collect();
        if rows.send(Ok(Row { place, record: Ok(Record::new(fields)), done })).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// As JSON has it; what JSON has no form for is nothing.
fn plain(value: Bson) -> Value {
    match value {
        Bson::String(text) | Bson::Symbol(text) => Value::String(text),
        Bson::ObjectId(id) => Value::String(id.to_hex()),
        Bson::DateTime(date) => date.try_to_rfc3339_string().map_or(Value::Null, Value::String),
        Bson::Int32(number) => number.into(),
        Bson::Int64(number) => number.into(),
        Bson::Double(number) => number.into(),
        Bson::Boolean(value) => value.into(),
        Bson::Array(values) => values.into_iter().map(plain).collect(),
        Bson::Document(fields) => Value::Object(fields.into_iter().map(|(name, value)| (name, plain(value))).collect()),
        _ => Value::Null,
    }
}
