//! Backlogs that are read while their log goes on.

use std::{
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;

use super::stage::{ROOM, Stage};
use crate::{
    actors::{
        fanout::{Source as _, TransportHandle},
        transport::missed::BacklogSource,
        worker::Worker,
    },
    core::{
        message::{Body, Entry, EntryId, Message, Payload},
        replay::{Backlog, Choice},
    },
    ids::{SessionId, Timestamp},
    limits,
    log::ChannelLog,
};

const BROKEN: Bytes = Bytes::from_static(b"broken");

fn append(log: &mut dyn ChannelLog, size: usize) -> Arc<Entry> {
    let now = Timestamp::from_millis(1_000_000);
    let message = Message { payload: Payload::json(ByteString::from("x".repeat(size))), ..Message::default() };
    let body = Body::Messages(vec![message]);
    let entry = Arc::new(Entry::new(ROOM.into(), log.mint().mint(now), now, None, EntryId::Serial, body));
    let appended = log.append(Duration::ZERO, Arc::clone(&entry), &mut || unreachable!("a log in memory"));
    assert!(matches!(appended, Poll::Ready(Ok(()))));
    entry
}

/// findings B1: of a backlog nothing is held that is not on its way; what the log has lost meanwhile is said to be lost, and
/// then the backlog is over.
#[actix::test]
async fn a_backlog_that_is_lost_is_said_to_be() {
    let stage = Stage::set();
    let mut log = stage.broker.log.open(&ROOM.into());
    let all: Vec<_> = (0..4).map(|_| append(&mut *log, 12_000)).collect();
    assert!(3 * all[0].cost() > limits::BACKLOG_PORTION && 2 * all[0].cost() < limits::BACKLOG_PORTION);
    for is_lost in [false, true] {
        let backlog = Backlog {
            past: log.past(),
            after: all[0].serial.before(),
            upto: all[3].serial,
            choice: Choice::all(),
            last: Weak::default(),
        };
        let encode = |entry: &Arc<Entry>| Bytes::from(entry.serial.to_string());
        let handle = TransportHandle { hub: stage.hub_here(), session: SessionId::from_number(1) };
        let mut source = BacklogSource::new(backlog, BROKEN, encode, Worker::on_this_thread(&stage.broker), handle);
        let frames = |from: usize, to: usize| all[from..to].iter().map(&encode).collect::<Vec<_>>();
        assert_eq!(source.next(), Poll::Ready(Some(frames(0, 3))));
        if is_lost {
            // The log and this test hold each entry, and nobody else.
            assert!(all.iter().all(|entry| Arc::strong_count(entry) == 2));
            assert!(log.give_up(usize::MAX));
            assert_eq!(source.next(), Poll::Ready(Some(vec![BROKEN])));
        } else {
            assert_eq!(source.next(), Poll::Ready(Some(frames(3, 4))));
        }
        assert_eq!(source.next(), Poll::Ready(None));
    }
}
