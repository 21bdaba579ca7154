//! `leave_group`: this connection gets no more of a group; its user stays a member (`docs/protocols/group.md §4, §6`).

use super::Request;
use crate::older::group::{
    code::Code,
    frame::{Data, filled},
    message::group_channel,
};

#[derive(Debug, PartialEq, Eq)]
pub struct LeaveGroup {
    group: String,
}

impl LeaveGroup {
    pub fn parse(data: Data<'_>) -> Result<Self, Code> {
        Ok(Self { group: filled(data.group_id, "group_id")? })
    }

    pub fn run(self, request: &mut Request<'_, '_>) -> Result<(), Code> {
        let ack = request.reply().ack(request.id, true);
        // Also where it never was.
        if request.transport.detach(&group_channel(&self.group), 0, ack.clone()).is_err() {
            request.transport.send_frame(ack);
        }
        Ok(())
    }
}
