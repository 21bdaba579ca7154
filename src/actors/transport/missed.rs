//! What a client missed, put into frames as its socket takes them.

use std::{iter::Peekable, rc::Rc, sync::Arc, task::Poll};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    actors::{
        fanout::{Source, TransportHandle},
        worker::Worker,
    },
    core::{
        message::Entry,
        replay::{Backlog, Read},
    },
    limits,
};

/// Frames that need nothing but to be made.
pub struct Frames<I: Iterator> {
    frames: Peekable<I>,
    worker: Rc<Worker>,
}

/// The backlog of one attachment: of its entries only those are in memory for it that are on their way to the socket.
pub struct BacklogSource<E> {
    backlog: Backlog,
    /// Instead of the rest.
    broken: Bytes,
    encode: E,
    worker: Rc<Worker>,
    handle: TransportHandle,
    /// The next entries are read from a disk, and stand here then.
    reading: Option<Arc<Mutex<Option<Read>>>>,
}

impl<I: Iterator<Item = Bytes>> Frames<I> {
    pub fn new(frames: I, worker: Rc<Worker>) -> Self {
        Self { frames: frames.peekable(), worker }
    }
}

impl<I: Iterator<Item = Bytes>> Source for Frames<I> {
    fn next(&mut self) -> Poll<Option<Vec<Bytes>>> {
        let (mut next, mut left) = (Vec::new(), limits::BACKLOG_PORTION);
        while let Some(frame) = self.frames.next_if(|frame| next.is_empty() || frame.len() <= left) {
            left = left.saturating_sub(frame.len());
            next.push(frame);
        }
        Poll::Ready((!next.is_empty()).then(|| count(&self.worker, next)))
    }
}

impl<E: FnMut(&Arc<Entry>) -> Bytes> BacklogSource<E> {
    pub const fn new(backlog: Backlog, broken: Bytes, encode: E, worker: Rc<Worker>, handle: TransportHandle) -> Self {
        Self { backlog, broken, encode, worker, handle, reading: None }
    }

    fn read(&mut self) -> Poll<Read> {
        let found = match &self.reading {
            Some(place) => place.lock().take().map_or(Poll::Pending, Poll::Ready),
            None => {
                let place = Arc::new(Mutex::new(None));
                self.reading = Some(Arc::clone(&place));
                let Backlog { past, after, upto, choice, last: _ } = &self.backlog;
                let mut later = || -> Box<dyn FnOnce(Read) + Send> {
                    let (place, handle) = (Arc::clone(&place), self.handle.clone());
                    Box::new(move |read| {
                        *place.lock() = Some(read);
                        handle.resume();
                    })
                };
                Arc::clone(past).portion(*after, *upto, choice, &mut later)
            }
        };
        if found.is_ready() {
            self.reading = None;
        }
        found
    }
}

impl<E: FnMut(&Arc<Entry>) -> Bytes> Source for BacklogSource<E> {
    fn next(&mut self) -> Poll<Option<Vec<Bytes>>> {
        while self.backlog.after.place() < self.backlog.upto.place() {
            let Poll::Ready(read) = self.read() else {
                return Poll::Pending;
            };
            let frames = match read {
                Ok(portion) => {
                    self.backlog.after = portion.upto;
                    portion.entries.iter().map(&mut self.encode).collect()
                }
                Err(_) => {
                    self.backlog.after = self.backlog.upto;
                    vec![self.broken.clone()]
                }
            };
            if !frames.is_empty() {
                return Poll::Ready(Some(count(&self.worker, frames)));
            }
        }
        Poll::Ready(None)
    }
}

/// Counts what is sent.
pub(super) fn count(worker: &Worker, frames: Vec<Bytes>) -> Vec<Bytes> {
    worker.count(|counters| {
        counters.messages_out += frames.len() as u64;
        counters.bytes_out += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
    });
    frames
}
