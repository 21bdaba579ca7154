//! An archive whose store is on another machine: all of it runs beside the worker threads, which must not wait for that.

use futures_util::FutureExt as _;
use tokio::runtime::Handle;

use super::{Archive, Group, Inserted, Message, MessageId, Page, Reading, embedded::EmbeddedArchive};
use crate::store::Readers;

pub struct BesideArchive {
    archive: EmbeddedArchive,
    readers: Readers,
}

impl BesideArchive {
    pub fn new(archive: EmbeddedArchive) -> Self {
        Self { archive, readers: Readers::default() }
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
        self.run(Archive::sweep)
    }
}
