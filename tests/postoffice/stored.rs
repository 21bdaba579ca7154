//! `docs/protocols/postoffice.md §4`: letters for mailboxes that are away.

use std::time::Duration;

use letshare_server::{clock::Clock, config::OfflineLetters, ids::Timestamp};
use serde_json::json;

use crate::postoffice::{client::Client, server::PostOfficeServer};

async fn post(desk: &mut Client, to: &str, subject: &str) {
    desk.send(json!({"to": to, "subject": subject})).await;
}

/// In the order in which they came, before live ones.
#[tokio::test]
async fn they_wait_and_come_first() {
    let server = PostOfficeServer::start(|_| {});
    Client::connect(&server, "erp").await.leave().await;
    server.until("connections", 0).await;
    let mut desk = Client::connect(&server, "desk").await;
    for subject in ["1", "2", "3"] {
        post(&mut desk, "erp", subject).await;
    }
    server.until("stored", 3).await;
    let mut erp = Client::connect(&server, "erp").await;
    post(&mut desk, "erp", "4").await;
    for subject in ["1", "2", "3", "4"] {
        assert_eq!(erp.next().await["subject"], subject);
    }
    assert!(erp.received_so_far().await.is_empty());
    // The answer to the ping behind them empties the mailbox.
    erp.reads_until(server.until("stored", 0)).await;
    erp.leave().await;
    server.until("connections", 1).await;
    let mut erp = Client::connect(&server, "erp").await;
    assert!(erp.received_so_far().await.is_empty());
}

/// Mailboxes that are listed are there before anybody connected as them; others are not.
#[tokio::test]
async fn listed_mailboxes_are_known() {
    let server = PostOfficeServer::start(|config| config.postoffice.mailboxes = vec!["erp".into()]);
    let mut desk = Client::connect(&server, "desk").await;
    post(&mut desk, "erp", "welcome").await;
    post(&mut desk, "audit", "nobody").await;
    desk.refused("unknown_recipient").await;
    let mut erp = Client::connect(&server, "erp").await;
    assert_eq!(erp.next().await["subject"], "welcome");
}

/// More than may be on the way at once: all of them come, in order.
#[tokio::test]
async fn a_full_mailbox_is_emptied() {
    let server = PostOfficeServer::start(|config| config.postoffice.mailboxes = vec!["erp".into()]);
    let mut desk = Client::connect(&server, "desk").await;
    for number in 0..1_000 {
        post(&mut desk, "erp", &number.to_string()).await;
    }
    server.until("stored", 1_000).await;
    let mut erp = Client::connect(&server, "erp").await;
    for number in 0..1_000 {
        assert_eq!(erp.next().await["subject"], number.to_string());
    }
    assert!(erp.received_so_far().await.is_empty());
    erp.reads_until(server.until("stored", 0)).await;
}

/// The lowest level goes first, then the oldest; what is the lowest of all is not taken.
#[tokio::test]
async fn a_mailbox_that_overflows() {
    let server = PostOfficeServer::start(|config| {
        config.postoffice.mailboxes = vec!["erp".into()];
        config.postoffice.mailbox_messages = 3;
    });
    let mut desk = Client::connect(&server, "desk").await;
    for (subject, level) in [("a", 1), ("b", 0), ("c", 0), ("d", 0), ("e", 2), ("f", 3)] {
        desk.send(json!({"to": "erp", "subject": subject, "level": level})).await;
    }
    desk.send(json!({"to": "erp", "subject": "g", "level": 0, "subjectId": "t"})).await;
    let (_, about) = desk.refused("mailbox_full").await;
    assert_eq!(about, json!({"subjectId": "t", "to": "erp"}));
    let mut erp = Client::connect(&server, "erp").await;
    for subject in ["a", "e", "f"] {
        assert_eq!(erp.next().await["subject"], subject);
    }
    assert!(erp.received_so_far().await.is_empty());
    assert_eq!(server.stats().await["dropped"], 4);
}

/// findings C2: a letter that was refused as full is delivered when its sender tries again.
#[tokio::test]
async fn a_letter_that_was_refused_may_be_sent_again() {
    let server = PostOfficeServer::start(|config| {
        config.postoffice.mailboxes = vec!["erp".into()];
        config.postoffice.mailbox_messages = 1;
    });
    let mut desk = Client::connect(&server, "desk").await;
    desk.send(json!({"to": "erp", "subject": "first", "level": 1})).await;
    let again = json!({"to": "erp", "subject": "again", "id": "7"});
    desk.send(again.clone()).await;
    desk.refused("mailbox_full").await;
    let mut erp = Client::connect(&server, "erp").await;
    assert_eq!(erp.next().await["subject"], "first");
    erp.reads_until(server.until("stored", 0)).await;
    desk.send(again.clone()).await;
    assert_eq!(erp.next().await["subject"], "again");
    // Taken once it is no news any more.
    desk.send(again).await;
    assert!(desk.received_so_far().await.is_empty());
    assert!(erp.received_so_far().await.is_empty());
}

