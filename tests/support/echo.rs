//! Echo rooms, the smallest protocol that stands on every block: docs/adding-a-protocol.md goes through it.
//!
//! `/?user=bob&room=hall` is a WebSocket in a room: a text goes to everybody there, its sender too. `@bob hello` waits for
//! bob until he has read it. Without a room everything comes back. `/online` says how many are online.

use actix_web::{HttpRequest, HttpResponse, rt, web};
use bytes::Bytes;
use bytestring::ByteString;
use letshare_server::{
    actors::{
        inbox::{Inbox, Inboxes, Left},
        transport::{ProtocolHandler, TransportContext},
    },
    core::{
        frame,
        message::{Data, Message},
        wire::{Each, Slot, WireFormat},
    },
    edge::{
        self, Endpoint, Ingress, Methods, Refusal,
        http::{answer, query::Query},
    },
    error::{Fault, reply_table},
    ids::ChannelName,
    store::mailbox,
};

const USER_BYTES: usize = 64;

reply_table! {
    /// Everything that a client can be told, with its HTTP status.
    #[derive(Debug, thiserror::Error)]
    pub enum EchoError {
        #[error("user may have {limit} bytes")]
        LongUser { limit: usize } => 400,
        #[error("that user cannot be left anything now")]
        MailboxFull => 503,
        #[error(transparent)]
        Fault(#[from] fault: Fault) => fault.http_status(),
    }
    pub fn status(&self) -> u16;
}

impl edge::Refused for EchoError {}

impl EchoError {
    fn frame(&self) -> Bytes {
        frame::text(format!("error {}: {self}", self.status()).as_bytes())
    }
}

/// The protocol on one worker thread.
#[derive(Clone)]
pub struct Echo {
    pub ingress: Ingress,
    pub inboxes: Inboxes,
}

impl AsRef<Ingress> for Echo {
    fn as_ref(&self) -> &Ingress {
        &self.ingress
    }
}

impl Endpoint for Echo {
    const NAME: &'static str = "echo";
    type Accepted = String;
    type Refused = EchoError;

    fn check(&self, request: &HttpRequest) -> Result<String, EchoError> {
        let user = Query::of(request).text("user").unwrap_or("guest").to_owned();
        if user.len() > USER_BYTES { Err(EchoError::LongUser { limit: USER_BYTES }) } else { Ok(user) }
    }

    async fn open(&self, request: &HttpRequest, user: String) -> Result<Box<dyn ProtocolHandler>, EchoError> {
        let room = Query::of(request).text("room").map(|room| format!("echo:{room}").as_str().into());
        let inbox = Inbox::new(self.inboxes.clone(), |_, body| Some(frame::text(body)));
        Ok(Box::new(Connection { inbox, user, room }))
    }

    fn refuse(&self, refusal: &Refusal<EchoError>) -> HttpResponse {
        answer::build(refusal.status(EchoError::status)).body(refusal.to_string())
    }
}

pub fn routes(config: &mut web::ServiceConfig, echo: &Echo) {
    config.route("/", web::get().to(edge::websocket(echo)));
    edge::route(config, "/online", Methods::Read, echo, async |echo, _, _| {
        HttpResponse::Ok().body(echo.inboxes.online.users().to_string())
    });
}

/// A message as its text, one frame each.
static ECHO_TEXT: Each = Each(Slot::RelayJson, |_, message| match &message.payload.data {
    Data::Text(text) => frame::text(text.as_bytes()),
    _ => Bytes::new(),
});

/// One client of an echo room.
struct Connection {
    inbox: Inbox,
    user: String,
    room: Option<ChannelName>,
}

impl ProtocolHandler for Connection {
    fn format(&self) -> &'static dyn WireFormat {
        &ECHO_TEXT
    }

    fn inbox(&mut self) -> Option<&mut Inbox> {
        Some(&mut self.inbox)
    }

    fn opened(&mut self, transport: &mut TransportContext<'_>) {
        self.inbox.enter(&self.user, transport, |_| {});
        let subscribed = self.room.as_ref().map(|room| transport.subscribe(room, false, Bytes::new()));
        if let Some(Err(fault)) = subscribed {
            self.refused(fault, transport);
        }
    }

    fn text(&mut self, text: ByteString, transport: &mut TransportContext<'_>) {
        if let Some((user, text)) = text.strip_prefix('@').and_then(|text| text.split_once(' ')) {
            let left = self.inbox.inboxes.leave(user, mailbox::Message::until_read(text.to_owned()), false);
            let me = transport.handle();
            rt::spawn(async move {
                if left.await != Ok(Left::Kept) {
                    me.send(vec![EchoError::MailboxFull.frame()]);
                }
            });
        } else if let Some(room) = &self.room {
            let published = transport.publish(room, Message::text(text));
            published.unwrap_or_else(|fault| self.refused(fault, transport));
        } else {
            transport.send_text(text.as_bytes());
        }
    }

    fn binary(&mut self, data: Bytes, transport: &mut TransportContext<'_>) {
        transport.send_frame(frame::binary(&data));
    }

    fn refused(&mut self, fault: Fault, transport: &mut TransportContext<'_>) {
        transport.count_error();
        transport.send_frame(EchoError::from(fault).frame());
    }
}
