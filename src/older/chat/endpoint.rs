//! From a request to a connection (`docs/protocols/chat.md §2, §3`).

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};

use crate::{
    actors::transport::ProtocolHandler,
    edge::{self, Endpoint, Ingress, Refusal, Service, refusal::explained},
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
pub type ChatEndpoint = Service<Chat>;

impl Endpoint for ChatEndpoint {
    const NAME: &'static str = "chat";
    type Accepted = TokenUser;
    type Refused = Unauthorized;

    fn check(&self, request: &HttpRequest) -> Result<TokenUser, Unauthorized> {
        self.shared.tokens.get().user(request)
    }

    async fn open(&self, _: &HttpRequest, user: TokenUser) -> Result<Box<dyn ProtocolHandler>, Unauthorized> {
        let chat = &self.shared;
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
            Refusal::Own(unauthorized) => return unauthorized.response(self.shared.compat()),
            Refusal::Method => return no_method(self, "GET"),
            Refusal::NoHandshake(_) => Code::BadRequest,
            Refusal::NotAdmitted(refusal) if refusal.status() == 429 => Code::TooFast,
            Refusal::NotAdmitted(_) => Code::Unavailable,
        };
        let reason = refusal.to_string();
        // In the source's shape there is no place for a reason but a header.
        let reply = Reply::from(code).because(reason.clone());
        explained(respond(&reply, self.shared.compat()), &reason)
    }

    fn subprotocol(&self, request: &HttpRequest) -> Option<&'static str> {
        subprotocols(request).find(|name| *name == SUBPROTOCOL).map(|_| SUBPROTOCOL)
    }
}

/// Serves the paths of the chat's settings.
pub fn routes(config: &mut web::ServiceConfig, ingress: Ingress, chat: Arc<Chat>) {
    let endpoint = &Service::new(ingress.with_message_bytes(limits::CHAT_FRAME_BYTES), chat);
    let path = endpoint.shared.settings.ws_path.as_str();
    config.service(web::resource(path).to(edge::websocket(endpoint)));
    http::routes(config, endpoint);
}
