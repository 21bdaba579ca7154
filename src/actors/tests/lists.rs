//! Lists of channels that change while they are sent.

use std::{collections::VecDeque, sync::Arc, task::Poll};

use actix::Addr;
use bytes::Bytes;
use parking_lot::Mutex;

use super::stage::{ROOM, Stage, until};
use crate::{
    actors::{
        channels::{Channel, Listed},
        fanout::{Source, TransportHandle},
        transport::listed::ListSource,
        worker::Worker,
    },
    ids::SessionId,
    limits,
};

const BROKEN: Bytes = Bytes::from_static(b"broken");

/// What channels list in these tests, as they are asked for it; then they cannot tell.
static TOLD: Mutex<VecDeque<Arc<Numbers>>> = Mutex::new(VecDeque::new());

struct Numbers(Vec<u8>);

impl Listed for Numbers {
    async fn now(_: Addr<Channel>) -> Option<Arc<Self>> {
        TOLD.lock().pop_front()
    }
}

/// A frame for each number, as long as a portion.
fn source(stage: &Stage, list: &Arc<Numbers>) -> impl Source + use<> {
    let mut place = 0;
    let page = move |numbers: &Numbers| {
        place += 1;
        let text = vec![numbers.0[place - 1]; limits::BACKLOG_PORTION];
        (Bytes::from(text), place == numbers.0.len())
    };
    let handle = TransportHandle { hub: stage.hub_here(), session: SessionId::from_number(1) };
    ListSource::new(ROOM.into(), list, BROKEN, page, Worker::on_this_thread(&stage.broker), handle)
}

async fn next(source: &mut impl Source) -> Option<u8> {
    loop {
        if let Poll::Ready(frames) = source.next() {
            return frames.map(|frames| frames[0][0]);
        }
        tokio::task::yield_now().await;
    }
}

/// Between two pages nothing is held of a list; the next is of the list that there is then. When the channel cannot tell it, the
/// rest is said to be lost; when nobody is attached any more, nothing follows.
#[actix::test]
async fn the_next_page_is_of_the_list_that_there_is_then() {
    let stage = Stage::set();
    let attached = stage.join(0).await;
    let mut lists: Vec<Arc<Numbers>> =
        [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9; 4]].map(Numbers).map(Arc::new).into();
    let mut source_of_all = source(&stage, &lists[0]);
    assert_eq!(next(&mut source_of_all).await, Some(1));
    assert_eq!((next(&mut source_of_all).await, Arc::strong_count(&lists[0])), (Some(2), 1), "not asked for");
    TOLD.lock().push_back(Arc::clone(&lists[1]));
    lists.remove(0);
    assert_eq!((next(&mut source_of_all).await, Arc::strong_count(&lists[0])), (Some(7), 1), "asked for once");
    assert_eq!(next(&mut source_of_all).await, Some(8));
    assert_eq!(next(&mut source_of_all).await, None);

    let mut source_of_lost = source(&stage, &lists[1]);
    assert_eq!(next(&mut source_of_lost).await, Some(9));
    lists.clear();
    assert_eq!(next(&mut source_of_lost).await, Some(BROKEN[0]));
    assert_eq!(next(&mut source_of_lost).await, None);

    let list = Arc::new(Numbers(vec![1, 2]));
    let mut source_of_left = source(&stage, &list);
    drop(attached);
    until(|| !Worker::on_this_thread(&stage.broker).has(&ROOM.into())).await;
    assert_eq!(next(&mut source_of_left).await, None);
}
