//! The paths of the chat, and from a request to a connection (`docs/protocols/chat.md §2, §3`).

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION},
    web,
};

use crate::{
    actors::refusals::Reason,
    auth::Leeway,
    config,
    edge::{
        admission::Refusal,
        guard::MessageLimits,
        refusal::{NoHandshake, explained},
        websocket::Entrance,
    },
    limits,
    live::Live,
    older::chat::{
        code::Code,
        command::Rules,
        exchange::Exchange,
        http::{self, Limiter, respond},
        identity::{Gate, SUBPROTOCOL, wants_subprotocol},
        moderation::Moderation,
        push::Foreign,
        reply::{Reply, Style},
        socket::{Socket, channels},
    },
};

/// What the doors of all worker threads share.
pub struct Shared {
    pub settings: config::Chat,
    pub exchange: Exchange,
    pub rules: Rules,
    pub foreign: Foreign,
    pub gate: Live<Gate>,
    pub limiter: Option<Limiter>,
}

impl Shared {
    pub fn new(settings: &config::Chat, exchange: Exchange, leeway: &Leeway) -> Self {
        let clock = exchange.clock.clone();
        Self {
            rules: Rules { strict_types: settings.strict_types, is_source: exchange.style == Style::Source },
            foreign: Foreign::default(),
            gate: Live::new(Gate::new(settings, clock.clone(), leeway)),
            limiter: http::limiter(settings.requests_per_second, clock),
            settings: settings.clone(),
            exchange,
        }
    }
}

impl Shared {
    /// Tokens are held against other keys from now on; whoever is in stays.
    pub fn set_keys(&self, settings: &config::Chat, leeway: &Leeway) {
        self.gate.set(Gate::new(settings, self.exchange.clock.clone(), leeway));
    }

    /// Texts are held against the word list of `fresh` from now on; how many words it has.
    pub fn adopt_words(&self, fresh: &Moderation) -> usize {
        self.exchange.moderation.adopt_words(fresh)
    }
}

/// The door of one worker thread.
#[derive(Clone)]
pub struct Chat {
    pub(super) entrance: Entrance,
    pub(super) shared: Arc<Shared>,
}

impl Chat {
    pub fn new(mut entrance: Entrance, shared: Arc<Shared>) -> Self {
        entrance.limits = MessageLimits { max_message_bytes: limits::CHAT_FRAME_BYTES, ..entrance.limits };
        Self { entrance, shared }
    }

    pub(super) fn style(&self) -> Style {
        self.shared.exchange.style
    }

    async fn connect(&self, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
        let visitor = match self.shared.gate.get().visitor(request) {
            Ok(visitor) => visitor,
            Err(unknown) => {
                self.entrance.turn_away(request, Reason::Token, || format!("chat: {}", unknown.reason()));
                return unknown.response(self.style());
            }
        };
        if let Err(fault) = NoHandshake::check(request) {
            self.entrance.turn_away(request, Reason::Request, || format!("chat: {fault}"));
            return self.no_websocket(fault);
        }
        let permit = match self.entrance.admit(request) {
            Ok(permit) => permit,
            Err(refusal) => {
                let code = match refusal {
                    Refusal::AddressFull { .. } => Code::TooFast,
                    Refusal::Full { .. } | Refusal::Draining => Code::Unavailable,
                };
                return self.refuse(code, &refusal.to_string());
            }
        };
        let exchange = &self.shared.exchange;
        let seat = exchange.online.expect(visitor.id);
        let groups = match exchange.archive.groups_of(visitor.id).await {
            Ok(groups) => Some(channels(&groups)),
            Err(error) => {
                tracing::warn!(%error, "the groups of a chat user could not be read; they are asked for again");
                None
            }
        };
        let socket = Socket::new(Arc::clone(&self.shared), visitor, seat, groups);
        let upgraded = self.entrance.upgrade(request, payload, permit, Box::new(socket));
        match upgraded.await {
            Ok(mut response) => {
                if wants_subprotocol(request) {
                    let chosen = HeaderValue::from_static(SUBPROTOCOL);
                    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, chosen);
                }
                response
            }
            Err(fault) => self.no_websocket(fault),
        }
    }

    fn no_websocket(&self, fault: NoHandshake) -> HttpResponse {
        let mut response = self.refuse(Code::BadRequest, &fault.to_string());
        let version = HeaderValue::from_static("13");
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, version);
        response
    }

    /// In the source's shape there is no place for a reason but a header.
    fn refuse(&self, code: Code, reason: &str) -> HttpResponse {
        let reply = Reply::from(code).because(reason.to_owned());
        explained(respond(&reply, self.style()), reason)
    }
}

/// Serves the paths of the chat's settings.
pub fn routes(config: &mut web::ServiceConfig, chat: &Chat) {
    let door = chat.clone();
    let connect = move |request: HttpRequest, payload: web::Payload| {
        let door = door.clone();
        async move { door.connect(&request, payload).await }
    };
    let resource = web::resource(chat.shared.settings.ws_path.as_str());
    config.service(resource.route(web::get().to(connect)).default_service(http::no_method(chat, "GET")));
    http::routes(config, chat);
}
