use super::*;
use crate::older::group::streams::event::{MEMBERS_ADDED, MEMBERS_REMOVED, MESSAGES};

fn queue() -> Arc<Queue> {
    Queue::load(None).unwrap()
}

fn send(queue: &Arc<Queue>, stream: &'static str, payload: &str) -> Result<(), QueueFull> {
    let outgoing = Queue::prepare(queue, stream, String::new(), payload.to_owned());
    outgoing.map(Outgoing::send)
}

fn page(queue: &Queue) -> Vec<String> {
    let page = queue.take_page();
    page.into_iter().map(|job| job.payload).collect()
}

#[test]
fn a_page_is_of_one_stream_and_in_order() {
    let queue = queue();
    for (stream, payload) in [(MESSAGES, "a"), (MESSAGES, "b"), (MEMBERS_ADDED, "c"), (MESSAGES, "d")] {
        send(&queue, stream, payload).unwrap();
    }
    for expected in [&["a", "b"][..], &["c"], &["d"], &[]] {
        assert_eq!(page(&queue), expected);
    }
}

#[test]
fn a_page_is_bounded_in_entries_and_bytes() {
    let queue = queue();
    for _ in 0..=limits::STREAM_PAGE {
        send(&queue, MESSAGES, "").unwrap();
    }
    assert_eq!(page(&queue).len(), limits::STREAM_PAGE);
    assert_eq!(page(&queue).len(), 1);

    let large = "x".repeat(limits::STREAM_PAGE_BYTES / 2 + 1);
    let larger = "y".repeat(limits::STREAM_PAGE_BYTES + 1);
    for payload in [&large, &large, &larger, &large] {
        send(&queue, MESSAGES, payload).unwrap();
    }
    for expected in [&large, &large, &larger, &large] {
        assert!(page(&queue) == [expected.as_str()]);
    }
}

#[test]
fn the_bytes_that_wait_are_bounded_and_given_back() {
    let queue = queue();
    let payload = "x".repeat(limits::STREAM_QUEUE_BYTES / 2);
    send(&queue, MESSAGES, &payload).unwrap();
    let second = Queue::prepare(&queue, MESSAGES, String::new(), payload.clone()).unwrap();
    assert_eq!(send(&queue, MESSAGES, "x"), Err(QueueFull));
    drop(second);
    send(&queue, MESSAGES, "x").unwrap();
    assert_eq!(queue.waiting(), 2);
}

#[test]
fn a_row_is_read_as_it_was_written() {
    let (stream, uuid, payload) = (MEMBERS_REMOVED.into(), "u".into(), "{}\n\"".into());
    let job = Job { number: 7, has_row: true, _place: None, stream, uuid, payload };
    // As every version wrote it.
    let value = serde_json::to_vec(&job).unwrap();
    assert_eq!(value, br#"{"stream":"chat.group.member.removed","uuid":"u","payload":"{}\n\""}"#);
    let read = Job::read(&7_u64.to_be_bytes(), &value).unwrap();
    assert_eq!((read.number, &*read.stream), (7, MEMBERS_REMOVED));
    assert_eq!((read.uuid, read.payload), (job.uuid, job.payload));
    assert!(read.has_row);
    assert!(Job::read(b"short", &value).is_none());
    assert!(Job::read(&[0; 8], b"{}").is_none());
}
