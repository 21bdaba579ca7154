//! New credentials on a live connection, and the end of old ones (`protocols/ably.md §4.7`).

use crate::{
    actors::link::Link,
    auth::ably::Credential,
    error::Fault,
    limits,
    protocols::ably::{
        connection::AblyConnection,
        wire::{ProtocolMessage, ServerFrame},
    },
};
use std::time::Duration;

impl AblyConnection {
    pub(super) fn reauthenticate(&mut self, message: ProtocolMessage, link: &mut Link<'_>) {
        if let Err(fault) = self.try_reauthenticate(message, link) {
            self.fail(&fault, link);
        }
    }

    fn try_reauthenticate(
        &mut self,
        message: ProtocolMessage,
        link: &mut Link<'_>,
    ) -> Result<(), Fault> {
        let token = message.access_token.ok_or(Fault::Unauthenticated {
            why: "AUTH without an access token",
        })?;
        let access = self
            .shared
            .gate
            .check(Some(&Credential::Token(token)), link.now(), true)?;
        if access.app.id != self.access.app.id {
            let why = "the token is for another app";
            return Err(Fault::IncompatibleCredentials { why });
        }
        self.identity = self.identity.succeeded_by(&access.client_id)?;
        self.access = access;
        let known = self.identity.known().cloned();
        link.worker().broker.connections.identify(self.id, known);
        self.token_asked_for = false;
        self.regrant(link);
        self.connected(link);
        self.watch_expiry(link);
        Ok(())
    }

    /// Asks for a new token some time before the old one ends, and ends the transport with it, to the
    /// millisecond (T22).
    pub(super) fn watch_expiry(&mut self, link: &mut Link<'_>) {
        let Some(expires) = self.access.expires else {
            return;
        };
        let left = Duration::from_millis(expires.millis().saturating_sub(link.now().millis()));
        if left.is_zero() {
            return self.disconnect(&Fault::TokenExpired, link);
        }
        match left.checked_sub(limits::TOKEN_RENEWAL) {
            Some(wait) if !self.token_asked_for && !wait.is_zero() => link.wake_in(wait),
            // Just reached: not for tokens that were shorter from the start, whose clients would be
            // asked again and again.
            Some(_) if !self.token_asked_for => {
                self.token_asked_for = true;
                self.say(&ServerFrame::Auth, link);
                link.wake_in(left);
            }
            _ => link.wake_in(left),
        }
    }
}
