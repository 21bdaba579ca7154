//! `mark_read`: how far a member has read (`docs/protocols/group.md §4, §6`).

use std::sync::Arc;

use super::Request;
use crate::older::group::{
    code::Code,
    frame::{Data, filled},
    groups::{AnswerTo, Groups},
    reply,
    socket::Socket,
};

#[derive(Debug, PartialEq, Eq)]
pub struct MarkRead {
    pub group: String,
    pub message: String,
}

impl MarkRead {
    pub fn parse(data: Data<'_>) -> Result<Self, Code> {
        let message = data.message();
        Ok(Self { group: filled(data.group_id, "group_id")?, message: message? })
    }

    pub fn run(self, socket: &Socket, request: &Request<'_, '_>) -> Result<(), Code> {
        socket.shared.groups.mark_read(self, &*socket.user()?, request.answer_to())
    }
}

impl Groups {
    /// Moves a user's marker forward; the answer comes when it is on disk.
    fn mark_read(self: &Arc<Self>, command: MarkRead, user: &str, answer: AnswerTo) -> Result<(), Code> {
        let MarkRead { group, message } = command;
        self.check_member(&group, user)?;
        let number = self.find_in(&group, &message)?;
        let (groups, user) = (Arc::clone(self), user.to_owned());
        self.move_marker(&group.clone(), &user.clone(), number, move |has_moved, outcome| {
            let outcome = outcome.map_err(|error| groups.not_stored(error));
            groups.answer(&answer, &answer.id, &outcome);
            if outcome.is_ok() && has_moved && groups.settings.read_events {
                let frame = reply::read(&group, &message, groups.clock.now());
                for (other, _) in groups.connections_of(&user) {
                    if other.session != answer.handle.session {
                        other.send(vec![frame.clone()]);
                    }
                }
            }
        });
        Ok(())
    }
}
