//! What a client missed, put into frames as its socket takes them.

use std::{rc::Rc, sync::Arc, task::Poll, vec};

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

/// Frames that are finished already.
pub struct Frames {
    frames: vec::IntoIter<Bytes>,
    worker: Rc<Worker>,
}

/// Frames that are made one by one.
pub struct Made<I> {
    frames: I,
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

impl Frames {
    pub fn new(frames: Vec<Bytes>, worker: Rc<Worker>) -> Self {
        Self { frames: frames.into_iter(), worker }
    }
}

impl Source for Frames {
    fn next(&mut self) -> Poll<Option<Vec<Bytes>>> {
        let mut left = limits::BACKLOG_PORTION;
        let mut fits = |frame: &Bytes| {
            let is_first = left == limits::BACKLOG_PORTION;
            let rest = left.checked_sub(frame.len());
            left = rest.unwrap_or_default();
            is_first || rest.is_some()
        };
        let count_of_fitting = self.frames.as_slice().iter().take_while(|frame| fits(frame)).count();
        let next: Vec<Bytes> = self.frames.by_ref().take(count_of_fitting).collect();
        Poll::Ready((!next.is_empty()).then(|| count(&self.worker, next)))
    }
}

impl<I> Made<I> {
    pub const fn new(frames: I, worker: Rc<Worker>) -> Self {
        Self { frames, worker }
    }
}

impl<I: Iterator<Item = Bytes>> Source for Made<I> {
    fn next(&mut self) -> Poll<Option<Vec<Bytes>>> {
        let (mut next, mut bytes) = (Vec::new(), 0);
        while bytes < limits::BACKLOG_PORTION
            && let Some(frame) = self.frames.next()
        {
            bytes += frame.len();
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
fn count(worker: &Worker, frames: Vec<Bytes>) -> Vec<Bytes> {
    worker.count(|counters| {
        counters.messages_out += frames.len() as u64;
        counters.bytes_out += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
    });
    frames
}
