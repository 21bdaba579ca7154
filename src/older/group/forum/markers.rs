//! How far a member has read (`docs/protocols/group.md §6`, `mark_read`).

use std::sync::Arc;

use super::{Answer, Forum};
use crate::{
    older::group::{
        code::Code,
        reply::{self, Reply},
        shelf,
    },
    store::{Batch, StoreError},
};

impl Forum {
    /// Moves a user's marker forward; the answer comes by the peer when it is on disk.
    ///
    /// # Errors
    /// [`Code::NoGroup`], [`Code::NotMember`], [`Code::NoMessage`].
    pub fn mark_read(self: &Arc<Self>, group: &str, user: &str, message: &str, answer: Answer) -> Result<(), Code> {
        self.check_member(group, user)?;
        let (number, of) = self.find(message)?;
        if of != group {
            return Err(Code::NoMessage);
        }
        let _changing = self.changing.lock();
        let before = self.registry.write().mark(group, user, number);
        let mut batch = Batch::new();
        if before.is_some() {
            batch = shelf::put_marker(batch, group, user, number);
        }
        let forum = Arc::clone(self);
        let (group, user, message) = (group.to_owned(), user.to_owned(), message.to_owned());
        // Also when nothing is written: what was written a moment ago is on disk by then.
        let done = Box::new(move |outcome: Result<_, StoreError>| {
            let Answer { handle, id } = answer;
            let reply = Reply { id: &id, now: forum.clock.now() };
            match outcome {
                Ok(_) => {
                    handle.send(vec![reply.ack(&id, true)]);
                    if before.is_some() && forum.settings.read_events {
                        let frame = reply::read(&group, &message, reply.now);
                        let others = forum.roll.of(&user).into_iter();
                        let others = others.filter(|other| other.handle.session != handle.session);
                        others.for_each(|other| other.handle.send(vec![frame.clone()]));
                    }
                }
                Err(error) => {
                    if let Some(before) = before {
                        forum.registry.write().unmark(&group, &user, number, before);
                    }
                    let code = forum.not_stored(&error);
                    forum.figures.refused(code);
                    handle.send(vec![reply.error(code), reply.ack(&id, false)]);
                }
            }
        });
        self.shelf.submit(batch, done);
        Ok(())
    }
}
