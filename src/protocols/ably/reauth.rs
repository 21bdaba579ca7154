//! New credentials on a live connection, and the end of old ones (`docs/protocols/ably.md §4.7`).

use std::time::Duration;

use crate::{
    actors::transport::context::TransportContext,
    auth::ably::{Access, AllowedClient, Credential},
    error::Fault,
    ids::Timestamp,
    limits,
    protocols::ably::{
        connection::AblyConnection,
        endpoint::reason_of,
        refusal,
        wire::{ProtocolMessage, ServerFrame},
    },
};

impl AblyConnection {
    pub(super) fn reauthenticate(&mut self, message: ProtocolMessage, transport: &mut TransportContext<'_>) {
        transport.spend(limits::AUTH_COST);
        if let Err(fault) = self.try_reauthenticate(message, transport) {
            let why = || format!("a new token is refused: Ably: {fault}");
            transport.worker().broker.refused(reason_of(&fault), None, why);
            self.fail(&fault, transport);
        }
    }

    fn try_reauthenticate(
        &mut self,
        message: ProtocolMessage,
        transport: &mut TransportContext<'_>,
    ) -> Result<(), Fault> {
        let token = message.access_token.ok_or(Fault::Unauthenticated { why: "AUTH without an access token" })?;
        let access = self.shared.gate.check(Some(&Credential::Token(token)), transport.now(), true);
        let access = access.map_err(refusal::of_connection)?;
        if access.app.id != self.access.app.id {
            let why = "the token is for another app";
            return Err(Fault::IncompatibleCredentials { why });
        }
        let broker = &transport.worker().broker;
        // A newer transport may have given the connection a clientId meanwhile.
        let own = &self.identity;
        self.identity = broker.connections.succeed(self.id, broker.clock.uptime(), |before| {
            let own = before.map_or_else(|| own.clone(), |before| AllowedClient::Only(before.clone()));
            let next = own.succeeded_by(&access.client_id)?;
            Ok((next.known().cloned(), next))
        })?;
        broker.claim_connection(self.id, &self.owner());
        self.access = access;
        self.revoked_at = None;
        self.regrant(transport);
        self.connected(transport);
        self.begin_watch(transport);
        Ok(())
    }

    /// The credentials are new: has the client asked for others in time. Not if they end so soon that it
    /// would be asked at once, and again and again.
    pub(super) fn begin_watch(&mut self, transport: &mut TransportContext<'_>) {
        let ask = self.access.expires.map(|expires| {
            let ahead = u64::try_from(limits::TOKEN_RENEWAL.as_millis()).unwrap_or(u64::MAX);
            expires.millis().saturating_sub(ahead)
        });
        self.renewal = ask.filter(|ask| *ask > transport.now().millis());
        self.watch_expiry(transport);
    }

    /// Asks for a new token when its time has come, and ends the transport with the old one, to the
    /// millisecond (T22).
    pub(super) fn watch_expiry(&mut self, transport: &mut TransportContext<'_>) {
        let Some((end, why)) = end_of(&self.access, self.revoked_at) else { return };
        let now = transport.now().millis();
        if now >= end.millis() {
            return self.disconnect(&why, transport);
        }
        if self.renewal.is_some_and(|ask| now >= ask) {
            self.renewal = None;
            self.say(&ServerFrame::Auth, transport);
        }
        let next = self.renewal.map_or(end.millis(), |ask| ask.min(end.millis()));
        transport.wake_in(Duration::from_millis(next.saturating_sub(now)));
    }

    /// A token that was revoked ends at once, or after its client was asked for another one.
    pub(super) fn watch_revocation(&mut self, transport: &mut TransportContext<'_>) {
        let revoked_at = self.shared.gate.revoked_at(&self.access);
        if revoked_at.is_none() || revoked_at == self.revoked_at {
            return;
        }
        self.revoked_at = revoked_at;
        if revoked_at.is_some_and(|end| end > transport.now()) {
            self.renewal = None;
            self.say(&ServerFrame::Auth, transport);
        }
        self.watch_expiry(transport);
    }
}

/// When credentials end that may have been revoked, and why; none: they do not.
pub(super) fn end_of(access: &Access, revoked_at: Option<Timestamp>) -> Option<(Timestamp, Fault)> {
    let expiry = access.expires.map(|end| (end, Fault::TokenExpired));
    let revocation = revoked_at.map(|end| (end, Fault::TokenRevoked));
    expiry.into_iter().chain(revocation).min_by_key(|(end, _)| *end)
}
