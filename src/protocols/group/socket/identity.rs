//! Saying who one is, by the first message (`docs/protocols/group.md §4, §5, §9`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Identity, NO_ROOM, Socket, UNAUTHORIZED, resume::Resuming};
use crate::{
    actors::{link::Link, refusals::Reason},
    limits,
    protocols::group::{
        code::Code,
        frame::Credentials,
        post::{group_channel, user_channel},
        reply::Reply,
        roll::Visitor,
    },
};

impl Socket {
    pub(super) fn authenticate(&mut self, shown: &Credentials, id: &str, link: &mut Link<'_>) -> Result<(), Code> {
        let reply = Reply { id, now: link.now() };
        let pass = match self.shared.access.get().check(&shown.token, &self.shared.forum.clock) {
            Ok(pass) => pass,
            Err(denied) => {
                link.count_error();
                let why = || "group: the token of a connection is refused".to_owned();
                link.worker().broker.refused(Reason::Token, Some(self.address), why);
                self.shared.note_failure(self.address);
                link.send_frame(reply.auth_failed(denied.reason.as_deref()));
                self.attempts += 1;
                if self.attempts >= limits::GROUP_AUTH_ATTEMPTS {
                    link.close(UNAUTHORIZED);
                }
                return Ok(());
            }
        };
        if let Some(identity) = &mut self.identity {
            if identity.user != pass.user {
                return Err(Code::OtherUser);
            }
            identity.expires = pass.expires;
            link.send_frame(reply.auth_success(&pass.user, None));
            self.wake_at_the_end(link);
            return Ok(());
        }
        let visitor = Arc::new(Visitor::new(link.peer(), link.connection()));
        self.identity =
            Some(Identity { user: Arc::clone(&pass.user), expires: pass.expires, visitor: Arc::clone(&visitor) });
        self.shared.forum.enter(&pass.user, visitor);
        self.wake_at_the_end(link);
        self.is_tailored = shown.last_message.is_some();
        let groups = self.shared.forum.groups_of(&pass.user);
        let groups = groups.iter().map(|group| group_channel(group));
        let channels: Vec<_> = groups.chain([user_channel(&pass.user)]).collect();
        for channel in &channels {
            if self.attach(channel, Bytes::new(), link).is_err() {
                // It would miss messages in silence.
                link.close(NO_ROOM);
                return Ok(());
            }
        }
        match &shown.last_message {
            None => link.send_frame(reply.auth_success(&pass.user, None)),
            Some(last) => self.resuming = Some(Resuming::new(id, last, channels)),
        }
        Ok(())
    }

    pub(super) fn wake_at_the_end(&self, link: &mut Link<'_>) {
        if let Some(expires) = self.identity.as_ref().and_then(|identity| identity.expires) {
            let left = expires.millis().saturating_sub(link.now().millis());
            link.wake_in(Duration::from_millis(left));
        }
    }
}
