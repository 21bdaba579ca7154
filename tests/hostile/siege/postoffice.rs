//! PostOffice: mailboxes that nobody empties.

use serde_json::json;

use super::{besiege, texts};
use crate::support::raw::Raw;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mailboxes_of_fresh_names() {
    besiege(&[], async |siege| {
        let attack = async |number| {
            drop(siege.postoffice(number, siege.connect(number).await?).await?);
            None::<Raw>
        };
        siege.crowd(attack).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_to_many_who_are_away() {
    besiege(&[], async |siege| {
        let known = async |number| {
            drop(siege.postoffice(number, siege.connect(number).await?).await?);
            None::<Raw>
        };
        siege.some(200, known).await;
        let to: Vec<String> = (0..200).map(|number| format!("box-{number}")).collect();
        let letter = json!({"from": "nobody", "to": to, "subject": "s", "content": "x".repeat(200_000), "type": 1});
        let letters = texts([letter.clone(), letter]);
        let attack = async |number: usize| {
            let mut raw = siege.postoffice(1_000 + number, siege.connect(1_000 + number).await?).await?;
            raw.flood(&letters).await;
            raw.linger().await;
            Some(raw)
        };
        siege.some(10, attack).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_to_readers_that_read_nothing() {
    besiege(&[], async |siege| {
        let attack = async |number| siege.postoffice(number, siege.connect_narrow(number).await?).await;
        let mut held = siege.some(900, attack).await;
        let to: Vec<String> = (0..900).map(|number| format!("box-{number}")).collect();
        let letter = json!({"from": "nobody", "to": to, "subject": "s", "content": "x".repeat(50_000), "type": 1});
        let mut raw = siege.postoffice(1_000, siege.connect(1_000).await.expect("a socket")).await.expect("a place");
        raw.flood(&texts((0..30).map(|_| letter.clone()))).await;
        raw.linger().await;
        held.push(raw);
        held
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_that_nobody_reads() {
    besiege(&[("POSTOFFICE_THREADS_PATH", "/postoffice/threads"), ("HISTORY_WINDOW", "30s")], async |siege| {
        let letter = json!({
            "from": "box-0", "to": "box-0", "subject": "s", "subjectId": "t", "content": "x".repeat(200_000), "type": 1,
        });
        let letters = texts((0..10).map(|_| letter.clone()));
        let write = async |number| {
            let mut raw = siege.postoffice(number, siege.connect(number).await?).await?;
            raw.flood(&letters).await;
            raw.linger().await;
            Some(raw)
        };
        let mut held = siege.some(1, write).await;
        let target = "/postoffice/threads?clientID=box-0&subjectId=t&limit=1000";
        held.extend(siege.ask_and_not_read(target, "Authorization: Bearer any\r\n").await);
        held
    })
    .await;
}
