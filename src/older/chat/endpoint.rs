//! From a request to a connection (`docs/protocols/chat.md §2, §3`).

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};

use crate::{
    actors::transport::ProtocolHandler,
    edge::{self, Endpoint, Ingress, Refusal, admission::NotAdmitted, refusal::explained},
    limits,
    older::chat::{
        code::Code,
        connection::{Connection, channels},
        http::{self, no_method, respond},
        identity::{SUBPROTOCOL, TokenUser, Unauthorized, subprotocols},
        online::Rooms,
        reply::Reply,
        shared::Chat,
    },
};

/// The way in of one worker thread.
#[derive(Clone)]
pub struct ChatEndpoint {
    pub(super) ingress: Ingress,
    pub(super) chat: Arc<Chat>,
}

impl ChatEndpoint {
    pub fn new(ingress: Ingress, chat: Arc<Chat>) -> Self {
        Self { ingress: ingress.with_message_bytes(limits::CHAT_FRAME_BYTES), chat }
    }
}

impl Endpoint for ChatEndpoint {
    const NAME: &'static str = "chat";
    type Accepted = TokenUser;
    type Refused = Unauthorized;

    fn ingress(&self) -> &Ingress {
        &self.ingress
    }

    fn check(&self, request: &HttpRequest) -> Result<TokenUser, Unauthorized> {
        self.chat.tokens.get().user(request)
    }

    async fn open(&self, _: &HttpRequest, user: TokenUser) -> Result<Box<dyn ProtocolHandler>, Unauthorized> {
        let chat = &self.chat;
        // Before its groups are read, so that one that is made meanwhile is not missed.
        let registration = chat.online.register(user.id, Rooms::default());
        let groups = match chat.archive.groups_of(user.id).await {
            Ok(groups) => Some(channels(&groups)),
            Err(error) => {
                tracing::warn!(%error, "the groups of a chat user could not be read; they are asked for again");
                None
            }
        };
        Ok(Box::new(Connection::new(Arc::clone(chat), user, registration, groups)))
    }

    fn refuse(&self, refusal: &Refusal<Unauthorized>) -> HttpResponse {
        let code = match refusal {
            Refusal::Own(unauthorized) => return unauthorized.response(self.chat.compat()),
            Refusal::Method => return no_method(self, "GET"),
            Refusal::NoHandshake(_) => Code::BadRequest,
            Refusal::NotAdmitted(NotAdmitted::AddressFull { .. } | NotAdmitted::TooOften(_)) => Code::TooFast,
            Refusal::NotAdmitted(NotAdmitted::Full { .. } | NotAdmitted::NoMemory(_) | NotAdmitted::Draining) => {
                Code::Unavailable
            }
        };
        let reason = refusal.to_string();
        // In the source's shape there is no place for a reason but a header.
        let reply = Reply::from(code).because(reason.clone());
        explained(respond(&reply, self.chat.compat()), &reason)
    }

    fn subprotocol(&self, request: &HttpRequest) -> Option<&'static str> {
        subprotocols(request).find(|name| *name == SUBPROTOCOL).map(|_| SUBPROTOCOL)
    }
}

/// Serves the paths of the chat's settings.
pub fn routes(config: &mut web::ServiceConfig, endpoint: &ChatEndpoint) {
    let path = endpoint.chat.settings.ws_path.as_str();
    config.service(web::resource(path).to(edge::websocket(endpoint)));
    http::routes(config, endpoint);
}
