//! An archive whose store is on another machine: all of it runs beside the worker threads, which must not wait for that.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;

use super::{Archive, Group, Inserted, Message, MessageId, Page, Reading, embedded::EmbeddedArchive};
use crate::store::Readers;

pub struct BesideArchive {
    archive: EmbeddedArchive,
    readers: Readers,
}

impl BesideArchive {
    /// Every call is answered within the deadline, its turn among the others included.
    pub fn new(archive: EmbeddedArchive, deadline: Duration) -> Self {
        Self { archive, readers: Readers::within(deadline) }
    }

    fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&EmbeddedArchive) -> Reading<'_, T> + Send + 'static,
    ) -> Reading<'_, T> {
        let archive = self.archive.clone();
        async move { self.readers.read(move || Handle::current().block_on(call(&archive))).await? }.boxed()
    }
}

impl Archive for BesideArchive {
    fn insert(&self, message: Message) -> Reading<'_, Inserted> {
        self.run(move |archive| archive.insert(message))
    }

    fn find(&self, id: MessageId) -> Reading<'_, Option<Message>> {
        self.run(move |archive| archive.find(id))
    }

    fn page(&self, room: &str, page: u64, size: usize) -> Reading<'_, Page> {
        let room = room.to_owned();
        self.run(move |archive| archive.page(&room, page, size))
    }

    fn missed(&self, to: u64, after: Option<MessageId>, limit: usize) -> Reading<'_, Vec<Message>> {
        self.run(move |archive| archive.missed(to, after, limit))
    }

    fn seen(&self, user: u64) -> Reading<'_, Option<MessageId>> {
        self.run(move |archive| archive.seen(user))
    }

    fn set_seen(&self, user: u64, message: MessageId) -> Reading<'_, ()> {
        self.run(move |archive| archive.set_seen(user, message))
    }

    fn create_group(&self, group: Group) -> Reading<'_, bool> {
        self.run(move |archive| archive.create_group(group))
    }

    fn add_members(&self, group: &str, users: Vec<u64>) -> Reading<'_, ()> {
        let group = group.to_owned();
        self.run(move |archive| archive.add_members(&group, users))
    }

    fn group(&self, id: &str) -> Reading<'_, Option<Group>> {
        let id = id.to_owned();
        self.run(move |archive| archive.group(&id))
    }

    fn groups_of(&self, user: u64) -> Reading<'_, Vec<String>> {
        self.run(move |archive| archive.groups_of(user))
    }

    fn take_part(&self, room: &str, users: Vec<u64>) -> Reading<'_, ()> {
        let room = room.to_owned();
        self.run(move |archive| archive.take_part(&room, users))
    }

    fn participants(&self, room: &str) -> Reading<'_, Vec<u64>> {
        let room = room.to_owned();
        self.run(move |archive| archive.participants(&room))
    }

    fn took_part(&self, room: &str, user: u64) -> Reading<'_, bool> {
        let room = room.to_owned();
        self.run(move |archive| archive.took_part(&room, user))
    }

    fn ping(&self) -> Reading<'_, ()> {
        self.run(Archive::ping)
    }

    fn sweep(&self) -> Reading<'_, ()> {
        let archive = self.archive.clone();
        let sweep = move || Handle::current().block_on(archive.sweep());
        async move { self.readers.read_to_the_end(sweep).await? }.boxed()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::{
        clock::Clock,
        limits,
        store::{Batch, StoreError, archive::Ids, faulty::FaultyDisk},
    };

    /// However many wait for a store that hangs; and whose turn has not come by then does nothing later.
    #[tokio::test]
    async fn every_call_is_answered_within_the_deadline() {
        let (disk, clock) = (FaultyDisk::default(), Clock::system());
        let store = disk.store();
        let archive = EmbeddedArchive::new(store.clone(), clock.clone(), None);
        let archive = BesideArchive::new(archive, Duration::from_millis(200));
        let ids = Ids::new(clock.clone());
        disk.hold();
        let inserts = (0..2 * limits::READERS).map(|_| {
            let (id, room, created) = (ids.mint(), "private_7_8".to_owned(), clock.now());
            archive.insert(Message {
                id,
                room,
                from: 7,
                to: 8,
                kind: 1,
                content: "late".into(),
                created,
                client_id: None,
            })
        });
        for inserted in join_all(inserts).await {
            assert_eq!(inserted, Err(StoreError::Late));
        }
        disk.release();
        store.commit(Batch::new()).await.unwrap();
        assert_eq!(archive.page("private_7_8", 1, 20).await.unwrap().total, limits::READERS as u64);
    }
}
