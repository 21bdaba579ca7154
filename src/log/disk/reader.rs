//! Reads the past of channels from the file, by turns: no worker waits for a disk, and who asks for little does not wait
//! until somebody else has got much.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    sync::mpsc::{Sender, channel},
    thread,
};

/// One turn of a request; whether there is more to do.
type Job = Box<dyn FnMut() -> ControlFlow<()> + Send>;

/// Ends with its last user. Requests are bounded by who makes them: a channel has one at a time, an HTTP request one, a
/// transport one.
pub struct Reader(Sender<Job>);

impl Reader {
    /// Error: when there is no thread to be had.
    pub fn start() -> std::io::Result<Self> {
        let (sender, submitted) = channel::<Job>();
        let read = move || {
            let mut jobs = VecDeque::new();
            while let Some(mut job) = jobs.pop_front().or_else(|| submitted.recv().ok()) {
                // A panic costs this request, not all later ones: who waits sees that its answer was dropped.
                let turn = panic::catch_unwind(AssertUnwindSafe(&mut job));
                jobs.extend(submitted.try_iter());
                if let Ok(ControlFlow::Continue(())) = turn {
                    jobs.push_back(job);
                }
            }
        };
        thread::Builder::new().name("log-reader".into()).spawn(read)?;
        Ok(Self(sender))
    }

    /// Reads soon, in as many turns as it takes. The thread ends after its last user, so it takes what is submitted.
    pub fn submit(&self, turn: impl FnMut() -> ControlFlow<()> + Send + 'static) {
        let _ = self.0.send(Box::new(turn));
    }
}
