//! The one thread that writes: group commit. Whatever waits is written in one transaction and answered after its sync, in
//! the order in which it was handed in.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    clock::{Clock, OncePerSecond},
    limits,
    store::{
        Done, StoreError,
        engine::{DataFile, Work},
    },
};

/// Something to write.
pub struct Job {
    pub bytes: usize,
    pub work: Work,
    pub done: Done<()>,
}

/// Hands jobs to the thread.
pub struct Writer {
    /// None once it is stopped.
    queue: Mutex<Option<Sender<Job>>>,
    waiting: Arc<Waiting>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What waits or is being written.
#[derive(Default)]
struct Waiting {
    jobs: AtomicUsize,
    bytes: AtomicUsize,
    /// How long commits have taken, all together, in microseconds.
    committing: AtomicU64,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.jobs.load(Ordering::Relaxed) >= limits::STORE_QUEUE_JOBS
            || self.bytes.load(Ordering::Relaxed) >= limits::STORE_QUEUE_BYTES
    }
}

impl Writer {
    pub fn start(file: Arc<DataFile>, clock: Clock) -> Result<Self, StoreError> {
        let (queue, jobs) = channel();
        let waiting = Arc::<Waiting>::default();
        let thread =
            WriterThread { file, clock, jobs, waiting: Arc::clone(&waiting), warning: OncePerSecond::default() };
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(|| thread.run())
            .map_err(|error| StoreError::Io(error.to_string().into()))?;
        Ok(Self { queue: Mutex::new(Some(queue)), waiting, thread: Mutex::new(Some(thread)) })
    }

    pub fn submit(&self, job: Job) {
        if self.waiting.is_full() {
            return (job.done)(Err(StoreError::Busy));
        }
        self.waiting.jobs.fetch_add(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_add(job.bytes, Ordering::Relaxed);
        let queue = self.queue.lock();
        let refused = match queue.as_ref() {
            Some(queue) => queue.send(job).err().map(|unsent| unsent.0),
            None => Some(job),
        };
        drop(queue);
        if let Some(job) = refused {
            (job.done)(Err(StoreError::Closed));
        }
    }

    /// Has the writer look at the file, although there is nothing to write.
    pub fn wake(&self) {
        let (work, done): (Work, Done<()>) = (Box::new(|_| Ok(())), Box::new(drop));
        let bytes = 0;
        self.submit(Job { bytes, work, done });
    }

    pub fn committing(&self) -> Duration {
        Duration::from_micros(self.waiting.committing.load(Ordering::Relaxed))
    }

    /// Writes what waits, then ends.
    pub fn stop(&self) {
        drop(self.queue.lock().take());
        if let Some(thread) = self.thread.lock().take()
            // The thread itself may drop the last handle, when it answers a job.
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// The thread's own side.
struct WriterThread {
    file: Arc<DataFile>,
    clock: Clock,
    jobs: Receiver<Job>,
    waiting: Arc<Waiting>,
    warning: OncePerSecond,
}

impl WriterThread {
    fn run(self) {
        // As many as the last time are likely to come again at once: those that were answered just now.
        let mut expected = 1;
        while let Ok(first) = self.jobs.recv() {
            let batch = self.gather(first, expected);
            expected = batch.len();
            self.write(batch);
        }
    }

    /// What is to be committed together with `first`.
    fn gather(&self, first: Job, expected: usize) -> Vec<Job> {
        let deadline = self.clock.uptime() + limits::COMMIT_WAIT;
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < limits::COMMIT_JOBS && bytes < limits::COMMIT_BYTES {
            let job = if batch.len() < expected {
                let left = deadline.saturating_sub(self.clock.uptime());
                match self.jobs.recv_timeout(left) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            } else {
                match self.jobs.try_recv() {
                    Ok(job) => job,
                    Err(_) => break,
                }
            };
            bytes += job.bytes;
            batch.push(job);
        }
        batch
    }

    fn write(&self, mut batch: Vec<Job>) {
        let mut failed = Vec::new();
        let mut works: Vec<&mut Work> = batch.iter_mut().map(|job| &mut job.work).collect();
        let began = self.clock.uptime();
        let outcome = self.file.commit(&mut works, &mut failed);
        let micros = self.clock.uptime().saturating_sub(began).as_micros();
        self.waiting.committing.fetch_add(u64::try_from(micros).unwrap_or(0), Ordering::Relaxed);
        if let Err(error) = &outcome
            && let Some(more) = self.warning.allows(&self.clock)
        {
            tracing::error!(%error, writes = batch.len(), more, "the data folder took nothing; what was to be written is refused");
        }
        for (index, job) in batch.into_iter().enumerate() {
            self.waiting.jobs.fetch_sub(1, Ordering::Relaxed);
            self.waiting.bytes.fetch_sub(job.bytes, Ordering::Relaxed);
            let own = failed.iter().find(|(failed, _)| *failed == index);
            let own = own.map(|(_, error)| Err(error.clone()));
            answer(job.done, own.unwrap_or_else(|| outcome.clone()));
        }
    }
}

/// Answers one job. A panic in what it does then must not end this one thread: the others in the batch wait for their
/// answers.
fn answer(done: Done<()>, outcome: Result<(), StoreError>) {
    // The panic hook has logged where and why.
    if panic::catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err() {
        tracing::error!("what was to follow a write has panicked; the writer goes on");
    }
}
