//! `docs/protocols/letshare.md §3.3`: whole files between pages that behave as the app does.

use letshare_server::config::Config;
use tokio::join;

use super::page::{Page, file, sha256};
use crate::support::{Client, Server};

const MEBIBYTE: usize = 1 << 20;
const ALICE: &str = "alice:1aaaaa";
const BOB: &str = "小明:zz7aljb";
const ROOM: &str = "演示 room-1";

async fn two_pages(server: &Server) -> (Page, Page) {
    let alice = Page::join(server, ALICE, ROOM).await;
    // Encoded in the URL alone, as a browser does (§1.1).
    let client = Client::connect(server, "%E5%B0%8F%E6%98%8E:zz7aljb").await;
    let bob = Page::enter(client, BOB, ROOM).await;
    (alice, bob)
}

/// Sends one file from Alice to Bob and compares.
async fn moves(alice: &mut Page, bob: &mut Page, bytes: usize) {
    let id = format!("t-{bytes}");
    let file = file(bytes, 1);
    let hash = sha256(&file);
    alice.offer(&id, BOB, file).await;
    join!(alice.work_until(|page| page.sent(&id).is_some()), bob.work_until(|page| page.ended(&id).is_some()),);
    assert_eq!(alice.sent(&id), Some("complete"));
    assert_eq!(bob.received(&id), Some(hash));
}

fn free_for_all(config: &mut Config) {
    config.file_transfer.free_limit = 3 << 30;
}

/// §3.4's 52 MB. §3.5.8: nobody is told a `progress`; §3.3: nothing but the messages of the diagram.
#[tokio::test]
async fn fifty_two_megabytes_arrive_whole() {
    let server = Server::start(free_for_all);
    let (mut alice, mut bob) = two_pages(&server).await;
    moves(&mut alice, &mut bob, 52 * 1_000 * 1_000).await;
    for page in [&mut alice, &mut bob] {
        page.kinds.sort_unstable();
        page.kinds.dedup();
    }
    let of = |kinds: &[&str]| -> Vec<String> {
        let kind = |kind: &&str| format!("file:transfer:{kind}");
        kinds.iter().map(kind).chain(["subscribed".into()]).collect()
    };
    assert_eq!(alice.kinds, of(&["accept", "ack", "complete"]));
    assert_eq!(bob.kinds, of(&["end", "request", "start"]));
}

#[tokio::test]
async fn two_files_cross_between_the_same_pages() {
    let server = Server::start(|_| {});
    let (mut alice, mut bob) = two_pages(&server).await;
    let (to_bob, to_alice) = (file(6 * MEBIBYTE + 1, 1), file(5 * MEBIBYTE - 1, 2));
    let (at_bob, at_alice) = (sha256(&to_bob), sha256(&to_alice));
    alice.offer("t1", BOB, to_bob).await;
    bob.offer("t2", ALICE, to_alice).await;
    join!(
        alice.work_until(|page| page.sent("t1").is_some() && page.ended("t2").is_some()),
        bob.work_until(|page| page.sent("t2").is_some() && page.ended("t1").is_some()),
    );
    assert_eq!(alice.received("t2"), Some(at_alice));
    assert_eq!(bob.received("t1"), Some(at_bob));
    assert_eq!((alice.sent("t1"), bob.sent("t2")), (Some("complete"), Some("complete")));
}

/// §3.2: "a 0-byte file: one empty chunk".
#[tokio::test]
async fn small_files_one_after_the_other() {
    let server = Server::start(|_| {});
    let (mut alice, mut bob) = two_pages(&server).await;
    for bytes in [0, 1, 65_535, 65_536, 65_537] {
        moves(&mut alice, &mut bob, bytes).await;
    }
}
