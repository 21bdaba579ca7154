//! `identify`, by a frame or by the URL: from then on the connection gets the pushes of a user
//! (`docs/protocols/relay.md §3, §5`).

use bytes::Bytes;

use crate::{
    actors::{refusals::Reason, transport::context::TransportContext},
    auth::Proof,
    error::CloseReason,
    limits,
    older::relay::{
        reply::RelayError,
        socket::{Socket, subscribe},
        target::user_channel,
        wire,
    },
};

const INVALID_TOKEN: CloseReason = CloseReason::Refused {
    code: 4401,
    text: "the token proves no identifier: relay.identify says what is to be shown",
};
const TOKEN_TOO_LONG: CloseReason = CloseReason::Refused {
    code: 4401,
    text: "the token is too long: the error event before this says how many bytes it may have",
};
/// Context of an attachment whose client is to be told of it.
pub const ACKNOWLEDGED: Bytes = Bytes::from_static(b"ack");

impl Socket {
    /// The last one wins; the same again changes nothing.
    pub fn identify(&mut self, shown: &str, is_by_frame: bool, transport: &mut TransportContext<'_>) {
        let proof = &self.shared.keys.get().proof;
        let user = match proof.identifier(shown, transport.now()) {
            Some(user) if user.len() <= limits::RELAY_TOKEN_BYTES => user,
            None if shown.len() <= limits::TOKEN_BYTES => return refuse(RelayError::InvalidToken, transport),
            // What proves an identifier may be longer than an identifier.
            None if !matches!(proof, Proof::None) => {
                return refuse(RelayError::TokenTooLong(limits::TOKEN_BYTES), transport);
            }
            _ => return refuse(RelayError::TokenTooLong(limits::RELAY_TOKEN_BYTES), transport),
        };
        let acknowledges = is_by_frame && self.shared.settings.identify_ack;
        if self.user.as_ref() == Some(&user) {
            // Not yet attached: then the attachment acknowledges.
            if acknowledges && self.registration.is_some() {
                let connections = self.shared.delivery.online.transports_of(&user);
                transport.send_frame(wire::identified(&user, connections));
            }
            return;
        }
        // What is pushed to the former user from now on waits for another connection.
        self.registration = None;
        let channel = user_channel(&user);
        if let Some(former) = self.user.replace(user) {
            // It fails when there is no attachment any more, which is what is wanted.
            let _ = transport.detach(&user_channel(&former), 0, Bytes::new());
        }
        subscribe(&channel, if acknowledges { ACKNOWLEDGED } else { Bytes::new() }, transport);
    }
}

fn refuse(error: RelayError, transport: &mut TransportContext<'_>) {
    transport.count_error();
    let close = if let RelayError::TokenTooLong(_) = error { TOKEN_TOO_LONG } else { INVALID_TOKEN };
    transport
        .worker()
        .broker
        .refused(Reason::Token, None, || format!("relay: identify is refused: {}", error.reply().text));
    transport.send_frame(wire::error(error));
    transport.close(close);
}
