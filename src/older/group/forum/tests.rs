#![allow(clippy::unwrap_used)]

use std::{sync::mpsc, time::Duration};

use super::*;
use crate::{
    config::Config,
    store::{Done, Row, Scheduled},
};

/// A disk whose lists wait until they are let go on.
struct SlowStore {
    is_slow: std::sync::atomic::AtomicBool,
    asked: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Store for SlowStore {
    fn submit(&self, _: Batch, done: Done<Committed>) {
        done(Ok(Committed::default()));
    }

    fn get(&self, _: &str, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn list(&self, _: &str, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<Row>, StoreError> {
        if self.is_slow.load(Ordering::Relaxed) {
            self.asked.send(()).unwrap();
            let waited = self.go_on.lock().recv_timeout(Duration::from_secs(20));
            waited.map_err(|_| StoreError::Busy)?;
        }
        Ok(Vec::new())
    }

    fn due(&self, _: &str, _: Timestamp, _: usize) -> Result<Vec<Scheduled>, StoreError> {
        Ok(Vec::new())
    }

    fn cursor(&self, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// findings C3: while the disk is asked what a user has not read or has missed, the worker thread goes on.
#[tokio::test]
async fn reads_do_not_hold_up_their_worker() {
    let (asked, was_asked) = mpsc::channel();
    let (let_go, go_on) = mpsc::channel();
    let store = Arc::new(SlowStore { is_slow: false.into(), asked, go_on: Mutex::new(go_on) });
    let settings = Config::defaults().unwrap().group;
    let forum = Forum::open(&settings, Arc::clone(&store) as Arc<_>, Clock::system(), None).unwrap();
    forum.make("g", None, None, &[Enrolment { user: "7".into(), ..Enrolment::default() }]).await.unwrap();
    store.is_slow.store(true, Ordering::Relaxed);
    let (one, other) = (Arc::clone(&forum), Arc::clone(&forum));
    let unread = tokio::spawn(async move { one.beside(|forum| forum.unread("g", "7")).await });
    let missed = tokio::spawn(async move { other.beside(|forum| forum.missed("7", 0, 10)).await });
    // This task and those run on one thread: it comes here only while they wait.
    let mut begun = 0;
    while begun == 0 {
        tokio::task::yield_now().await;
        begun += was_asked.try_iter().count();
    }
    let_go.send(()).unwrap();
    let_go.send(()).unwrap();
    assert_eq!(unread.await.unwrap(), Ok(0));
    assert!(missed.await.unwrap().unwrap().messages.is_empty());
}
