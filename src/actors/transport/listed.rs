//! What a channel lists, page by page as a socket takes it.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, Weak},
    task::Poll,
};

use bytes::Bytes;

use super::missed::count;
use crate::{
    actors::{
        channels::Listed,
        fanout::{Source, TransportHandle},
        worker::Worker,
    },
    ids::ChannelName,
    limits,
};

/// Where a channel's answer will stand: the list, or none if it cannot be told.
type Answer<T> = Rc<Cell<Option<Option<Arc<T>>>>>;

/// Keeps no list while it waits for the socket, however long: the next page is of the list that there is then, so a thousand
/// readers that have stopped cost no more than one.
pub struct ListSource<T, P> {
    /// As it was last seen.
    list: Weak<T>,
    /// The channel was asked for another.
    asked: Option<Answer<T>>,
    channel: ChannelName,
    /// Writes the next frame, and says whether it is the last.
    page: P,
    is_over: bool,
    /// Instead of the rest.
    broken: Bytes,
    worker: Rc<Worker>,
    handle: TransportHandle,
}

impl<T: Listed, P: FnMut(&T) -> (Bytes, bool)> ListSource<T, P> {
    pub fn new(
        channel: ChannelName,
        list: &Arc<T>,
        broken: Bytes,
        page: P,
        worker: Rc<Worker>,
        handle: TransportHandle,
    ) -> Self {
        Self { list: Arc::downgrade(list), asked: None, channel, page, is_over: false, broken, worker, handle }
    }

    /// The list as it is; none: there is none any more, or it cannot be told.
    fn list(&mut self) -> Poll<Option<Arc<T>>> {
        if let Some(list) = self.list.upgrade() {
            return Poll::Ready(Some(list));
        }
        let Some(place) = &self.asked else { return self.ask() };
        let Some(answer) = place.take() else { return Poll::Pending };
        self.asked = None;
        self.list = answer.as_ref().map(Arc::downgrade).unwrap_or_default();
        Poll::Ready(answer)
    }

    /// One question of a connection is on its way at most, so the mailbox of a channel need not bound them.
    fn ask(&mut self) -> Poll<Option<Arc<T>>> {
        let Ok(channel) = self.worker.channel(&self.channel, None) else { return Poll::Ready(None) };
        let (place, handle) = (Rc::new(Cell::new(None)), self.handle.clone());
        self.asked = Some(Rc::clone(&place));
        actix_rt::spawn(async move {
            place.set(Some(T::now(channel).await));
            handle.resume();
        });
        Poll::Pending
    }
}

impl<T: Listed, P: FnMut(&T) -> (Bytes, bool)> Source for ListSource<T, P> {
    fn next(&mut self) -> Poll<Option<Vec<Bytes>>> {
        // Nobody of this thread is attached any more: the client has detached.
        if self.is_over || !self.worker.has(&self.channel) {
            return Poll::Ready(None);
        }
        let Poll::Ready(list) = self.list() else { return Poll::Pending };
        let (mut frames, mut bytes) = (Vec::new(), 0);
        if list.is_none() {
            self.is_over = true;
            frames.push(self.broken.clone());
        }
        while let Some(list) = list.as_ref().filter(|_| !self.is_over && bytes < limits::BACKLOG_PORTION / 2) {
            let (frame, is_last) = (self.page)(list);
            self.is_over = is_last;
            bytes += frame.len();
            frames.push(frame);
        }
        Poll::Ready(Some(count(&self.worker, frames)))
    }
}
