#![allow(clippy::unwrap_used)]

use super::*;

const THREE: Bounds = Bounds { messages: 3, bytes: usize::MAX };

fn message(level: i64) -> Message {
    sized(level, 1)
}

fn sized(level: i64, bytes: usize) -> Message {
    let since = Timestamp::from_millis(1_000);
    Message { body: Bytes::from_static(b"x"), bytes, since, level, key: "".into() }
}

fn payers() -> Payers {
    Payers { all: Account::mailboxes(usize::MAX), memory: Account::server(usize::MAX) }
}

/// The number of a message that is put in, and of those that went for it.
fn put_behind(queue: &mut Queue, level: i64, on_way: u64) -> Result<(u64, Vec<u64>), Full> {
    let put = queue.put(message(level), THREE, on_way, &payers())?;
    Ok((put.number, put.displaced.iter().map(|(number, _)| *number).collect()))
}

fn put(queue: &mut Queue, level: i64) -> Result<(u64, Vec<u64>), Full> {
    put_behind(queue, level, 0)
}

fn numbers(queue: &Queue) -> Vec<u64> {
    queue.behind(0).map(|(number, _)| number).collect()
}

#[test]
fn the_lowest_level_goes_first_then_the_oldest() {
    let mut queue = Queue::default();
    for level in [1, 0, 0] {
        put(&mut queue, level).unwrap();
    }
    assert_eq!(put(&mut queue, 0), Ok((4, vec![2])));
    assert_eq!(put(&mut queue, 5), Ok((5, vec![3])));
    assert_eq!(put(&mut queue, 5), Ok((6, vec![4])));
    assert_eq!(numbers(&queue), [1, 5, 6]);
    assert_eq!(put(&mut queue, 0), Err(Full::Owner));
    assert_eq!(put(&mut queue, 1), Ok((7, vec![1])));
}

/// findings C10: a message that is refused costs no other message its room.
#[test]
fn nothing_goes_for_a_message_that_is_refused() {
    let mut queue = Queue::default();
    for level in [0, 0, 0, 5, 5, 5] {
        // More than may wait: they are on the way.
        put_behind(&mut queue, level, u64::MAX).unwrap();
    }
    assert_eq!(put(&mut queue, 0), Err(Full::Owner));
    assert_eq!(numbers(&queue), [1, 2, 3, 4, 5, 6]);
    assert_eq!(put(&mut queue, 6), Ok((7, vec![1, 2, 3, 4])));
}

#[test]
fn what_is_on_the_way_does_not_count_as_waiting() {
    let mut queue = Queue::default();
    for _ in 0..5 {
        assert_eq!(put_behind(&mut queue, 0, u64::MAX).unwrap().1, [0; 0]);
    }
    for _ in 0..3 {
        assert_eq!(put_behind(&mut queue, 0, 5).unwrap().1, [0; 0]);
    }
    assert_eq!(put_behind(&mut queue, 0, 5).unwrap().1, [6]);
}

#[test]
fn the_oldest_make_room_for_the_bytes_of_a_large_one() {
    let bounds = Bounds { messages: 3, bytes: 10 };
    let mut queue = Queue::default();
    for _ in 0..3 {
        queue.put(sized(0, 2), bounds, 0, &payers()).unwrap();
    }
    let put = queue.put(sized(0, 8), bounds, 0, &payers()).unwrap();
    assert_eq!(put.displaced.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(queue.put(sized(0, 11), bounds, 0, &payers()).unwrap_err(), Full::Owner);
    assert_eq!(numbers(&queue), [3, 4]);
}

/// findings C10: where the new one is refused, nothing has gone for it.
#[test]
fn all_owners_together_have_so_many_bytes() {
    let account = Payers { all: Account::mailboxes(10), ..payers() };
    let bounds = Bounds { messages: 1, bytes: usize::MAX };
    let [mut first, mut second] = [Queue::default(), Queue::default()];
    first.put(sized(0, 6), bounds, 0, &account).unwrap();
    second.put(sized(0, 4), bounds, 0, &account).unwrap();
    assert_eq!(second.put(sized(0, 5), bounds, 0, &account).unwrap_err(), Full::All);
    assert_eq!(numbers(&second), [1]);
    // What goes for a message gives its bytes to it.
    second.put(sized(0, 4), bounds, 0, &account).unwrap();
    assert_eq!(numbers(&second), [2]);
    assert!(first.remove(1).is_some());
    assert!(second.put(sized(0, 10), bounds, 0, &account).is_ok());
    drop(second);
    assert!(account.all.charge(Kind::Mailbox, 10).is_ok());
}

/// What is in memory is paid for by the app: the body until it is on disk, the rest as long as it waits.
#[test]
fn what_is_in_memory_is_charged_until_it_is_on_disk() {
    let memory = Account::server(2 * limits::MAILBOX_MESSAGE_COST + 100);
    let (payers, mut queue) = (Payers { memory: memory.clone(), ..payers() }, Queue::default());
    let large = |bytes| Message { body: vec![b'x'; bytes].into(), ..message(0) };
    queue.put(large(100), THREE, 0, &payers).unwrap();
    let Full::Memory(full) = queue.put(large(1), THREE, 0, &payers).unwrap_err() else { panic!("no memory") };
    assert_eq!((full.kind, full.limit), (Kind::Mailbox, memory.limit()));
    queue.start_writing(1).unwrap();
    queue.written(1).unwrap();
    assert_eq!(memory.kept(), limits::MAILBOX_MESSAGE_COST);
    queue.put(large(100), THREE, 0, &payers).unwrap();
    drop(queue);
    assert_eq!((memory.kept(), payers.all.kept()), (0, 0));
}

#[test]
fn what_is_in_memory_only_is_handed_to_the_disk_once() {
    let mut queue = Queue::default();
    for _ in 0..3 {
        put(&mut queue, 0).unwrap();
    }
    queue.remove(1);
    assert_eq!(queue.in_memory(), [2, 3]);
    for number in 1..=3 {
        assert_eq!(queue.start_writing(number).is_some(), number > 1);
    }
    assert_eq!(queue.in_memory(), [0; 0]);
    assert_eq!(queue.written(2), Some(Disk::Writing));
    queue.not_written(vec![3], None);
    let (number, first) = queue.behind(0).next().unwrap();
    assert_eq!((number, &first.body), (2, &None));
    assert_eq!(queue.in_memory(), [3]);
    assert_eq!(queue.written(1), None);
}

#[test]
fn old_messages_go_unless_they_wait_until_they_are_read() {
    let mut queue = Queue::default();
    for since in [Timestamp::from_millis(1), UNTIL_READ, Timestamp::from_millis(2), Timestamp::from_millis(3)] {
        queue.put(Message { since, ..message(0) }, Bounds::NONE, 0, &payers()).unwrap();
    }
    assert_eq!(queue.expire(Timestamp::from_millis(3)).len(), 2);
    assert_eq!(numbers(&queue), [2, 4]);
    assert_eq!(queue.expire(UNTIL_READ).len(), 1);
}

#[test]
fn a_message_is_found_by_its_key_while_it_waits() {
    let mut queue = Queue::default();
    queue.put(Message { key: "k".into(), ..message(0) }, THREE, 0, &payers()).unwrap();
    assert!(queue.has("k") && !queue.has("l"));
    queue.clear();
    assert!(queue.is_empty() && !queue.has("k"));
    assert_eq!(queue.last(), 1);
}
