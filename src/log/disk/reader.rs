//! The thread that reads the past of channels from the file, one request after the other: no worker waits for a disk.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::mpsc::{Sender, channel},
    thread,
};

type Job = Box<dyn FnOnce() + Send>;

/// Ends with its last user. Requests are bounded by who makes them: a channel has one at a time, an HTTP request one.
pub struct Reader(Sender<Job>);

impl Reader {
    /// # Errors
    /// When there is no thread to be had.
    pub fn start() -> std::io::Result<Self> {
        let (sender, jobs) = channel::<Job>();
        let read = move || {
            for job in jobs {
                // A panic costs this request, not all later ones: who waits sees that its answer was dropped.
                let _ = panic::catch_unwind(AssertUnwindSafe(job));
            }
        };
        thread::Builder::new().name("log-reader".into()).spawn(read)?;
        Ok(Self(sender))
    }

    /// Reads soon. The thread ends after its last user, so it takes what is submitted.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        let _ = self.0.send(Box::new(job));
    }
}
