//! From a request on `/` or `/ws` to a LetShare connection (`docs/protocols/letshare.md §1`).

use std::{borrow::Cow, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::{
    actors::refusals::Reason,
    auth::{Authenticator, ProKey, TokenFault},
    clock::Clock,
    config::Config,
    core::rules::Rules,
    edge::{
        admission::{Permit, Refusal},
        refusal::{NoHandshake, explained},
        websocket::Entrance,
    },
    ids::ConnectionId,
    limits,
    live::Live,
    protocols::letshare::{
        pro::{self, Activation},
        rooms::{RoomSettings, Rooms},
        transfer::{Board, Files},
    },
};

/// The LetShare door of one worker thread.
#[derive(Clone)]
pub struct LetShare {
    entrance: Entrance,
    terms: Arc<Live<Terms>>,
    board: Option<Arc<Board>>,
    activation: Arc<Activation>,
}

/// What is read anew when the operator says so.
struct Terms {
    authenticator: Authenticator,
    pro: Arc<ProKey>,
    rooms: Arc<RoomSettings>,
}

impl Terms {
    fn new(config: &Config, pro: Arc<ProKey>, clock: Clock) -> Self {
        let rooms = Arc::new(RoomSettings {
            rules: Arc::new(Rules::letshare_room(config.websocket.max_room_users)),
            enforce_from: config.letshare.enforce_from,
            wildcard_signal_all: config.letshare.wildcard_signal_all,
            foreign_signals: config.letshare.foreign_signals,
            events_per_subscription: config.limits.events_per_subscription,
        });
        Self { authenticator: Authenticator::new(config, clock), pro, rooms }
    }
}

/// What the LetShare doors of all worker threads share.
#[derive(Clone)]
pub struct Shared {
    activation: Arc<Activation>,
    terms: Arc<Live<Terms>>,
    board: Option<Arc<Board>>,
    clock: Clock,
}

impl Shared {
    pub fn new(config: &Config, clock: Clock) -> Self {
        let pro = Arc::new(ProKey::new(&config.jwt.secret));
        let board = || Arc::new(Board::new(&config.file_transfer));
        Self {
            activation: Arc::new(Activation::new(config, Arc::clone(&pro), clock.clone())),
            terms: Arc::new(Live::new(Terms::new(config, pro, clock.clone()))),
            board: config.file_transfer.enabled.then(board),
            clock,
        }
    }

    /// Other keys and limits from now on; whoever is in keeps what holds for it.
    pub fn set_terms(&self, config: &Config) {
        let pro = Arc::new(ProKey::new(&config.jwt.secret));
        self.activation.set_keys(config, Arc::clone(&pro));
        self.terms.set(Terms::new(config, pro, self.clock.clone()));
    }

    /// The server stops: transfers end now, while their sides can still be told. Connections that are closed
    /// afterwards get that word before their close frame.
    pub async fn last_words(&self) {
        if let Some(board) = &self.board {
            board.shut().await;
        }
    }
}

impl LetShare {
    pub fn new(entrance: Entrance, shared: Shared) -> Self {
        Self { entrance, terms: shared.terms, board: shared.board, activation: shared.activation }
    }

    async fn connect(&self, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
        let upgraded = async {
            let (rooms, permit) = self.check(request)?;
            self.entrance.upgrade(request, payload, permit, Box::new(rooms)).await.map_err(Refused::NoWebSocket)
        };
        upgraded.await.unwrap_or_else(Refused::into_response)
    }

    fn check(&self, request: &HttpRequest) -> Result<(Rooms, Permit), Refused> {
        let query = request.query_string();
        let token = parameter(query, "token")?.unwrap_or_default();
        let user_id = parameter(query, "userId")?.filter(|user| !user.is_empty());
        if user_id.as_ref().is_some_and(|user| user.len() > limits::USER_ID_BYTES) {
            return Err(Refused::LongUserId);
        }
        let terms = self.terms.get();
        let identity = terms.authenticator.authenticate(&token, user_id.as_deref()).map_err(|fault| {
            let reason = terms.authenticator.wrong_claim(&token);
            // Without the words that are for the page.
            self.entrance.turn_away(request, Reason::Token, || match &reason {
                Some(reason) => format!("LetShare: the token names nobody: {reason}"),
                None => format!("LetShare: the token is refused: {fault:?}"),
            });
            Refused::BadToken(fault, reason)
        })?;
        let permit = self.entrance.admit(request).map_err(Refused::NotAdmitted)?;
        let user = identity.user_id.unwrap_or_else(|| ConnectionId::random().to_string());
        // A bad PRO token is no refusal: its user connects as a free one.
        let pro_token = parameter(query, "pro_token").unwrap_or_default();
        let now = self.entrance.worker.broker.clock.now();
        let is_pro = pro_token.is_some_and(|token| terms.pro.is_pro(&token, &user, now));
        let files = Files::new(user.clone(), is_pro, self.board.clone());
        let rooms = Rooms::new(user, identity.room, Arc::clone(&terms.rooms), files);
        Ok((rooms, permit))
    }
}

/// Why there is no upgrade (`docs/protocols/letshare.md §1.2`).
enum Refused {
    NotUtf8(&'static str),
    LongUserId,
    /// And which claim is why, where the token is ours.
    BadToken(TokenFault, Option<String>),
    NotAdmitted(Refusal),
    NoWebSocket(NoHandshake),
}

impl Refused {
    fn into_response(self) -> HttpResponse {
        let (status, error, reason) = match self {
            Self::NotUtf8(name) => {
                let reason = format!("{name} must be UTF-8, percent-encoded");
                (StatusCode::BAD_REQUEST, format!("{name} 不是有效的 UTF-8"), reason)
            }
            Self::LongUserId => {
                let reason = format!("userId is too long: it may have {} bytes", limits::USER_ID_BYTES);
                (StatusCode::BAD_REQUEST, "userId 过长".into(), reason)
            }
            Self::BadToken(fault, claim) => {
                let reason = claim.unwrap_or_else(|| fault.reason().to_owned());
                (StatusCode::UNAUTHORIZED, fault.to_string(), reason)
            }
            Self::NotAdmitted(refusal) => {
                let (status, text) = match refusal {
                    Refusal::AddressFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "该地址的连接数已达上限"),
                    Refusal::Full { .. } => (StatusCode::SERVICE_UNAVAILABLE, "服务器连接数已达上限，请稍后重试"),
                    Refusal::Draining => (StatusCode::SERVICE_UNAVAILABLE, "服务器正在关闭"),
                };
                (status, text.into(), refusal.to_string())
            }
            Self::NoWebSocket(fault) => return explained(no_websocket(), &fault.to_string()),
        };
        HttpResponse::build(status).json(json!({ "error": error, "reason": reason }))
    }
}

/// Serves `/`, `/ws` and `/api/pro/activate`.
pub fn routes(config: &mut web::ServiceConfig, letshare: &LetShare) {
    for path in ["/", "/ws"] {
        let letshare = letshare.clone();
        let connect = move |request: HttpRequest, payload: web::Payload| {
            let letshare = letshare.clone();
            async move { letshare.connect(&request, payload).await }
        };
        config.route(path, web::get().to(connect));
    }
    pro::routes(config, &letshare.entrance.worker.broker, &letshare.activation);
}

/// The value of a query parameter, percent-decoded. The app does not encode what it writes there, so a
/// `+` means itself (`docs/protocols/letshare.md §1.1`).
fn parameter<'a>(query: &'a str, name: &'static str) -> Result<Option<Cow<'a, str>>, Refused> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| percent_decode_str(value).decode_utf8())
        .transpose()
        .map_err(|_| Refused::NotUtf8(name))
}

fn no_websocket() -> HttpResponse {
    HttpResponse::BadRequest()
        .insert_header((header::SEC_WEBSOCKET_VERSION, "13"))
        .content_type("text/plain; charset=utf-8")
        .body("Bad Request\n")
}
