//! Saying who one is, by the first message (`docs/protocols/group.md §4, §5, §9`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Identity, NO_ROOM, Socket, UNAUTHORIZED, resume::Resuming};
use crate::{
    actors::{refusals::Reason, transport::context::TransportContext},
    limits,
    older::group::{
        code::Code,
        frame::Credentials,
        post::{group_channel, user_channel},
        reply::Reply,
        roll::Visitor,
    },
};

impl Socket {
    pub(super) fn authenticate(
        &mut self,
        shown: &Credentials,
        id: &str,
        transport: &mut TransportContext<'_>,
    ) -> Result<(), Code> {
        let reply = Reply { id, now: transport.now() };
        let pass = match self.shared.access.get().check(&shown.token, &self.shared.forum.clock) {
            Ok(pass) => pass,
            Err(denied) => {
                transport.count_error();
                let why = || "group: the token of a connection is refused".to_owned();
                transport.worker().broker.refused(Reason::Token, Some(self.address), why);
                self.shared.note_failure(self.address);
                transport.send_frame(reply.auth_failed(denied.reason.as_deref()));
                self.attempts += 1;
                if self.attempts >= limits::GROUP_AUTH_ATTEMPTS {
                    transport.close(UNAUTHORIZED);
                }
                return Ok(());
            }
        };
        if let Some(identity) = &mut self.identity {
            if identity.user != pass.user {
                return Err(Code::OtherUser);
            }
            identity.expires = pass.expires;
            transport.send_frame(reply.auth_success(&pass.user, None));
            self.wake_at_the_end(transport);
            return Ok(());
        }
        let visitor = Arc::new(Visitor::new(transport.handle(), transport.connection()));
        self.identity =
            Some(Identity { user: Arc::clone(&pass.user), expires: pass.expires, visitor: Arc::clone(&visitor) });
        self.shared.forum.enter(&pass.user, visitor);
        self.wake_at_the_end(transport);
        self.is_tailored = shown.last_message.is_some();
        let groups = self.shared.forum.groups_of(&pass.user);
        let groups = groups.iter().map(|group| group_channel(group));
        let channels: Vec<_> = groups.chain([user_channel(&pass.user)]).collect();
        for channel in &channels {
            if self.attach(channel, Bytes::new(), transport).is_err() {
                // It would miss messages in silence.
                transport.close(NO_ROOM);
                return Ok(());
            }
        }
        match &shown.last_message {
            None => transport.send_frame(reply.auth_success(&pass.user, None)),
            Some(last) => self.resuming = Some(Resuming::new(id, last, channels)),
        }
        Ok(())
    }

    pub(super) fn wake_at_the_end(&self, transport: &mut TransportContext<'_>) {
        if let Some(expires) = self.identity.as_ref().and_then(|identity| identity.expires) {
            let left = expires.millis().saturating_sub(transport.now().millis());
            transport.wake_in(Duration::from_millis(left));
        }
    }
}
