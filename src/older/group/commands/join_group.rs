//! `join_group`: this connection gets the messages of a group (`docs/protocols/group.md §4, §5`).

use super::Request;
use crate::older::group::{
    code::Code,
    frame::{Data, filled},
    socket::Socket,
};

#[derive(Debug, PartialEq, Eq)]
pub struct JoinGroup {
    group: String,
}

impl JoinGroup {
    pub fn parse(data: Data<'_>) -> Result<Self, Code> {
        Ok(Self { group: filled(data.group_id, "group_id")? })
    }

    pub fn run(self, socket: &mut Socket, request: &mut Request<'_, '_>) -> Result<(), Code> {
        let groups = &socket.shared.groups;
        groups.admit(&self.group, &socket.user()?).map_err(|code| match code {
            Code::NoGroup => Code::NoGroupToJoin(groups.settings.api_path.trim_end_matches('/').to_owned()),
            code => code,
        })?;
        let ack = request.reply().ack(request.id, true);
        socket.join(&self.group, ack, request.transport)
    }
}