/// All mailboxes together have a bound, too.
#[tokio::test]
async fn all_mailboxes_together_are_bounded() {
    let server = PostOfficeServer::start(|config| {
        config.postoffice.mailboxes = vec!["erp".into()];
        config.postoffice.stored_bytes = 2_000;
    });
    let mut desk = Client::connect(&server, "desk").await;
    for _ in 0..2 {
        desk.send(json!({"to": "erp", "content": "x".repeat(1_200)})).await;
    }
    desk.refused("mailbox_full").await;
}

/// At most seven days.
#[tokio::test]
async fn old_letters_are_not_delivered() {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let server = PostOfficeServer::start_at(clock.clone(), |config| {
        config.postoffice.mailboxes = vec!["erp".into()];
    });
    let mut desk = Client::connect(&server, "desk").await;
    post(&mut desk, "erp", "old").await;
    server.until("stored", 1).await;
    clock.advance(Duration::from_secs(6 * 86_400));
    post(&mut desk, "erp", "younger").await;
    server.until("stored", 2).await;
    clock.advance(Duration::from_secs(86_400));
    let mut erp = Client::connect(&server, "erp").await;
    assert_eq!(erp.next().await["subject"], "younger");
}

/// A connection that is lost has not confirmed what it was sent: the next one gets it.
#[tokio::test]
async fn what_a_lost_connection_did_not_confirm_comes_again() {
    let server = PostOfficeServer::start(|config| config.postoffice.mailboxes = vec!["erp".into()]);
    let mut desk = Client::connect(&server, "desk").await;
    let erp = Client::connect(&server, "erp").await;
    server.until("connections", 2).await;
    for subject in ["1", "2"] {
        post(&mut desk, "erp", subject).await;
    }
    // It never reads, so it never answers the ping.
    assert!(desk.received_so_far().await.is_empty());
    erp.cut();
    server.until("connections", 1).await;
    // What it has sent to itself counts where letters are on Redis until they were read.
    desk.reads_until(server.until("stored", 2)).await;
    let mut erp = Client::connect(&server, "erp").await;
    assert_eq!(erp.next().await["subject"], "1");
    assert_eq!(erp.next().await["subject"], "2");
}

/// A client that leaves in order has what it was sent.
#[tokio::test]
async fn a_clean_close_confirms() {
    let server = PostOfficeServer::start(|config| config.postoffice.mailboxes = vec!["erp".into()]);
    let mut desk = Client::connect(&server, "desk").await;
    post(&mut desk, "erp", "1").await;
    server.until("stored", 1).await;
    let mut erp = Client::connect(&server, "erp").await;
    assert_eq!(erp.next().await["subject"], "1");
    erp.leave().await;
    server.until("stored", 0).await;
}

/// `offline = "drop"`: the original.
#[tokio::test]
async fn nothing_is_stored_where_that_is_off() {
    let server = PostOfficeServer::start(|config| {
        config.postoffice.mailboxes = vec!["erp".into()];
        config.postoffice.offline = OfflineLetters::Drop;
    });
    let mut desk = Client::connect(&server, "desk").await;
    post(&mut desk, "erp", "lost").await;
    assert!(desk.received_so_far().await.is_empty());
    let mut erp = Client::connect(&server, "erp").await;
    assert!(erp.received_so_far().await.is_empty());
    post(&mut desk, "erp", "live").await;
    assert_eq!(erp.next().await["subject"], "live");
}

/// A reader that does not read costs nobody else's time, and gets everything in the end.
#[tokio::test]
async fn a_reader_that_stops_gets_the_rest_later() {
    let server = PostOfficeServer::start(|_| {});
    let mut erp = Client::connect(&server, "erp").await;
    assert!(erp.received_so_far().await.is_empty());
    let mut desk = Client::connect(&server, "desk").await;
    for number in 0..900 {
        post(&mut desk, "erp", &number.to_string()).await;
    }
    assert!(desk.received_so_far().await.is_empty());
    for number in 0..900 {
        assert_eq!(erp.next().await["subject"], number.to_string());
    }
    erp.reads_until(server.until("stored", 0)).await;
}
