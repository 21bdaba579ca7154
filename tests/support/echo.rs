//! Echo rooms, the smallest protocol that stands on every block: docs/adding-a-protocol.md goes through it.
//!
//! `/?user=bob&room=hall` is a WebSocket in a room: a text goes to everybody there, its sender too. `@bob hello` waits for
//! bob until he has read it. Without a room everything comes back. `/online` says how many are online.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use connection::Connection;
use letshare_server::{
    actors::{online::Online, refusals::Reason, transport::ProtocolHandler},
    edge::{self, Endpoint, Ingress, Methods, Refusal, Refused, http::query::Query},
    error::{Fault, reply_table},
    ids::ChannelName,
    store::mailbox::Mailboxes,
};

mod connection;

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

impl Refused for EchoError {
    fn reason(&self) -> Reason {
        Reason::Request
    }
}

/// The protocol on one worker thread.
#[derive(Clone)]
pub struct Echo {
    pub ingress: Ingress,
    pub online: Arc<Online<String>>,
    pub mailboxes: Arc<Mailboxes<()>>,
}

impl Endpoint for Echo {
    const NAME: &'static str = "echo";
    type Accepted = String;
    type Refused = EchoError;

    fn ingress(&self) -> &Ingress {
        &self.ingress
    }

    fn check(&self, request: &HttpRequest) -> Result<String, EchoError> {
        let user = parameter(request, "user").unwrap_or_else(|| "guest".to_owned());
        if user.len() > USER_BYTES { Err(EchoError::LongUser { limit: USER_BYTES }) } else { Ok(user) }
    }

    async fn open(&self, request: &HttpRequest, user: String) -> Result<Box<dyn ProtocolHandler>, EchoError> {
        let room = parameter(request, "room").map(|room| ChannelName::from(&*format!("echo:{room}")));
        Ok(Box::new(Connection::new(self.clone(), user, room)))
    }

    fn refuse(&self, refusal: &Refusal<EchoError>) -> HttpResponse {
        let status = match refusal {
            Refusal::Method | Refusal::NoHandshake(_) => 400,
            Refusal::NotAdmitted(_) => 503,
            Refusal::Own(own) => own.status(),
        };
        HttpResponse::build(StatusCode::from_u16(status).unwrap()).body(refusal.to_string())
    }
}

fn parameter(request: &HttpRequest, name: &str) -> Option<String> {
    Query::parse(request.query_string()).get(name).map(str::to_owned)
}

pub fn routes(config: &mut web::ServiceConfig, echo: &Echo) {
    config.route("/", web::get().to(edge::websocket(echo)));
    edge::route(config, "/online", Methods::Read, echo, async |echo, _, _| {
        HttpResponse::Ok().body(echo.online.users().to_string())
    });
}
